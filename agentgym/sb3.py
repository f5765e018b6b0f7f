"""The agent in Stable-Baselines3's on-policy algorithms: a trained checkpoint as the start of PPO or A2C.

    env = HistoryObservation(agentgym.make(task), window=8)
    model = PPO(AgentActorCriticPolicy, env, policy_kwargs={"checkpoint": "runs/NAME"}, learning_rate=1e-5)

These algorithms shuffle single observations, so the history is in the observation; the window moves as the policy's
does (`agentgym.layout`). The body and the action head are the checkpoint's, bit by bit; the value head is new.

A model that was saved is loaded without the checkpoint's folder, also on another machine: what rebuilds the agent (its
configuration and tokenizer) is a note in the observation space, the one thing that both the policy gets and the
algorithms save.
"""

import json
import shutil
from collections.abc import Callable
from functools import lru_cache
from pathlib import Path
from typing import Any

import gymnasium
import numpy as np
import torch
from gymnasium.spaces import Box, Dict, Discrete, MultiBinary
from jaxtyping import Float, Int, UInt8
from numpy.typing import NDArray
from stable_baselines3.common.distributions import Distribution
from stable_baselines3.common.policies import ActorCriticPolicy
from stable_baselines3.common.torch_layers import BaseFeaturesExtractor
from tokenizers import Tokenizer
from torch import Tensor, nn
from transformers import PreTrainedTokenizerFast

from agentgym.action_spaces import Integers
from agentgym.domains import Domain
from agentgym.environments import decode_instruction
from agentgym.errors import UserError
from agentgym.layout import kept_steps
from agentgym.model.agent import AgentConfig, AgentModel, load_agent
from agentgym.model.grounding import Words
from agentgym.model.tokenizer import load_tokenizer, pad_left, tokenize, wrap_tokenizer
from agentgym.one_domain import of_one_domain
from agentgym.policy import find_checkpoint

NOTE = "agentgym_checkpoint"  # the attribute of the space: {checkpoint: (configuration, tokenizer)} as JSON
REMEMBERED_BYTES = 64_000_000  # of frames that were encoded


class HistoryObservation(gymnasium.Wrapper[dict[str, NDArray[Any]], np.int64, dict[str, NDArray[Any]], np.int64]):
    """Shows the window that the agent sees: its frames, the actions between them, and which places are taken.

    {"frames": uint8[M, H, W, 3], "actions": int64[M], "mask": int8[M], "instruction": uint8[L]}; actions count from 0,
    the action at a place is the one taken on its frame, and 0 where none has been taken yet.
    """

    def __init__(self, env: gymnasium.Env[Any, Any], *, window: int) -> None:
        super().__init__(env)
        seen, actions = env.observation_space, env.action_space
        if not isinstance(seen, Dict) or not {"frame", "instruction"} <= set(seen.spaces):
            raise UserError(f"observation space {seen}: expected {{'frame', 'instruction'}}, as of agentgym.make")
        if seen["frame"].dtype != np.uint8:  # written into the window they would be cut to whole numbers
            raise UserError(f"the frames are {seen['frame'].dtype}; expected uint8, 0 to 255, as of agentgym.make")
        if not isinstance(actions, Discrete):
            raise UserError(f"action space {actions}: expected a Discrete one")
        shape = seen["frame"].shape
        assert shape is not None
        self.observation_space: Dict = Dict(  # type: ignore[assignment]  # Gymnasium types it Space[dict[str, Any]]
            {
                "frames": Box(0, 255, (window, *shape), np.uint8),
                "actions": Box(0, int(actions.n) - 1, (window,), np.int64),
                "mask": MultiBinary(window),
                "instruction": seen["instruction"],
            }
        )
        self._first_action = int(actions.start)
        self._frames = np.zeros((window, *shape), np.uint8)
        self._actions = np.zeros(window, np.int64)
        self._steps = 0

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[dict[str, NDArray[Any]], dict[str, Any]]:
        """The first frame alone."""
        observation, info = self.env.reset(seed=seed, options=options)
        self._steps = 0
        return self._append(observation), info

    def step(self, action: np.int64) -> tuple[dict[str, NDArray[Any]], Any, bool, bool, dict[str, Any]]:
        """The window with the next frame; a full one moves first."""
        observation, reward, terminated, truncated, info = self.env.step(action)
        self._actions[self._steps - 1] = int(action) - self._first_action
        window, kept = len(self._actions), kept_steps(len(self._actions))
        if self._steps == window:
            for values in (self._frames, self._actions):
                values[:kept] = values[window - kept :]
            self._steps = kept
        return self._append(observation), reward, terminated, truncated, info

    def _append(self, observation: dict[str, NDArray[Any]]) -> dict[str, NDArray[Any]]:
        self._frames[self._steps] = observation["frame"]
        self._steps += 1
        self._frames[self._steps :] = 0
        self._actions[self._steps - 1 :] = 0
        return {
            "frames": self._frames.copy(),
            "actions": self._actions.copy(),
            "mask": (np.arange(len(self._actions)) < self._steps).astype(np.int8),
            "instruction": observation["instruction"],
        }


