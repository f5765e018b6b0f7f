"""A person at an environment, with or without an agent: playing, watching, taking over, keeping an episode.

A session holds one environment and the current episode; what is kept becomes an episode that says who acted. The page
(`playground`) and the window (`play`) are two faces of it.
"""

from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gymnasium
import numpy as np
from numpy.typing import NDArray

from agentgym import environments
from agentgym.data.episode import Episode
from agentgym.data.headers import columns_kept
from agentgym.data.recorder import Recorder
from agentgym.data.store import DatasetWriter, EpisodeDataset, Header
from agentgym.environments import Observation, decode_instruction, encode_instruction
from agentgym.errors import UserError, first_line
from agentgym.folders import is_vacant
from agentgym.recipes import DatasetRecipe, FrameRecipe, SuiteRecipe, TaskRecipe
from agentgym.spaces import Buttons, Integers, Reals, SpaceCodec, values

if TYPE_CHECKING:
    from agentgym.policies.agent_policy import AgentPolicy
    from agentgym.policies.inspection import Prediction

HUMAN = "human"
SEEDS = (1_000_000_000, 2_000_000_000)  # levels played by people: none of the evaluations' or recipes' own
KEYS = {"left": "ArrowLeft", "right": "ArrowRight", "forward": "ArrowUp", "pickup": "p", "drop": "d", "done": "Enter"}
KEYS |= {"toggle": " ", "up": "ArrowUp", "down": "ArrowDown", "fire": " "}  # K and N are the window's own


def keys_of(action_names: Sequence[str]) -> dict[str, str]:
    """For each action its key, as browsers name keys: by its name where that is known, else digits and letters."""
    keys: dict[str, str] = {}
    spare = iter("1234567890qwertyuiasghjlzxcvbm")
    for name in action_names:
        known = KEYS.get(name.lower())
        free = known is not None and known not in keys.values()
        keys[name] = known if known is not None and free else next(spare, "")
    return keys


def controls_of(space: SpaceCodec, task: str) -> dict[str, Any]:
    """The controls by which a person chooses an action: buttons to press or hold, lists, or sliders.

    Raises UserError for a space that has none of these.
    """
    root = space.root
    if isinstance(root, Integers) and root.shape is None:
        return {"kind": "choices", "names": list(root.names[0]), "keys": keys_of(root.names[0])}
    if isinstance(root, Integers):
        return {"kind": "lists", "slots": [list(names) for names in root.names], "starts": list(root.starts)}
    if isinstance(root, Buttons):
        return {"kind": "buttons", "names": list(root.names), "keys": keys_of(root.names)}
    if isinstance(root, Reals):
        whole = bool(np.issubdtype(np.dtype(root.dtype), np.integer))
        limits = {"lows": list(root.lows), "highs": list(root.highs), "whole": whole}
        return {"kind": "sliders", "names": list(root.names), **limits}
    raise UserError(f"{task}: people play Discrete, MultiDiscrete, MultiBinary and Box actions; these are {space}")


@dataclass(frozen=True)
class SessionView:
    """What is seen at a moment of an episode. `world` is the whole room."""

    task: str
    seed: int
    instruction: str
    mission: str
    step: int
    frame: NDArray[np.uint8]
    world: NDArray[np.uint8]
    reward: float
    total_reward: float
    over: bool
    success: bool | None  # None where the task does not say what success is
    who: str
    thought: "Prediction | None"


