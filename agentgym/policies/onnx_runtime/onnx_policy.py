"""An exported agent as a policy, with only onnxruntime and numpy: this file is copied into every exported folder.

`act` is for one environment, `predict` is the `predict` of Stable-Baselines3 for a batch. The policy holds no history;
that is in the value that both give back. The graph computes one step; what moves the window and chooses is here.
"""

import json
import re
import unicodedata
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import pairwise
from pathlib import Path
from typing import Any, Protocol

import numpy as np
import onnxruntime
from numpy.typing import NDArray

FORMAT = 1
REMEMBERED = 10_000  # instructions
INPUTS = ("frame", "instruction", "visual", "actions", "keys_values")


@dataclass(frozen=True)
class History:
    """What one environment has shown and the agent has done: a value, never changed."""

    policy: str  # the fingerprint of the policy that made it
    instruction: str
    visual: NDArray[np.float32]  # [T, visual tokens, width]
    actions: NDArray[np.int64]  # [T, 1], counted from 0
    keys_values: NDArray[np.float32]  # [layers, 2, heads, read, head], of all tokens but the latest action's
    frames: NDArray[np.uint8]  # [T, side, side, 3] of an agent that reads frames for its instruction, else T is 0


class OnnxPolicy:
    """The policy of a file `policy.onnx` or `policy-int8.onnx` with policy.json next to it.

    `threads` 0 leaves their number to onnxruntime. `sampler` draws what is not to be the likeliest; None: at that
    temperature and seed. Raises ValueError when the folder is of another format.
    """

    def __init__(
        self,
        file: str | Path,
        *,
        threads: int = 0,
        temperature: float = 1.0,
        seed: int = 0,
        sampler: "ActionSampler | None" = None,
    ) -> None:
        self._file, self._threads = file, threads = Path(file), threads
        described = file.parent / "policy.json"
        try:
            self._read(json.loads(described.read_text(encoding="utf-8")), described)
        except (LookupError, TypeError, AttributeError, ArithmeticError, RecursionError) as error:
            raise ValueError(f"{described}: is not as it was exported ({type(error).__name__}: {error})") from None
        self._session = _open(file, threads)
        self._temperature = temperature
        self._generator = np.random.default_rng(seed)
        self.sampler = sampler

    def _read(self, values: Mapping[str, Any], described: Path) -> None:
        """What policy.json says."""
        if values.get("format") != FORMAT:
            raise ValueError(f"{described}: format {values.get('format')}; this file reads {FORMAT}")
        self.action_names: tuple[str, ...] = tuple(values["action_names"])
        self.action_start: int = values["action_start"]
        self.frame_shape: tuple[int, int] = tuple(values.get("frame_shape") or [values["frame_side"]] * 2)
        # Of how many steps of a window how many are still seen when one more comes: all, until it is full.
        self._kept = values.get("window_table") or [*range(values["window"]), values["kept_steps"]]
        if not all(type(each) is int for each in (self.action_start, *self.frame_shape, *self._kept)):
            raise TypeError("its sizes are not whole numbers")
        self._reads_for_words: bool = values["instruction_attention"]
        self._fingerprint = f"{values['fingerprint']}/{self._file.stem}"
        self._nothing = History(
            self._fingerprint,
            "",
            np.zeros((0, *values["visual"]), np.float32),
            np.zeros((0, 1), np.int64),
            np.zeros(values["keys_values"], np.float32),
            np.zeros((0, *self.frame_shape, 3), np.uint8),
        )
        self._tokens = Tokenizer(**values["tokenizer"])

    def __getstate__(self) -> dict[str, Any]:
        """Without the session, which another process opens again from the same file."""
        return {name: value for name, value in self.__dict__.items() if name != "_session"}

    def __setstate__(self, state: dict[str, Any]) -> None:
        """See `__getstate__`."""
        self.__dict__.update(state)
        self._session = _open(self._file, self._threads)

    def act(
        self, frame: NDArray[np.uint8], instruction: str, history: History | None = None, *, deterministic: bool = True
    ) -> tuple[int, History]:
        """The action for a frame, uint8[side, side, 3], and the history to give with the next; None at the start."""
        logits, history = self._step(frame, instruction, history)
        chosen = self._choose(logits[None], deterministic)[0]
        return int(chosen) + self.action_start, _append(history, chosen)

    def predict(
        self,
        observation: Mapping[str, NDArray[np.uint8]],
        state: Sequence[History] | None = None,
        episode_start: NDArray[np.bool_] | None = None,
        deterministic: bool = False,
    ) -> tuple[NDArray[np.int64], tuple[History, ...]]:
        """Actions and the new state for {"frame": uint8[N, H, W, 3], "instruction": uint8[N, L]}, or for one without N.

        Frames may come channels first. Rows where `episode_start` is true begin again. Raises ValueError for what does
        not fit.
        """
        single = np.ndim(observation["frame"]) == 3
        frames, texts = (np.asarray(observation[key])[None if single else ...] for key in ("frame", "instruction"))
        if state is not None and len(state) != len(frames):
            raise ValueError(f"the state is of {len(state)} environments, the observation of {len(frames)}")
        starts = np.zeros(len(frames), bool) if episode_start is None else np.reshape(episode_start, -1)
        old = [None if state is None or starts[row] else state[row] for row in range(len(frames))]
        words = [bytes(text).rstrip(b"\0").decode("utf-8") for text in texts]
        stepped = [self._step(*each) for each in zip(frames, words, old, strict=True)]
        chosen = self._choose(np.stack([logits for logits, _ in stepped]), deterministic)
        new = tuple(_append(history, action) for (_, history), action in zip(stepped, chosen, strict=True))
        actions = chosen + self.action_start
        return (actions[0] if single else actions), new

    def start(self, row: int, seed: int) -> None:
        """Notifies the sampler that an episode of that seed begins in that row."""
        if self.sampler is not None:
            self.sampler.start(row, seed)

    def select(self, state: Sequence[History], rows: NDArray[np.int64]) -> tuple[History, ...]:
        """The state of those rows (int64[K], in that order), for a batch in which some environments are done."""
        if self.sampler is not None:
            self.sampler.select(rows)
        return tuple(state[row] for row in rows)

    def _step(
        self, frame: NDArray[np.uint8], instruction: str, history: History | None
    ) -> tuple[NDArray[np.float32], History]:
        """The logits, and the history with the frame but without the action that is yet to be chosen."""
        history = self._nothing if history is None else history
        if not isinstance(history, History) or history.policy != self._fingerprint:
            raise ValueError("the history is not of this policy: pass None at first, then what it gave back")
        if frame.shape == (3, *self.frame_shape):
            frame = np.ascontiguousarray(frame.transpose(1, 2, 0))
        if frame.dtype != np.uint8 or frame.shape != (*self.frame_shape, 3):
            expected = [*self.frame_shape, 3]
            raise ValueError(f"the frame is {frame.dtype}{list(frame.shape)}; expected uint8{expected}")
        visual, actions, known, frames = history.visual, history.actions, history.keys_values, history.frames
        moved = len(actions) - self._kept[len(actions)]
        if moved:  # the window was full: all but the latest steps are forgotten, and what stays is read again
            visual, actions, frames = visual[moved:], actions[moved:], frames[moved:]
        if len(visual) != len(history.visual) or instruction != history.instruction:
            known = self._nothing.keys_values
        if instruction != history.instruction and len(frames):
            nothing = self._nothing
            again = [self._run(each, instruction, nothing.visual, nothing.actions, known)[1] for each in frames]
            visual = np.concatenate(again)
        logits, visual, known = self._run(frame, instruction, visual, actions, known)
        if self._reads_for_words:
            frames = np.concatenate([frames, frame[None]])
        return logits, History(self._fingerprint, instruction, visual, actions, known, frames)

    def _run(self, frame: NDArray[np.uint8], instruction: str, *history: NDArray[Any]) -> Any:
        """Logits, visual tokens, keys and values, as the graph gives them."""
        return self._session.run(None, dict(zip(INPUTS, (frame, self._tokens(instruction), *history), strict=True)))

    def _choose(self, logits: NDArray[np.float32], deterministic: bool) -> NDArray[np.int64]:
        """Of each row the likeliest, or one drawn."""
        if self.sampler is not None and not deterministic:
            return self.sampler.choose(logits)
        noise = 0.0 if deterministic else self._temperature * self._generator.gumbel(size=logits.shape)
        chosen: NDArray[np.int64] = (logits + noise).argmax(-1)
        return chosen


