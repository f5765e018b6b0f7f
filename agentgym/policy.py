"""AgentPolicy: the trained agent behind the `predict` of Stable-Baselines3.

The history of each environment (the visual tokens of the last M frames, and the actions between them) is in `state`;
the policy object itself holds none, so that several rollouts can share it. The sequence is built by the functions that
training uses, so acting on a recorded episode gives the logits that training saw.
"""

from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from transformers import PreTrainedTokenizerFast

from agentgym.actions import ActionCodec
from agentgym.errors import UserError
from agentgym.model.agent import AgentModel, load_agent
from agentgym.model.tokenizer import load_tokenizer, pad_left, tokenize


@dataclass(frozen=True)
class PolicyState:
    """The history of N environments. A value: `predict` returns a new one and never changes the one it got."""

    visual: NDArray[np.float32]  # [N, M, visual tokens, width]
    actions: NDArray[np.int64]  # [N, M, action tokens]; the last one held is the latest chosen
    steps: NDArray[np.int64]  # [N], how many of the M places are taken


class AgentPolicy:
    """Chooses actions for one environment or a batch of them."""

    def __init__(
        self, model: AgentModel, tokenizer: PreTrainedTokenizerFast, *, temperature: float = 1.0, seed: int = 0
    ) -> None:
        self.model = model.eval()
        config = model.config
        self.codec = ActionCodec(tuple(config.action_names or ()), config.action_start)
        self.tasks = tuple(config.tasks or ())
        self.frame_side = model.vision.side * model.vision.patch_size
        self._window = config.window
        self._temperature = temperature
        self._generator = torch.Generator().manual_seed(seed)
        self._tokens = lru_cache(maxsize=10_000)(lambda text: tokenize(tokenizer, text))

    @classmethod
    def from_pretrained(cls, path: str | Path, *, temperature: float = 1.0, seed: int = 0) -> "AgentPolicy":
        """The policy of a run folder or a checkpoint folder. Raises UserError when it is not whole."""
        folder = Path(path)
        if not folder.is_dir():
            raise UserError(f"{folder}: there is no such folder; name a run (runs/NAME) or a checkpoint folder")
        if (folder / "recipe.json").is_file():
            folder = folder / "model"
            if not folder.is_dir():
                raise UserError(f"{path}: the run has no model yet; 'agentgym train' goes on with it")
        return cls(load_agent(folder), load_tokenizer(folder), temperature=temperature, seed=seed)

    def refuse_other_actions(self, codec: ActionCodec, task: str) -> None:
        """Raises UserError when an environment's actions are not the ones the agent was trained for."""
        if codec != self.codec:
            raise UserError(
                f"{task}: its actions are {', '.join(codec.names)}; "
                f"the agent was trained for {', '.join(self.codec.names)}"
            )

    def predict(
        self,
        observation: Mapping[str, NDArray[np.uint8]],
        state: PolicyState | None = None,
        episode_start: NDArray[np.bool_] | None = None,
        deterministic: bool = False,
    ) -> tuple[NDArray[np.int64], PolicyState]:
        """Actions and the new state.

        `observation` is {"frame": uint8[N, H, W, 3], "instruction": uint8[N, L]}, or one environment's without N (the
        action then has no N either); frames may come channels first. Rows where `episode_start` is true begin anew.
        Raises UserError for frames of another size or type than the agent was trained on.
        """
        frames, instructions, single = self._read_observation(observation)
        history = self._remember(frames, state, episode_start)
        logits = self.action_logits(history, instructions)
        tokens = self._choose(logits, deterministic)
        history.actions[np.arange(len(tokens)), history.steps - 1] = tokens
        actions = self.codec.decode(tokens)
        return (actions[0] if single else actions), history

    @torch.inference_mode()
    def action_logits(self, history: PolicyState, instructions: list[str]) -> torch.Tensor:
        """Logits over the action tokens for the latest frame of each row, float32[N, actions]."""
        instruction, mask = pad_left([self._tokens(text) for text in instructions])
        longest = int(history.steps.max())
        layout, hidden = self.model.read(
            torch.from_numpy(instruction),
            torch.from_numpy(mask),
            torch.from_numpy(history.visual[:, :longest]),
            torch.from_numpy(history.actions[:, :longest]),
        )
        latest = layout.predicts_actions(hidden)[torch.arange(len(hidden)), torch.from_numpy(history.steps - 1), 0]
        return self.model.logits(latest)[:, self.model.config.num_text_tokens :]

    @torch.inference_mode()
    def _remember(
        self, frames: NDArray[np.uint8], state: PolicyState | None, episode_start: NDArray[np.bool_] | None
    ) -> PolicyState:
        """A new history with the frames appended; a full row forgets its oldest step first."""
        visual = self.model.encode(torch.from_numpy(frames)).numpy()
        if state is None:
            shape = (len(frames), self._window)
            history = PolicyState(
                visual=np.zeros((*shape, *visual.shape[1:]), np.float32),
                actions=np.zeros((*shape, self.codec.length), np.int64),
                steps=np.zeros(len(frames), np.int64),
            )
        else:
            if len(state.steps) != len(frames):
                raise UserError(f"the state is of {len(state.steps)} environments, the observation of {len(frames)}")
            history = PolicyState(state.visual.copy(), state.actions.copy(), state.steps.copy())
        if episode_start is not None:
            starts = np.array(episode_start, dtype=bool)
            history.steps[starts] = 0
        full = history.steps == self._window
        history.visual[full, :-1] = history.visual[full, 1:]
        history.actions[full, :-1] = history.actions[full, 1:]
        history.steps[~full] += 1
        history.visual[np.arange(len(frames)), history.steps - 1] = visual
        return history

    def _choose(self, logits: torch.Tensor, deterministic: bool) -> NDArray[np.int64]:
        """Action tokens [N, 1]: the likeliest, or drawn at the policy's temperature."""
        if deterministic:
            return logits.argmax(-1, keepdim=True).numpy()
        probabilities = (logits / self._temperature).softmax(-1)
        return torch.multinomial(probabilities, 1, generator=self._generator).numpy()

    def _read_observation(
        self, observation: Mapping[str, NDArray[np.uint8]]
    ) -> tuple[NDArray[np.uint8], list[str], bool]:
        """Frames [N, H, W, 3], instructions as text, and whether the observation was a single one."""
        missing = {"frame", "instruction"} - set(observation)
        if missing:
            raise UserError(
                f"the observation has no '{min(missing)}'; expected {{'frame', 'instruction'}}, as of agentgym.make"
            )
        frames, padded = np.asarray(observation["frame"]), np.asarray(observation["instruction"])
        single = frames.ndim == 3
        if single:
            frames, padded = frames[None], padded[None]
        side = self.frame_side
        if frames.ndim == 4 and frames.shape[1:] == (3, side, side):
            frames = frames.transpose(0, 2, 3, 1)
        if frames.dtype != np.uint8 or frames.shape[1:] != (side, side, 3):
            raise UserError(
                f"the frame is {frames.dtype}{list(frames.shape[1:])}; "
                f"the agent was trained on uint8[{side}, {side}, 3]"
            )
        texts: list[Any] = [bytes(row).rstrip(b"\0").decode("utf-8") for row in padded]
        return np.ascontiguousarray(frames), texts, single