class Session:
    """One environment and the current episode. Raises UserError when the task is unknown or the agent unfit for it."""

    def __init__(
        self, task: str | TaskRecipe, *, frame: FrameRecipe, agent: "AgentPolicy | None" = None, name: str = ""
    ) -> None:
        env = environments.make(task, frame=frame)
        space = SpaceCodec.of(env.action_space, env.action_names)
        self.task = env.task
        self.controls = controls_of(space, env.task)
        self._space, self._read = space, values.reader(space.root)
        self.header_parts = (space, env.frame_shape, columns_kept(env))
        self._unsolved = False if environments.declares_success(env.recipe) else None
        self._agent = agent.playing(space, env.task) if agent else None
        self._agent_name = f"agent:{name}"
        self._finished: list[Episode] = []
        self._instructed = _Instructed(env)
        self._recorder = Recorder(self._instructed, self._finished, task=env.task, expert=HUMAN)
        self._draw = np.random.default_rng()
        self.view = self.begin()

    def begin(self, seed: int | None = None, instruction: str | None = None) -> SessionView:
        """A new episode, of that seed or a drawn one; with an instruction, that one instead of the environment's own.

        Raises UserError for a seed or an instruction that cannot be.
        """
        chosen = int(self._draw.integers(*SEEDS)) if seed is None else seed
        if not 0 <= chosen <= environments.MAX_SEED:
            raise UserError(f"seed {chosen}: expected 0 to {environments.MAX_SEED}")
        self._instructed.say(instruction)
        self._recorder.discard()
        self._finished.clear()
        self._actors: list[str] = []
        self._corrections: dict[int, Any] = {}
        self._total = 0.0
        self._observation, _ = self._recorder.reset(seed=chosen)
        self._seed = chosen
        return self._look(state=None, reward=0.0, over=False, success=self._unsolved)

    def act(self, action: Any = None) -> SessionView:
        """One step: that action, a person's, or without one the agent's own choice. Raises UserError.

        An action is one of the space, or its plain values; the name of a Discrete one; a flat list for any shape.
        """
        if self.view.over:
            raise UserError("the episode is over; begin another one, or keep this one")
        thought = self.view.thought
        if action is None:
            if thought is None:
                raise UserError("there is no agent to act; choose an action, or start with a run: playground runs/NAME")
            chosen, who = thought.choice, self._agent_name
        else:
            chosen, who = self._checked(action), HUMAN
        state = self._agent.executed(thought.state, [chosen]) if self._agent and thought else None
        self._observation, reward, terminated, truncated, info = self._recorder.step(chosen)
        self._actors.append(who)
        self._total += float(reward)
        over = terminated or truncated
        success = bool(info.get("is_success", False)) or self._unsolved
        return self._look(state=state, reward=float(reward), over=over, success=success)

    def correct(self, action: Any) -> None:
        """Says what the last step should have been: its label, which training predicts there. What was done stays.

        Raises UserError where there is no step, or the action is none.
        """
        if not self._actors:
            raise UserError("there is no step to correct yet; let the agent act first")
        self._corrections[len(self._actors) - 1] = self._checked(action)

    @property
    def corrected(self) -> int:
        """How many steps of the episode have a label of a person's."""
        return len(self._corrections)

    def keep(self, success: bool | None = None) -> Episode:
        """The current episode, which ends with this; `success` is a person's word, else the environment's.

        Where a step was corrected all steps have labels: the person's, and of the others what was done there, which a
        person saw and let pass. Raises UserError when there is nothing to keep.
        """
        if not self.view.over and self._actors:
            self._recorder.reset(seed=self._seed)  # what is unfinished is recorded as it is
            self._recorder.discard()
        if not self._finished:
            raise UserError("there is no step to keep, or the episode is kept already; act first")
        episode = self._finished.pop()
        self._finished.clear()
        self.view = replace(self.view, over=True)
        solved = episode.success if success is None else success
        who = {*self._actors, *([HUMAN] if self._corrections else ())}
        return replace(episode, expert="+".join(sorted(who)), success=solved, labels=self._labels(episode))

    def close(self) -> None:
        """Closes the environment; what was not kept is gone."""
        self._recorder.discard()
        self._recorder.close()

    def _labels(self, episode: Episode) -> values.Actions | None:
        if not self._corrections:
            return None
        return values.stack(
            self._space.root, [self._corrections.get(step, done) for step, done in enumerate(episode.actions)]
        )

    def _checked(self, action: Any) -> Any:
        """The action as the space has it. Raises UserError when it is none."""
        root = self._space.root
        if isinstance(root, Integers) and root.shape is None:
            names, first = root.names[0], root.starts[0]
            if isinstance(action, str):
                if action not in names:
                    raise UserError(f"action '{action}': expected one of {', '.join(names)}")
                return first + names.index(action)
            if not isinstance(action, int | np.integer) or not first <= action < first + len(names):
                raise UserError(f"action {action}: expected {first} to {first + len(names) - 1}")
            return int(action)
        try:
            found = values.array_type(root)
            assert found is not None  # of what `controls_of` takes
            flat = np.array(action, np.float64).reshape(found[1])
            return self._read(flat.astype(found[0]) if np.array_equal(flat.astype(found[0]), flat) else flat)
        except (ValueError, TypeError) as error:
            raise UserError(f"action {action}: {first_line(error)}") from None

    def _look(self, *, state: Any, reward: float, over: bool, success: bool | None) -> SessionView:
        """The view after a step, with the agent's prediction for the next step."""
        thought = _think(self._agent, self._observation, state) if self._agent and not over else None
        self.view = SessionView(
            task=self.task,
            seed=self._seed,
            instruction=decode_instruction(self._observation["instruction"]),
            mission=self._instructed.mission,
            step=len(self._actors),
            frame=self._observation["frame"],
            world=self._instructed.render(),  # type: ignore[arg-type]  # Gymnasium types every way of rendering
            reward=reward,
            total_reward=self._total,
            over=over,
            success=success,
            who=self._actors[-1] if self._actors else "",
            thought=thought,
        )
        return self.view