class ActionSampler(Protocol):
    """Draws the actions of a batch. It is given which episode begins in a row, and which rows are left."""

    def choose(self, logits: NDArray[np.float32]) -> NDArray[np.int64]:
        """A place of each row of logits [N, A]."""
        ...

    def start(self, row: int, seed: int) -> None:
        """An episode of that seed has begun in that row."""
        ...

    def select(self, rows: NDArray[np.int64]) -> None:
        """The batch now consists of those rows (int64[K]), in that order."""
        ...


class Tokenizer:
    """Byte-level BPE as the agent was trained with; tokens and merges are byte strings, written as Latin-1."""

    _parts = re.compile(r"'(?:s|t|re|ve|m|ll|d)| ?[^\W\d_]+| ?\d+| ?(?:[^\s\w]|_)+|\s+(?!\S)|\s+")

    def __init__(self, *, tokens: list[str], merges: list[list[str]], start: int, prefix_space: bool) -> None:
        self._ids = {token: number for number, token in enumerate(tokens)}
        self._ranks = {(first, second): rank for rank, (first, second) in enumerate(merges)}
        self._start = start
        self._prefix = " " if prefix_space else ""
        self._known: dict[str, NDArray[np.int64]] = {}

    def __call__(self, text: str) -> NDArray[np.int64]:
        """The same as `encode`, remembered."""
        if text not in self._known:
            self._known = {} if len(self._known) >= REMEMBERED else self._known
            self._known[text] = self.encode(text)
        return self._known[text]

    def encode(self, text: str) -> NDArray[np.int64]:
        """The start token and the tokens of a text, int64[tokens]."""
        text = text if text[:1] in ("", " ") else self._prefix + text
        # Numbers of other scripts count as digits: Python's \d knows only the decimal ones.
        shape = "".join("0" if unicodedata.category(sign)[0] == "N" else sign for sign in text)
        parts = [text[found.start() : found.end()] for found in self._parts.finditer(shape)]
        return np.array([self._start, *(number for part in parts for number in self._merge(part))], np.int64)

    def _merge(self, part: str) -> list[int]:
        tokens = list(part.encode("utf-8").decode("latin-1"))
        while len(tokens) > 1:
            ranks = [self._ranks.get(pair, len(self._ranks)) for pair in pairwise(tokens)]
            best = min(ranks)
            if best == len(self._ranks):
                break
            place = ranks.index(best)
            tokens[place : place + 2] = [tokens[place] + tokens[place + 1]]
        return [self._ids[token] for token in tokens]


def _open(file: Path, threads: int) -> onnxruntime.InferenceSession:
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = threads
    try:
        return onnxruntime.InferenceSession(file, options, providers=["CPUExecutionProvider"])
    except Exception as error:  # of a damaged graph onnxruntime says so in many ways
        raise ValueError(f"{file}: is not a whole graph ({str(error).splitlines()[0]})") from None


def _append(history: History, action: Any) -> History:
    return replace(history, actions=np.concatenate([history.actions, [[action]]]))
