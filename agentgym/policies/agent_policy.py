"""AgentPolicy: the trained agent behind the `predict` of Stable-Baselines3.

The history of each environment is in `state`; the policy object itself holds none, so that several rollouts can share
it. The sequence is built by the functions that training uses, so acting on a recorded episode gives the logits that
training saw. Frames are encoded once, and F_φ reads only what is new, until the window moves (`model.sequence`).
"""

from collections.abc import Mapping
from copy import copy
from functools import lru_cache
from hashlib import blake2b
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from agentgym.errors import UserError
from agentgym.model.agent import AgentModel, load_agent
from agentgym.model.reading import Reader
from agentgym.model.tokenizer import load_tokenizer, tokenize
from agentgym.model.vision import resize_frames
from agentgym.policies.constrained_decoding import Writer
from agentgym.policies.observations import read_observation, read_starts
from agentgym.policies.prefill import WindowReader
from agentgym.policies.protocol import Actor
from agentgym.policies.state import PolicyState, Window
from agentgym.spaces import SpaceCodec
from agentgym.spaces.domains import Domain


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
        self._temperature = temperature
        self._generator = torch.Generator().manual_seed(seed)
        self._tokens = lru_cache(maxsize=10_000)(lambda text: tokenize(tokenizer, text))
        self._windows = WindowReader(self.model, self._reader, self._tokens)
        self._text = int(model.config.num_text_tokens)
        self._model_fingerprint = fingerprint(model)
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
        self._fingerprint = f"{self._model_fingerprint}/{self.domains.index(domain)}"
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
        starts = read_starts(episode_start, len(frames))
        old = self._check(state, len(frames))
        seen = torch.from_numpy(frames)
        if frames.shape[1:3] != (self.frame_side, self.frame_side):
            seen = resize_frames(seen[:, None], self.frame_side)[:, 0]
        window = self._grown(seen, instructions, old, starts)
        hidden, cache, lengths = self._windows.read(window, instructions, old)
        if self._writer is None:
            logits = self._reader.logits(hidden, self._text)
            chosen = self._choose(logits, deterministic)
        else:
            chosen = self._writer.write(hidden, cache, lengths, lambda logits: self._choose(logits, deterministic))
        window.actions[np.arange(len(frames)), window.steps - 1] = chosen
        after = PolicyState(
            self._fingerprint,
            instructions,
            window.visual,
            window.actions,
            window.steps,
            cache.numpy(),
            lengths,
            window.frames,
        )
        decoded = self.codec.decode_series(chosen)
        return (decoded[0] if single else decoded), after

    def executed(self, state: PolicyState, actions: Any) -> PolicyState:
        """The state after `actions`, one for each environment, were executed in place of those last chosen."""
        return state.executed(self.codec.encode_series(actions))

    def select(self, state: PolicyState, rows: NDArray[np.int64]) -> PolicyState:
        """The state of those rows alone, in that order, for a batch in which some environments are done."""
        return state.select(rows)

    def _check(self, state: PolicyState | None, rows: int) -> PolicyState | None:
        if state is None:
            return None
        if not isinstance(state, PolicyState) or state.policy != self._fingerprint:
            raise UserError("the state is not of this policy: pass None at first, then what its own predict gave back")
        if len(state.steps) != rows:
            raise UserError(f"the state is of {len(state.steps)} environments, the observation of {rows}")
        return state

    def _grown(
        self, frames: Tensor, instructions: tuple[str, ...], old: PolicyState | None, starts: NDArray[np.bool_]
    ) -> Window:
        """The windows with those frames as their latest."""
        latest = self._windows.look(frames, instructions)
        held = frames.numpy() if self._windows.looks_again else None
        if old is None:
            window = Window.empty(latest, held, self.codec, self._window)
        else:
            window = Window.after(old, instructions, starts)
            if self._windows.looks_again:
                self._windows.look_again(window, instructions)
        window.append(latest, held)
        return window

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