class AgentFeatures(BaseFeaturesExtractor):
    """F_φ's hidden state at the latest frame of each window; the model of a checkpoint, without dropout."""

    def __init__(
        self, observation_space: Dict, checkpoint: str, action_space: gymnasium.Space[Any], task: str | None = None
    ) -> None:
        agent, tokenizer = _load_or_rebuild(observation_space, checkpoint, action_space, task)
        agent.refuse_clips("a Stable-Baselines3 policy")
        super().__init__(observation_space, features_dim=agent.language.config.word_embed_proj_dim)
        expected = (agent.config.window, agent.frame_side, agent.frame_side, 3)
        frames = observation_space.spaces.get("frames") if isinstance(observation_space, Dict) else None
        if frames is None or frames.shape != expected:
            found = "no 'frames'" if frames is None else f"frames {list(frames.shape or ())}"
            raise UserError(
                f"the observation has {found}; {checkpoint} takes {list(expected)}: "
                f"wrap the environment in HistoryObservation(env, window={expected[0]})"
            )
        for module in agent.modules():
            for name in ("dropout", "attention_dropout", "layerdrop"):
                if isinstance(getattr(module, name, None), float):
                    setattr(module, name, 0.0)
        self.agent = agent
        self.tokenizer = tokenizer
        self._encoder = [*agent.vision.parameters(), *agent.projector.parameters()]
        if agent.vision.grounding is not None:
            self._encoder.append(agent.language.get_input_embeddings().weight)
        self._encoded = EncodedFrames()
        self._tokens = lru_cache(maxsize=10_000)(
            lambda raw: tokenize(self.tokenizer, decode_instruction(np.frombuffer(raw, np.uint8)))
        )

    def forward(self, observations: dict[str, Tensor]) -> Float[Tensor, "rows width"]:
        """From the observations of `HistoryObservation`, in the float32 that Stable-Baselines3 makes of them."""
        mask = observations["mask"].bool()
        steps = mask.sum(1)
        mask = mask[:, : int(steps.max())]
        real = mask.flatten().nonzero().squeeze(1)
        frames = observations["frames"][:, : mask.shape[1]].flatten(0, 1)[real].to(torch.uint8)
        raw = observations["instruction"].to(torch.uint8)
        padded = pad_left([self._tokens(row.tobytes()) for row in raw.cpu().numpy()])
        instruction, instruction_mask = (torch.from_numpy(each).to(mask.device) for each in padded)
        of_frame = real // mask.shape[1]
        words = self.agent.words(instruction, instruction_mask, of_frame)
        encoded = self._encode(frames, words, raw[of_frame])
        visual = encoded.new_zeros(mask.numel(), *encoded.shape[1:]).index_copy(0, real, encoded)
        layout, hidden = self.agent.read(
            instruction,
            instruction_mask,
            visual.unflatten(0, mask.shape),
            observations["actions"][:, : mask.shape[1], None].long(),
        )
        return layout.predicts_actions(hidden)[torch.arange(len(mask)), steps - 1, 0]

    def _encode(
        self, frames: UInt8[Tensor, "frames height width 3"], words: Words | None, raw: UInt8[Tensor, "frames bytes"]
    ) -> Float[Tensor, "frames visual width"]:
        """Visual tokens, each different frame encoded once; known ones are remembered until the encoder learns.

        Where frames are read for `words`, of which `raw` are the bytes, frames with other words are others.
        """
        told = frames.flatten(1) if words is None else torch.cat([frames.flatten(1), raw], dim=1)

        def encode(places: Int[Tensor, "chosen"]) -> Tensor:
            return self.agent.encode(frames[places], words=None if words is None else words.at(places))

        if torch.is_grad_enabled() and any(parameter.requires_grad for parameter in self._encoder):
            first, which = _distinct(told)
            return encode(first)[which]
        return self._encoded.of(told, encode, sum(parameter._version for parameter in self._encoder))


