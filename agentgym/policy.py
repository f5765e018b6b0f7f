"""AgentPolicy: the trained agent behind the `predict` of Stable-Baselines3.

The history of each environment is in `state`; the policy object itself holds none, so that several rollouts can share
it. The sequence is built by the functions that training uses, so acting on a recorded episode gives the logits that
training saw. Frames are encoded once, and F_φ reads only what is new, until the window moves (`agentgym.layout`).
"""

from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import dataclass, replace
from functools import lru_cache
from hashlib import blake2b
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from agentgym.acting import Actor
from agentgym.action_spaces import NO_TOKEN, SpaceCodec
from agentgym.domains import Domain
from agentgym.errors import UserError
from agentgym.layout import kept_steps, pack
from agentgym.model.agent import AgentModel, load_agent
from agentgym.model.reading import Reader
from agentgym.model.tokenizer import load_tokenizer, pad_left, tokenize
from agentgym.model.vision import resize_frames
from agentgym.writing import Writer


@dataclass(frozen=True)
class PolicyState:
    """The history of N environments. A value: `predict` returns a new one and never changes the one it got."""

    policy: str  # the fingerprint of the policy that made it
    instructions: tuple[str, ...]
    visual: NDArray[Any]  # float32[N, M, visual tokens, width], or the frames of clips, uint8[N, M, side, side, 3]
    actions: NDArray[np.int64]  # [N, M, action tokens], NO_TOKEN where one has fewer; the last held was chosen last
    steps: NDArray[np.int64]  # [N], how many of the M places are taken
    keys_values: NDArray[np.float32]  # of all tokens but the latest action's, as `agentgym.model.reading` has them
    frames: NDArray[np.uint8] | None = None  # [N, M, side, side, 3] of agents that read frames for an instruction


