"""AgentPolicy: the trained agent with the `predict` method of Stable-Baselines3.

The history of each environment is in `state`; the policy object itself holds none, so that several rollouts can share
it. The sequence is read by the modules that training uses, so acting on a recorded episode gives the logits that
training saw. Frames are encoded once, and the language model reads only what is new, until the window moves
(`agentgym.model.sequence`). It acts with the model's weights as they are and where they are: on its device, in its
precision; its decision goes to the host once a step.
"""

from collections.abc import Mapping, Sequence
from copy import copy
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Self

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor
from transformers import PreTrainedTokenizerFast

from agentgym.errors import UserError
from agentgym.model.agent import AgentModel
from agentgym.model.device import default_device
from agentgym.model.loading import load_agent
from agentgym.model.sequence import SlidingWindow
from agentgym.model.tokenizer import Instructions, load_tokenizer
from agentgym.model.weights import WeightsMark, fingerprint
from agentgym.policies.agents import find_agent
from agentgym.policies.constrained_decoding import ConstrainedDecoder
from agentgym.policies.observations import read_observation, read_starts
from agentgym.policies.protocol import Actor
from agentgym.policies.sampling import Sampler, TemperatureSampler, softmax
from agentgym.policies.state import PolicyState
from agentgym.policies.window_reader import WindowReader
from agentgym.spaces import NO_TOKEN, SpaceCodec, TextTokenSpace
from agentgym.spaces.domains import Domain


@dataclass(frozen=True)
class WrittenAction:
    """An action as the agent writes it: its tokens; at each place the probabilities of all that is allowed there."""

    action: Any
    tokens: list[int]
    probabilities: list[NDArray[np.float64]]  # [tokens of the vocabulary] a place
    state: PolicyState