class EncodedFrames:
    """Visual tokens of frames that were seen, by the frames' bytes: windows overlap, and views come again."""

    def __init__(self) -> None:
        self._tokens: dict[bytes, Tensor] = {}
        self._version = 0

    def of(
        self, told: UInt8[Tensor, "frames bytes"], encode: Callable[[Tensor], Tensor], version: int
    ) -> Float[Tensor, "frames visual width"]:
        """The tokens; `encode` computes those of the places that are new to this version of the encoder's weights."""
        if version != self._version or len(self._tokens) * self._bytes_each() > REMEMBERED_BYTES:
            self._tokens, self._version = {}, version
        keys = [row.tobytes() for row in told.cpu().numpy()]
        new = {key: place for place, key in enumerate(keys) if key not in self._tokens}
        if new:
            encoded = encode(torch.tensor(list(new.values()), device=told.device)).detach()
            self._tokens.update(zip(new, encoded.unbind(), strict=True))
        return torch.stack([self._tokens[key] for key in keys])

    def _bytes_each(self) -> int:
        return next((tokens.nbytes for tokens in self._tokens.values()), 0)


class AgentActorCriticPolicy(ActorCriticPolicy):
    """A checkpoint's agent as actor, and a value head on the same features.

    An agent of several domains acts in the one of the environment's action space, and is saved with that one alone;
    where several have that space, `task` says which, by a task that it was trained on.

    `value_rate` is the value head's learning rate as a multiple of the algorithm's, which is the agent's own: the agent
    knows something already, the value head nothing.
    """

    def __init__(
        self,
        observation_space: gymnasium.Space[Any],
        action_space: gymnasium.Space[Any],
        lr_schedule: Any,
        checkpoint: str,
        *,
        task: str | None = None,
        value_rate: float = 30.0,
        use_sde: bool = False,
        optimizer_class: type[torch.optim.Optimizer] = torch.optim.Adam,
        optimizer_kwargs: dict[str, Any] | None = None,
    ) -> None:
        if use_sde:
            raise UserError("use_sde=True: state-dependent exploration is for continuous actions")
        self.checkpoint = str(checkpoint)
        self.task = task
        self.value_rate = value_rate
        super().__init__(
            observation_space,
            action_space,
            lr_schedule,
            net_arch=[],
            ortho_init=False,  # True would draw the agent's weights again
            features_extractor_class=AgentFeatures,
            features_extractor_kwargs={"checkpoint": self.checkpoint, "action_space": action_space, "task": task},
            optimizer_class=optimizer_class,
            optimizer_kwargs=optimizer_kwargs,
        )

    def save_checkpoint(self, path: str | Path) -> None:
        """Writes the agent as a checkpoint folder, or as a run folder if it came from one; `evaluate` reads that.

        Raises UserError when there is something in the folder.
        """
        folder, recipe = Path(path), Path(self.checkpoint) / "recipe.json"
        if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
            raise UserError(f"{folder}: exists; choose another folder for the tuned agent")
        folder.mkdir(parents=True, exist_ok=True)
        if recipe.is_file():
            shutil.copy(recipe, folder)
            folder = folder / "model"
        self.features_extractor.agent.save_pretrained(folder)
        self.features_extractor.tokenizer.save_pretrained(folder)

    def _build(self, lr_schedule: Any) -> None:
        self._build_mlp_extractor()  # no layers: the features as they are
        self.action_net = nn.Identity()  # the agent's output head is its embedding table
        self.value_net = nn.Linear(self.features_dim, 1)
        nn.init.zeros_(self.value_net.weight)
        nn.init.zeros_(self.value_net.bias)
        groups = [
            {"params": list(self.features_extractor.parameters()), "rate": 1.0},
            {"params": list(self.value_net.parameters()), "rate": self.value_rate},
        ]
        self.optimizer = self.optimizer_class(groups, lr=lr_schedule(1), **self.optimizer_kwargs)
        # The algorithms set one learning rate for all groups before they train: the groups' rates act on each step.
        self.optimizer.register_step_pre_hook(lambda optimizer, *_: _scale_rates(optimizer, 1))
        self.optimizer.register_step_post_hook(lambda optimizer, *_: _scale_rates(optimizer, -1))

    def _get_action_dist_from_latent(self, latent_pi: Tensor) -> Distribution:
        return self.action_dist.proba_distribution(
            action_logits=_action_logits(self.features_extractor.agent, latent_pi)
        )

    def _get_constructor_parameters(self) -> dict[str, Any]:
        return {
            "observation_space": self.observation_space,
            "action_space": self.action_space,
            "lr_schedule": self._dummy_schedule,
            "checkpoint": self.checkpoint,
            "task": self.task,
            "value_rate": self.value_rate,
            "optimizer_class": self.optimizer_class,
            "optimizer_kwargs": self.optimizer_kwargs,
        }