class AgentPolicy:
    """Chooses actions for one environment or a batch of them."""

    def __init__(
        self, model: AgentModel, tokenizer: PreTrainedTokenizerFast, *, temperature: float = 1.0, seed: int = 0
    ) -> None:
        if not temperature > 0:
            raise UserError(f"temperature {temperature}: expected more than 0; for the likeliest action: deterministic")
        self.model = model.eval()
        self.tokenizer = tokenizer
        self.domains = model.config.all_domains()
        self.tasks = tuple(task for domain in self.domains for task in domain.tasks)
        self.frame_side = model.frame_side
        self._reader = Reader(self.model)
        self._reads_clips = model.vision.temporal is not None
        self._reads_for_words = model.vision.grounding is not None
        self._temperature = temperature
        self._generator = torch.Generator().manual_seed(seed)
        self._tokens = lru_cache(maxsize=10_000)(lambda text: tokenize(tokenizer, text))
        self._fingerprint = fingerprint(model)
        self._enter(self.domains[0])

    @classmethod
    def from_pretrained(cls, path: str | Path, *, temperature: float = 1.0, seed: int = 0) -> "AgentPolicy":
        """The policy of a run folder or a checkpoint folder. Raises UserError when it is not whole."""
        folder = find_checkpoint(path)
        return cls(load_agent(folder), load_tokenizer(folder), temperature=temperature, seed=seed)

    def playing(self, space: SpaceCodec, task: str) -> Self:
        """The policy as it plays environments with that space of actions, names included: its domain is that one.

        Of several such domains it is the one that has the task, else the first. A policy plays its first domain until
        it is told. Raises UserError when the agent was trained for none such.
        """
        fitting = [domain for domain in self.domains if domain.space.root == space.root]
        if not fitting:
            known = "; ".join(dict.fromkeys(str(domain.space) for domain in self.domains))
            raise UserError(f"{task}: its actions are {space}; the agent was trained for {known}")
        chosen = next((domain for domain in fitting if task in domain.tasks), fitting[0])
        if chosen == self.domain:
            return self
        other = copy(self)
        other._enter(chosen)
        return other

    def fitted(self, space: SpaceCodec, shape: tuple[int, ...], task: str) -> Self:
        """The policy as it plays that space and frames of that shape. Raises UserError if trained for others."""
        playing = self.playing(space, task)
        expected = (*playing.domain.frame_shape, 3)
        if shape != expected:
            raise UserError(f"{task}: its frames are {list(shape)}; the agent was trained on {list(expected)}")
        return playing

    def _enter(self, domain: Domain) -> None:
        self.domain = domain
        self.codec = domain.space.within(self.model.config.action_tokens or ())
        self._window = domain.window
        self._writer = None if self.codec.is_free else Writer(self.model, self._reader, self.codec)

    def actor(self, *, deterministic: bool = True) -> Actor:
        """An object that holds the history of one environment, or of a vector of them, and acts in it."""
        return Actor(self, deterministic=deterministic)

    @torch.inference_mode()
    def predict(
        self,
        observation: Mapping[str, NDArray[np.uint8]],
        state: PolicyState | None = None,
        episode_start: NDArray[np.bool_] | None = None,
        deterministic: bool = False,
    ) -> tuple[Any, PolicyState]:
        """Actions (an array of them; a tuple where an action is no array) and the new state.

        `observation` is {"frame": uint8[N, H, W, 3], "instruction": uint8[N, L]}, or one environment's without N (the
        action then has no N either); frames may come channels first. Rows where `episode_start` is true begin anew.
        A row whose instruction has changed goes on with its history. Raises UserError for frames of another size or
        type than the agent was trained on, and for a state that is not one of this policy and this many environments.
        """
        frames, instructions, single = read_observation(observation, self.domain.frame_shape)
        starts = _read_starts(episode_start, len(frames))
        old = self._check(state, len(frames))
        resized = resize_frames(torch.from_numpy(frames)[:, None], self.frame_side)[:, 0]
        latest = resized if self._reads_clips else self._encode(resized[:, None], instructions)[:, 0]
        seen, actions, steps, unread = self._remember(latest.numpy(), instructions, old, starts)
        held = self._look_again(seen, resized.numpy(), steps, instructions, old) if self._looks_again else None
        visual = self._encode_clips(seen, int(steps.max()), instructions) if self._reads_clips else seen
        hidden, keys_values, lengths = self._read(instructions, visual, actions, steps, unread, old)
        if self._writer is None:
            chosen = self._choose(self.model.logits(hidden)[:, self.model.config.num_text_tokens :], deterministic)
        else:
            cache = torch.from_numpy(keys_values)
            chosen = self._writer.write(hidden, cache, lengths, lambda logits: self._choose(logits, deterministic))
        actions[np.arange(len(steps)), steps - 1] = chosen
        new = PolicyState(self._fingerprint, instructions, seen, actions, steps, keys_values, held)
        decoded = self.codec.decode_series(chosen)
        return (decoded[0] if single else decoded), new

    def executed(self, state: PolicyState, actions: Any) -> PolicyState:
        """The state after `actions`, one for each environment, were executed in place of those last chosen."""
        held, tokens = state.actions.copy(), self.codec.encode_series(actions)
        latest = np.full((len(state.steps), held.shape[2]), NO_TOKEN, np.int64)
        latest[:, : tokens.shape[1]] = tokens
        held[np.arange(len(state.steps)), state.steps - 1] = latest
        return replace(state, actions=held)

    def keep(self, state: PolicyState, rows: NDArray[np.int64]) -> PolicyState:
        """The state of those rows alone, in that order, for a batch in which some environments are done."""
        return replace(
            state,
            instructions=tuple(state.instructions[row] for row in rows),
            visual=state.visual[rows],
            actions=state.actions[rows],
            steps=state.steps[rows],
            keys_values=state.keys_values[:, :, rows],
            frames=None if state.frames is None else state.frames[rows],
        )

    def _check(self, state: PolicyState | None, rows: int) -> PolicyState | None:
        if state is None:
            return None
        if not isinstance(state, PolicyState) or state.policy != self._fingerprint:
            raise UserError("the state is not of this policy: pass None at first, then what its own predict gave back")
        if len(state.steps) != rows:
            raise UserError(f"the state is of {len(state.steps)} environments, the observation of {rows}")
        return state

    @property
    def _looks_again(self) -> bool:
        """Whether visual tokens are held that another instruction would make others."""
        return self._reads_for_words and not self._reads_clips

    def _encode(self, frames: Tensor, instructions: Sequence[str]) -> Tensor:
        """Visual tokens [N, T, visual, width] of frames [N, T, side, side, 3]."""
        rows, time = frames.shape[:2]
        words = None
        if self._reads_for_words:
            tokens, mask = pad_left([self._tokens(text) for text in instructions])
            of_frame = torch.arange(rows).repeat_interleave(time)
            words = self.model.words(torch.from_numpy(tokens), torch.from_numpy(mask), of_frame)
        return self._reader.encode(frames.flatten(0, 1), time=time, words=words).unflatten(0, (rows, time))

    def _encode_clips(
        self, frames: NDArray[np.uint8], longest: int, instructions: Sequence[str]
    ) -> NDArray[np.float32]:
        """Visual tokens of the windows' frames as clips: a frame sees those before it, so that padding changes none."""
        visual = self._encode(torch.from_numpy(frames[:, :longest]), instructions)
        return F.pad(visual, (0, 0, 0, 0, 0, frames.shape[1] - longest)).numpy()

    def _look_again(
        self,
        seen: NDArray[np.float32],
        latest: NDArray[np.uint8],
        steps: NDArray[np.int64],
        instructions: tuple[str, ...],
        old: PolicyState | None,
    ) -> NDArray[np.uint8]:
        """The windows' frames; where the instruction has changed, `seen` has their tokens for the new one then."""
        window, rows = self._window, np.arange(len(latest))
        if old is None or old.frames is None:
            frames = np.zeros((len(latest), window, *latest.shape[1:]), np.uint8)
        else:
            frames = old.frames.copy()
            moved = (old.steps == window) & (steps > 1)
            frames[moved, : kept_steps(window)] = frames[moved, window - kept_steps(window) :]
            changed = (steps > 1) & np.array([a != b for a, b in zip(instructions, old.instructions, strict=True)])
            for row in np.flatnonzero(changed):
                past = torch.from_numpy(frames[row, : steps[row] - 1])[None]
                seen[row, : steps[row] - 1] = self._encode(past, [instructions[row]])[0].numpy()
        frames[rows, steps - 1] = latest
        return frames

    def _remember(
        self,
        visual: NDArray[Any],
        instructions: tuple[str, ...],
        old: PolicyState | None,
        starts: NDArray[np.bool_],
    ) -> tuple[NDArray[Any], NDArray[np.int64], NDArray[np.int64], NDArray[np.bool_]]:
        """New histories with the latest frames (visual tokens or frames, actions, steps), and which rows to read anew.

        Those are the rows that begin, whose window has moved, or whose instruction has changed.
        """
        rows, window, kept = len(visual), self._window, kept_steps(self._window)
        if old is None:
            seen = np.zeros((rows, window, *visual.shape[1:]), visual.dtype)
            actions = np.full((rows, window, self.codec.longest), 0 if self.codec.length else NO_TOKEN, np.int64)
            steps, unread = np.zeros(rows, np.int64), np.ones(rows, bool)
        else:
            seen, actions, steps = old.visual.copy(), old.actions.copy(), old.steps.copy()
            steps[starts] = 0
            full = steps == window
            for values in (seen, actions):
                values[full, :kept] = values[full, window - kept :]
            steps[full] = kept
            unread = starts | full | np.array([a != b for a, b in zip(instructions, old.instructions, strict=True)])
        seen[np.arange(rows), steps] = visual
        return seen, actions, steps + 1, unread

    def _read(
        self,
        instructions: tuple[str, ...],
        seen: NDArray[np.float32],
        actions: NDArray[np.int64],
        steps: NDArray[np.int64],
        unread: NDArray[np.bool_],
        old: PolicyState | None,
    ) -> tuple[Tensor, NDArray[np.float32], NDArray[np.int64]]:
        """F_φ at each row's latest visual token, float32[N, width], the keys and values up to there, and how many."""
        language, words = self.model.language, [self._tokens(text) for text in instructions]
        visual, action = seen.shape[2], actions.shape[2]
        taken = np.arange(actions.shape[1]) < steps[:, None] - 1  # actions before the latest, which is yet to be chosen
        there = (actions != NO_TOKEN) & taken[..., None]
        lengths = np.array([len(row) for row in words]) + steps * visual + there.sum((1, 2))
        cache = self._reader.empty_cache(len(steps), int(lengths.max()) + action - 1)
        hidden = torch.empty(len(steps), language.config.word_embed_proj_dim)
        known = np.flatnonzero(~unread)
        if len(known):
            assert old is not None
            held = min(cache.shape[4], old.keys_values.shape[4])
            cache[..., :held, :] = torch.from_numpy(old.keys_values[..., :held, :])
            latest = steps[known] - 2
            new = self._embed_latest(actions[known, latest], there[known, latest], seen[known, latest + 1])
            count = there[known, latest].sum(1) + visual
            read = self._read_rows(known, new, cache, lengths[known] - count)
            hidden[known] = read[torch.arange(len(known)), torch.from_numpy(count - 1)]
        fresh = np.flatnonzero(unread)
        if len(fresh):
            instruction, mask = pad_left([words[row] for row in fresh])
            longest = int(steps[fresh].max())
            layout, padded = self.model.embed(
                torch.from_numpy(instruction),
                torch.from_numpy(seen[fresh, :longest]),
                torch.from_numpy(actions[fresh, :longest].clip(min=0)),
            )
            real = layout.real(torch.from_numpy(mask), torch.from_numpy(there[fresh, :longest]))
            new = pack(padded, real)[:, : int(lengths[fresh].max())]
            everything = self._read_rows(fresh, new, cache, np.zeros(len(fresh), np.int64))
            hidden[fresh] = everything[torch.arange(len(fresh)), torch.from_numpy(lengths[fresh] - 1)]
        return hidden, cache.numpy(), lengths

    def _embed_latest(
        self, actions: NDArray[np.int64], there: NDArray[np.bool_], visual: NDArray[np.float32]
    ) -> Tensor:
        """What follows in rows that were read before: the action that was taken, and the frame that came of it."""
        tokens = torch.from_numpy(actions.clip(min=0) + self.model.config.num_text_tokens)
        new = torch.cat([self.model.language.get_input_embeddings()(tokens), torch.from_numpy(visual)], dim=1)
        if there.all():
            return new
        return pack(new, torch.from_numpy(np.concatenate([there, np.ones(visual.shape[:2], bool)], axis=1)))

    def _read_rows(self, rows: NDArray[np.int64], new: Tensor, cache: Tensor, read: NDArray[np.int64]) -> Tensor:
        """The hidden states of new tokens of those rows; their keys and values are in the cache then."""
        if len(rows) == cache.shape[2]:  # all of them: no copy
            return self._reader.read_on(new, cache, torch.from_numpy(read))
        part = cache[:, :, rows]
        hidden = self._reader.read_on(new, part, torch.from_numpy(read))
        cache[:, :, rows] = part
        return hidden

    def _choose(self, logits: Tensor, deterministic: bool) -> NDArray[np.int64]:
        """Action tokens [N, 1]: the likeliest, or drawn at the policy's temperature."""
        if deterministic:
            return logits.argmax(-1, keepdim=True).numpy()
        probabilities = (logits / self._temperature).softmax(-1)
        return torch.multinomial(probabilities, 1, generator=self._generator).numpy()


