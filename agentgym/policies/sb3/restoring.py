"""The agent of a checkpoint in the domain of an environment's actions, or of the note that is left in a saved model."""

import json
from copy import copy
from pathlib import Path
from typing import Any

import gymnasium
import torch
from gymnasium.spaces import Dict, Discrete
from tokenizers import Tokenizer
from transformers import PreTrainedTokenizerFast

from agentgym.errors import UserError
from agentgym.model.agent import AgentConfig, AgentModel
from agentgym.model.loading import load_agent
from agentgym.model.single_domain import of_one_domain
from agentgym.model.tokenizer import load_tokenizer, wrap_tokenizer
from agentgym.policies.agent_policy import find_checkpoint
from agentgym.spaces import Integers
from agentgym.spaces.domains import Domain

NOTE = "agentgym_checkpoint"  # the attribute of the space


class Note:
    """What rebuilds the agent of a checkpoint, left in the observation space, which the algorithms save.

    A note that was read back is about the weights that come with it, whatever has become of the checkpoint's folder
    since; one that was just left is about none, so that the folder is read again.
    """

    def __init__(self, checkpoint: str, config: str, tokenizer: str, recipe: str | None) -> None:
        """The configuration and the tokenizer as JSON, and the run's recipe, where there is one."""
        self.checkpoint, self.config, self.tokenizer, self.recipe = checkpoint, config, tokenizer, recipe
        self.was_saved = False

    def __setstate__(self, state: dict[str, Any]) -> None:
        """From a saved model."""
        self.__dict__.update(state, was_saved=True)

    def __deepcopy__(self, memo: dict[int, Any]) -> "Note":
        """A copy of a space is not a saved model."""
        return copy(self)

    def __copy__(self) -> "Note":
        """The same."""
        other = Note(self.checkpoint, self.config, self.tokenizer, self.recipe)
        other.was_saved = self.was_saved
        return other


def note_of(space: gymnasium.Space[Any], checkpoint: str) -> Note | None:
    """The note of that checkpoint in the space, where there is one."""
    note = getattr(space, NOTE, None)
    if isinstance(note, dict) and checkpoint in note:  # as it was saved once: {checkpoint: (configuration, tokenizer)}
        config, tokenizer = note[checkpoint]
        note = Note(checkpoint, config, tokenizer, None)
        note.was_saved = True
    return note if isinstance(note, Note) and note.checkpoint == checkpoint else None


def load_or_rebuild(
    space: Dict, checkpoint: str, actions: gymnasium.Space[Any], task: str | None
) -> tuple[AgentModel, PreTrainedTokenizerFast]:
    """The agent of the folder in the domain of those actions, noted in the space.

    Of a space that a saved model brings, one of the noted sizes that awaits its weights.
    Raises UserError when there is neither, or no such domain.
    """
    note = note_of(space, checkpoint)
    if note is None or not note.was_saved:
        folder = find_checkpoint(checkpoint)
        agent = load_agent(folder)
        domain = fitting_domain(agent, actions, checkpoint, task)
        agent, tokenizer = of_one_domain(agent, load_tokenizer(folder), domain)
        recipe = Path(checkpoint) / "recipe.json"
        files = agent.config.to_json_string(), tokenizer.backend_tokenizer.to_str()
        setattr(space, NOTE, Note(checkpoint, *files, recipe.read_text("utf-8") if recipe.is_file() else None))
        return agent, tokenizer
    agent = AgentModel(AgentConfig.from_dict(json.loads(note.config))).eval()
    for parameter in agent.parameters():  # a loaded model brings all of them; nothing else may act with these
        parameter.data.fill_(torch.nan)
    return agent, wrap_tokenizer(Tokenizer.from_str(note.tokenizer))


def fitting_domain(agent: AgentModel, space: gymnasium.Space[Any], checkpoint: str, task: str | None) -> Domain:
    """The agent's domain whose actions are the Discrete ones of that space; of several, the one that has the task.

    Raises UserError when there is none, or several and no task says which.
    """
    domains = agent.config.all_domains()
    if len(domains) == 1:
        domains[0].space.discrete_root(f"{checkpoint}: PPO and A2C start from an agent that")
    if isinstance(space, Discrete) and space.start:
        raise UserError(
            f"action space {space}: Stable-Baselines3 counts actions from 0; "
            "wrap the environment in HistoryObservation, which does so too"
        )
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
    """The domain's action space as Stable-Baselines3 counts it, where that is Discrete."""
    root = domain.space.root
    if not isinstance(root, Integers) or root.shape is not None:
        return None
    return Discrete(len(root.names[0]))
