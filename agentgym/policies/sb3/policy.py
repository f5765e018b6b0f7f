"""The policies: an agent as actor with a value head, with or without a penalty for leaving the checkpoint's agent."""

from pathlib import Path
from typing import Any

import gymnasium
import torch
from jaxtyping import Float
from stable_baselines3.common.distributions import Distribution
from stable_baselines3.common.policies import ActorCriticPolicy
from torch import Tensor, nn

from agentgym.errors import UserError
from agentgym.files import replace_file
from agentgym.folders import new_folder
from agentgym.model.agent import AgentModel
from agentgym.policies.sb3.features import AgentFeatures
from agentgym.policies.sb3.restoring import note_of


class AgentActorCriticPolicy(ActorCriticPolicy):
    """A checkpoint's agent as actor, and a value head on the same features.

    An agent of several domains acts in the one of the environment's action space, and is saved with only that one;
    where several have that space, `task` says which, by a task that it was trained on.

    `value_rate` is the value head's learning rate as a multiple of the algorithm's, which is the agent's own: the agent
    knows something already, the value head nothing.

    Observations are those of `HistoryObservation`. Raises UserError when they are others, when `checkpoint` cannot be
    read or has no domain of this action space, and for `use_sde`.
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

        The folder is there whole or not at all. Raises UserError when something is in it, and for a full disk.
        """
        note = note_of(self.observation_space, self.checkpoint)
        now = Path(self.checkpoint) / "recipe.json"
        recipe = note.recipe if note else None  # of when the agent was read: the run may have been trained again since
        if recipe is None and now.is_file():
            recipe = now.read_text("utf-8")
        with new_folder(Path(path)) as folder:
            if recipe is not None:
                replace_file(folder / "recipe.json", recipe)
            checkpoint = folder if recipe is None else folder / "model"
            self.features_extractor.agent.save_pretrained(checkpoint)
            self.features_extractor.tokenizer.save_pretrained(checkpoint)

    # Stable-Baselines3 has no public way to replace a policy's networks, its distribution or what a saved policy is
    # made of: its own policies override these four methods, and tests/policies/test_sb3.py would notice if they went.

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
        self._rate_groups()

    def _rate_groups(self) -> None:
        """The algorithms set one learning rate for all groups before they train: the groups' rates act on each step."""
        if not hasattr(self.optimizer, "has_rates"):
            self.optimizer.register_step_pre_hook(_raise_rates)
            self.optimizer.register_step_post_hook(_lower_rates)
            self.optimizer.has_rates = True

    def __setstate__(self, state: dict[str, Any]) -> None:
        """A copy, also in another process; without the hooks that PyTorch's optimisers add."""
        super().__setstate__(state)
        self._rate_groups()

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


class TetheredPolicy(AgentActorCriticPolicy):
    """An agent that is kept close to its checkpoint: its entropy is minus the divergence from the checkpoint's agent.

    The algorithms reward entropy with `ent_coef`, so that this weighs KL(agent ‖ checkpoint) in their loss.
    """

    def _build(self, lr_schedule: Any) -> None:
        super()._build(lr_schedule)
        self.reference = AgentFeatures(self.observation_space, **self.features_extractor_kwargs).requires_grad_(False)

    def evaluate_actions(self, obs: Any, actions: Tensor) -> tuple[Tensor, Tensor, Tensor | None]:
        """Values [rows, 1], log-probabilities [rows] and minus the divergence from the checkpoint's agent [rows]."""
        latent = self.extract_features(obs)
        distribution = self._get_action_dist_from_latent(latent)
        with torch.no_grad():
            known = _action_logits(self.reference.agent, self.reference(obs))
        ours = distribution.distribution
        divergence = torch.distributions.kl_divergence(ours, torch.distributions.Categorical(logits=known))
        return self.value_net(latent), distribution.log_prob(actions), -divergence


def _action_logits(agent: AgentModel, hidden: Float[Tensor, "rows width"]) -> Float[Tensor, "rows actions"]:
    return agent.action_logits(hidden)


def _raise_rates(optimizer: torch.optim.Optimizer, *_: Any) -> None:
    for group in optimizer.param_groups:
        group["lr"] *= group["rate"]


def _lower_rates(optimizer: torch.optim.Optimizer, *_: Any) -> None:
    for group in optimizer.param_groups:
        group["lr"] /= group["rate"]