def find_checkpoint(path: str | Path) -> Path:
    """The checkpoint folder of a run folder, or itself. Raises UserError when there is none."""
    folder = Path(path)
    if not folder.is_dir():
        raise UserError(f"{folder}: there is no such folder; name a run (runs/NAME) or a checkpoint folder")
    if (folder / "recipe.json").is_file():
        folder = folder / "model"
        if not folder.is_dir():
            raise UserError(f"{path}: the run has no model yet; 'agentgym train' goes on with it")
    return folder


def fingerprint(model: AgentModel) -> str:
    """What tells one policy's states from another's: a hash of the configuration and of some numbers of each tensor."""
    digest = blake2b(model.config.to_json_string().encode(), digest_size=8)
    for name, tensor in model.state_dict().items():
        some = tensor.detach().flatten()[:: max(1, tensor.numel() // 32)]
        digest.update(name.encode() + some.float().cpu().numpy().tobytes())
    return digest.hexdigest()


def read_observation(
    observation: Mapping[str, NDArray[np.uint8]], shape: tuple[int, int]
) -> tuple[NDArray[np.uint8], tuple[str, ...], bool]:
    """Frames [N, *shape, 3], instructions as text, and whether the observation was a single one."""
    missing = {"frame", "instruction"} - set(observation)
    if missing:
        raise UserError(
            f"the observation has no '{min(missing)}'; expected {{'frame', 'instruction'}}, as of agentgym.make"
        )
    frames, padded = np.asarray(observation["frame"]), np.asarray(observation["instruction"])
    single = frames.ndim == 3
    if single:
        frames, padded = frames[None], padded[None]
    if frames.ndim == 4 and frames.shape[1:] == (3, *shape):
        frames = frames.transpose(0, 2, 3, 1)
    if frames.dtype != np.uint8 or frames.shape[1:] != (*shape, 3):
        raise UserError(
            f"the frame is {frames.dtype}{list(frames.shape[1:])}; the agent was trained on uint8{[*shape, 3]}"
        )
    if padded.dtype != np.uint8 or padded.ndim != 2 or len(padded) != len(frames):
        raise UserError(
            f"the instruction is {padded.dtype}{list(padded.shape)}; "
            f"expected uint8[{len(frames)}, L], zero-padded UTF-8, one row for each frame"
        )
    try:
        texts = tuple(bytes(row).rstrip(b"\0").decode("utf-8") for row in padded)
    except UnicodeDecodeError as error:
        raise UserError(f"the instruction is no UTF-8 ({error}); expected zero-padded UTF-8") from None
    return np.ascontiguousarray(frames), texts, single


def _read_starts(episode_start: NDArray[np.bool_] | None, rows: int) -> NDArray[np.bool_]:
    """A copy of `episode_start`, which Stable-Baselines3 changes in place; all false for None."""
    if episode_start is None:
        return np.zeros(rows, bool)
    starts = np.array(episode_start, dtype=bool).reshape(-1)
    if len(starts) != rows:
        raise UserError(f"episode_start is of {len(starts)} environments, the observation of {rows}")
    return starts