def open_dataset(path: Path, tasks: Sequence[TaskRecipe], frame: FrameRecipe) -> DatasetWriter:
    """The writer of what people keep: a new dataset of those tasks, or one with the same frames and actions.

    Raises UserError when the folder holds something else.
    """
    session = Session(tasks[0], frame=frame)
    space, shape, extras = session.header_parts
    session.close()
    if any(path.glob("shard-*.arrow")):
        header = EpisodeDataset(path).header
        if (header.space, tuple(header.frame_shape), header.extras) != (space, tuple(shape), extras):
            raise UserError(
                f"{path}: holds frames {list(header.frame_shape)}, actions or columns of another kind; choose another "
                "folder"
            )
        return DatasetWriter(path, header)
    if path.exists() and not (path.is_dir() and is_vacant(path)):
        raise UserError(f"{path}: exists and is not a dataset; choose another folder")
    played = SuiteRecipe(name=path.resolve().name, description="Played by people", frame=frame, tasks=list(tasks))
    recipe = DatasetRecipe(
        name=played.name, description="Episodes that people kept", suite=played, expert=HUMAN, episodes=1, keep="all"
    )
    return DatasetWriter(path, Header(space, shape, recipe.model_dump(mode="json"), extras))


def _think(agent: "AgentPolicy", observation: Observation, state: Any) -> "Prediction":
    from agentgym.policies.inspection import look  # torch, which a person without an agent does not need

    return look(agent, observation, state)


class _Instructed(gymnasium.Wrapper[Observation, Any, Observation, Any]):
    """Shows a person's instruction in place of the environment's."""

    def __init__(self, env: gymnasium.Env[Observation, Any]) -> None:
        super().__init__(env)
        self._said: NDArray[np.uint8] | None = None
        self.mission = ""

    def say(self, text: str | None) -> None:
        """From the next reset on; None is the environment's own."""
        if text is not None and not text.strip():
            raise UserError("the instruction is empty; type one, or leave it to the environment")
        try:
            self._said = None if text is None else encode_instruction(text)
        except ValueError as error:
            raise UserError(str(error)) from None

    def reset(
        self, *, seed: int | None = None, options: dict[str, Any] | None = None
    ) -> tuple[Observation, dict[str, Any]]:
        """As the environment's, with the person's instruction."""
        observation, info = self.env.reset(seed=seed, options=options)
        self.mission = decode_instruction(observation["instruction"])
        return self._show(observation), info

    def step(self, action: Any) -> tuple[Observation, Any, bool, bool, dict[str, Any]]:
        """As the environment's, with the person's instruction."""
        observation, reward, terminated, truncated, info = self.env.step(action)
        return self._show(observation), reward, terminated, truncated, info

    def _show(self, observation: Observation) -> Observation:
        return observation if self._said is None else {**observation, "instruction": self._said.copy()}