class AgentPolicy:
    """Chooses actions for one environment or a batch of them. It holds no history: that is in the state.

    The interface is Stable-Baselines3's `predict`, with `state` and `episode_start` as for its recurrent policies.
    """

    def __init__(
        self,
        model: AgentModel,
        tokenizer: PreTrainedTokenizerFast,
        *,
        temperature: float = 1.0,
        seed: int = 0,
        sampler: Sampler | None = None,
    ) -> None:
        """`sampler` draws the actions of `predict(deterministic=False)`; None draws at that temperature and seed."""
        self.model = model.eval()
        self.tokenizer = tokenizer
        self.sampler = sampler or TemperatureSampler(temperature, seed)
        self.domains = model.config.all_domains()
        self.tasks = tuple(task for domain in self.domains for task in domain.tasks)
        self.frame_side = model.frame_side
        self._instructions = Instructions(tokenizer)
        self._mark = WeightsMark(model)
        self._seen_mark: tuple[Any, ...] = ()
        self._weights = ""
        self._enter(self.domains[0])

    @classmethod
    def from_pretrained(
        cls,
        path: str | Path,
        *,
        device: str | torch.device | None = None,
        dtype: torch.dtype = torch.float32,
        temperature: float = 1.0,
        seed: int = 0,
        sampler: Sampler | None = None,
    ) -> Self:
        """The policy of a run, a checkpoint, a shipped agent or a repository of the Hub.

        It computes on the GPU where there is one, or on `device`, in `dtype`. `temperature` divides the logits before
        sampling by `seed`; a `sampler` replaces both. Raises UserError when the folder is not whole.
        """
        folder = find_checkpoint(path)
        model = load_agent(folder, device=default_device() if device is None else device, dtype=dtype)
        return cls(model, load_tokenizer(folder), temperature=temperature, seed=seed, sampler=sampler)

    @property
    def device(self) -> torch.device:
        """Where it computes: where its model is."""
        return self.model.device

    def playing(self, space: SpaceCodec, task: str, frame_shape: tuple[int, ...] | None = None) -> Self:
        """The policy as it plays environments with that space of actions, names included: its domain is that one.

        Of several such domains it is one of those frames, and of these the one that has the task, else the first. A
        fresh policy plays its first domain. Raises UserError when the agent was trained for none such.
        """
        fitting = [domain for domain in self.domains if domain.space.root == space.root]
        if not fitting:
            known = "; ".join(dict.fromkeys(str(domain.space) for domain in self.domains))
            raise UserError(f"{task}: its actions are {space}; the agent was trained for {known}")
        chosen = max(fitting, key=lambda domain: (domain.frame_shape == frame_shape, task in domain.tasks))
        if chosen == self.domain:
            return self
        other = copy(self)
        other._enter(chosen)
        return other

    def fitted(self, space: SpaceCodec, shape: tuple[int, ...], task: str) -> Self:
        """The policy as it plays that space and frames of that shape. Raises UserError if trained for others."""
        playing = self.playing(space, task, shape[:2])
        expected = (*playing.domain.frame_shape, 3)
        if shape != expected:
            raise UserError(f"{task}: its frames are {list(shape)}; the agent was trained on {list(expected)}")
        return playing

    def _enter(self, domain: Domain) -> None:
        self.domain = domain
        self.codec = domain.space.within(self.model.config.action_tokens or ())
        self._reader = WindowReader(self.model, self._instructions, SlidingWindow(domain.window), self.codec.longest)
        self._decoder = None if self.codec.is_free else ConstrainedDecoder(self.model, self.codec)

    def actor(self, *, deterministic: bool = True) -> Actor:
        """An object that holds the history of one environment, or of a vector of them, and acts in it."""
        return Actor(self, deterministic=deterministic)

    def predict(
        self,
        observation: Mapping[str, NDArray[np.uint8]],
        state: PolicyState | None = None,
        episode_start: NDArray[np.bool_] | None = None,
        deterministic: bool = False,
    ) -> tuple[Any, PolicyState]:
        """Actions (an array of them; a tuple where an action is not an array) and the new state.

        `observation` is {"frame": uint8[N, H, W, 3], "instruction": uint8[N, L]}, or one environment's without N (the
        action then has no N either); frames may come channels first. Rows where `episode_start` is true begin again.
        A row whose instruction has changed keeps its history. Raises UserError for frames of another size or
        type than the agent was trained on, and for a state that is not one of this policy, its weights as they are,
        and this many environments.
        """
        with torch.inference_mode():
            hidden, after, single = self._read(observation, state, episode_start)
            if self._decoder is None:
                chosen = self._choose(self.model.action_logits(hidden), deterministic)[:, None]
            else:
                chosen = self._decoder.decode(
                    hidden, after.cache, after.read, lambda logits: self._choose(logits, deterministic)
                )
        decoded = self.codec.decode_series(chosen)
        return (decoded[0] if single else decoded), after.executed(chosen)

    def action_logits(
        self,
        observation: Mapping[str, NDArray[np.uint8]],
        state: PolicyState | None = None,
        episode_start: NDArray[np.bool_] | None = None,
    ) -> tuple[NDArray[np.float32], PolicyState]:
        """Logits [N, A] of the actions of a Discrete space (without N of a single observation), in their order.

        No action is chosen: hand the state to `executed` with the actions that are taken, then to what follows. Raises
        UserError like `predict`, and for a space that is not Discrete.
        """
        self.codec.discrete_root("logits of actions")
        with torch.inference_mode():
            hidden, after, single = self._read(observation, state, episode_start)
            logits = self.model.action_logits(hidden).float().cpu().numpy()[:, self.codec.allowed()]
        return (logits[0] if single else logits), after

    def written_action(
        self, observation: Mapping[str, NDArray[np.uint8]], state: PolicyState | None = None
    ) -> WrittenAction:
        """The likeliest action of one environment, token by token. Its state is as that of `action_logits`.

        `observation` is {"frame": uint8[H, W, 3], "instruction": uint8[L]}. Raises UserError like `predict`, and for a
        batch of observations.
        """
        probabilities: list[NDArray[np.float64]] = []

        def choose(logits: Tensor) -> NDArray[np.int64]:
            probabilities.append(softmax(logits[0].float().cpu().numpy()))
            return self._choose(logits, deterministic=True)

        with torch.inference_mode():
            hidden, after, single = self._read(observation, state, None)
            if not single:
                raise UserError("one environment's observation is expected, without an axis of environments")
            if self._decoder is None:
                chosen = choose(self.model.action_logits(hidden))[:, None]
            else:
                chosen = self._decoder.decode(hidden, after.cache, after.read, choose)
        tokens = [int(token) for token in chosen[0] if token != NO_TOKEN]
        return WrittenAction(self.codec.decode_series(chosen)[0], tokens, probabilities[: len(tokens)], after)

    def token_name(self, token: int) -> str:
        """An action token for people; a negative one is of the text vocabulary."""
        if token < 0 or isinstance(self.codec.root, TextTokenSpace):
            return str(self.tokenizer.decode([token + self.model.config.num_text_tokens]))
        return self.codec.tokens[token].removeprefix("<action:").removesuffix(">").removeprefix("<action_")

    def executed(self, state: PolicyState, actions: Any) -> PolicyState:
        """The state after `actions`, one for each environment, were executed in place of those last chosen.

        Raises ValueError for an action outside the space.
        """
        return state.executed(self.codec.encode_series(actions))

    def start(self, row: int, seed: int) -> None:
        """Notifies the sampler that an episode of that seed begins in that row."""
        self.sampler.start(row, seed)

    def select(self, state: PolicyState, rows: NDArray[np.int64]) -> PolicyState:
        """The state of those rows (int64[K], in that order), for a batch in which some environments are done."""
        self.sampler.select(rows)
        return state.select(rows)

    @staticmethod
    def join(states: Sequence[PolicyState]) -> PolicyState:
        """One state of all their environments, in that order: those of several clients, answered in one batch."""
        return PolicyState.join(states)

    def _read(
        self,
        observation: Mapping[str, NDArray[np.uint8]],
        state: PolicyState | None,
        episode_start: NDArray[np.bool_] | None,
    ) -> tuple[Tensor, PolicyState, bool]:
        """Hidden states at the latest frames, the state without an action yet, and whether there was no axis N."""
        frames, instructions, single = read_observation(observation, self.domain.frame_shape)
        starts = read_starts(episode_start, len(frames))
        identity = self._identity()
        if state is not None:
            self._check(state, identity, len(frames))
        seen = torch.from_numpy(frames).to(self.device)
        seen = self.model.frame_size.fit(seen[:, None])[:, 0]
        hidden, after = self._reader.read(identity, seen, instructions, state, starts)
        return hidden, after, single

    def _identity(self) -> str:
        """Which policy this is: its weights as they are, where they are, and the domain that it plays."""
        mark = self._mark.now()
        if mark != self._seen_mark:
            self._seen_mark = mark
            self._weights = f"{fingerprint(self.model)}/{self.model.device}/{self.model.dtype}"
        return f"{self._weights}/{self.domains.index(self.domain)}"

    def _check(self, state: PolicyState, identity: str, rows: int) -> None:
        if not isinstance(state, PolicyState) or state.policy != identity:
            raise UserError(
                "the state is not of this policy, or its weights have changed since: pass None at first, then what its "
                "own predict gave back"
            )
        if len(state.steps) != rows:
            raise UserError(f"the state is of {len(state.steps)} environments, the observation of {rows}")

    def _choose(self, logits: Tensor, deterministic: bool) -> NDArray[np.int64]:
        """A place of each row of logits: the likeliest, or drawn."""
        if deterministic:
            likeliest: NDArray[np.int64] = logits.argmax(-1).cpu().numpy()
            return likeliest
        return self.sampler.choose(logits.float().cpu().numpy())


def find_checkpoint(path: str | Path) -> Path:
    """The checkpoint folder of a run folder, a shipped agent or a repository of the Hub, or the folder itself.

    Raises UserError when there is none.
    """
    folder = find_agent(path)
    if (folder / "recipe.json").is_file():
        folder = folder / "model"
        if not folder.is_dir():
            raise UserError(f"{path}: the run has no model yet; 'agentgym train' resumes it")
    return folder