def fitting_domain(agent: AgentModel, space: gymnasium.Space[Any], checkpoint: str, task: str | None) -> Domain:
    """The agent's domain whose actions are the Discrete ones of that space; of several, the one that has the task.

    Raises UserError when there is none, or several and no task says which.
    """
    domains = agent.config.all_domains()
    if len(domains) == 1:
        domains[0].space.discrete_root(f"{checkpoint}: PPO and A2C start from an agent that")
    fitting = [domain for domain in domains if _discrete(domain) == space]
    if not fitting:
        known = "; ".join(dict.fromkeys(str(domain.space) for domain in domains))
        raise UserError(f"action space {space}; {checkpoint} was trained for {known}")
    chosen = [domain for domain in fitting if task is None or task in domain.tasks]
    if len(chosen) != 1 and (task is not None or len(fitting) > 1):
        tasks = ", ".join(name for domain in fitting for name in domain.tasks)
        found = f"no task {task!r}" if task is not None and not chosen else f"{len(chosen)} domains"
        raise UserError(f"{checkpoint} has {found} with {space}; name one in policy_kwargs: task = one of {tasks}")
    return chosen[0]


def _discrete(domain: Domain) -> Discrete | None:
    """The domain's action space, where that is Discrete."""
    root = domain.space.root
    if not isinstance(root, Integers) or root.shape is not None:
        return None
    return Discrete(len(root.names[0]), start=root.starts[0])


class TetheredPolicy(AgentActorCriticPolicy):
    """An agent that is held to what it knew: its entropy is minus the divergence from the checkpoint's agent.

    The algorithms reward entropy with `ent_coef`, so that this weighs KL(agent ‖ checkpoint) in their loss.
    """

    def _build(self, lr_schedule: Any) -> None:
        super()._build(lr_schedule)
        self.reference = AgentFeatures(self.observation_space, **self.features_extractor_kwargs).requires_grad_(False)

    def evaluate_actions(self, obs: Any, actions: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        """Values, log-probabilities, and how near to the checkpoint's agent (0, or less) each distribution is."""
        latent = self.extract_features(obs)
        distribution = self._get_action_dist_from_latent(latent)
        with torch.no_grad():
            known = _action_logits(self.reference.agent, self.reference(obs))
        ours = distribution.distribution
        divergence = torch.distributions.kl_divergence(ours, torch.distributions.Categorical(logits=known))
        return self.value_net(latent), distribution.log_prob(actions), -divergence


def _distinct(
    rows: UInt8[Tensor, "rows bytes"],
) -> tuple[Int[Tensor, "different"], Int[Tensor, "rows"]]:
    """Where the different ones among the rows first stand, and which of them each is."""
    places: dict[bytes, int] = {}
    which = [places.setdefault(row.tobytes(), len(places)) for row in rows.cpu().numpy()]
    first = {place: number for number, place in reversed(list(enumerate(which)))}
    chosen = torch.tensor([first[place] for place in range(len(places))], device=rows.device)
    return chosen, torch.tensor(which, device=rows.device)


def _action_logits(agent: AgentModel, hidden: Float[Tensor, "rows width"]) -> Float[Tensor, "rows actions"]:
    return agent.logits(hidden)[:, agent.config.num_text_tokens :]


def _load_or_rebuild(
    space: Dict, checkpoint: str, actions: gymnasium.Space[Any], task: str | None
) -> tuple[AgentModel, PreTrainedTokenizerFast]:
    """The agent of the folder in the domain of those actions, noted in the space.

    Without the folder, one of the noted sizes that awaits its weights.
    Raises UserError when there is neither, or no such domain.
    """
    note = getattr(space, NOTE, {})
    if Path(checkpoint).exists() or checkpoint not in note:
        folder = find_checkpoint(checkpoint)
        agent = load_agent(folder)
        domain = fitting_domain(agent, actions, checkpoint, task)
        agent, tokenizer = of_one_domain(agent, load_tokenizer(folder), domain)
        files = agent.config.to_json_string(), tokenizer.backend_tokenizer.to_str()
        setattr(space, NOTE, {checkpoint: files})
        return agent, tokenizer
    config, tokens = note[checkpoint]
    agent = AgentModel(AgentConfig.from_dict(json.loads(config))).eval()
    for parameter in agent.parameters():  # a loaded model brings all of them; nothing else may act with these
        parameter.data.fill_(torch.nan)
    return agent, wrap_tokenizer(Tokenizer.from_str(tokens))


def _scale_rates(optimizer: torch.optim.Optimizer, power: int) -> None:
    for group in optimizer.param_groups:
        group["lr"] *= group["rate"] ** power
