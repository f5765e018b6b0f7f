"""make(task) -> a Gymnasium environment that shows {"frame", "instruction"} and sets info["is_success"].

One file for each family of environments, with one base class, `Task`; the family is known by the id. This package knows
no model, no policy and no file.
"""

from collections.abc import Callable
from contextlib import nullcontext
from dataclasses import dataclass
from functools import cache
from importlib import import_module

import gymnasium

from agentgym import trust
from agentgym.environments.generic import GenericTask
from agentgym.environments.minigrid import MiniGridTask
from agentgym.environments.task import (
    INSTRUCTION_BYTES,
    MAX_SEED,
    Observation,
    Task,
    decode_instruction,
    encode_instruction,
)
from agentgym.environments.wrapped import WrappedTask, wrap
from agentgym.errors import Foreign, UserError, described, did_you_mean
from agentgym.extras import needs
from agentgym.recipes import FrameRecipe, SuiteRecipe, TaskRecipe

__all__ = [
    "INSTRUCTION_BYTES",
    "MAX_SEED",
    "MiniGridTask",
    "Observation",
    "Task",
    "WrappedTask",
    "check_seeding",
    "check_suite",
    "declares_success",
    "decode_instruction",
    "defines_success",
    "encode_instruction",
    "is_minigrid",
    "make",
    "packages_of",
    "task_ids",
    "wrap",
]


WITHOUT_FILES = "-WFC-"  # in the ids of MiniGrid's environments whose patterns its wheel lacks


@dataclass(frozen=True)
class Family:
    """Environments of one kind: how their ids begin, their class, the keys of `frame` that they take, their extra."""

    prefixes: tuple[str, ...]
    load: Callable[[], type[Task]]
    frame_keys: tuple[str, ...]
    extra: str | None = None
    register: Callable[[], object] = lambda: None  # makes Gymnasium know the ids; ImportError without the package
    names_actions: bool = True

    def check_installed(self) -> None:
        """Raises UserError naming the extra when the family's package is missing."""
        with needs(self.extra or "all", what=f"making {self.prefixes[0]}* environments"):
            self.register()


def _load_minatar() -> type[Task]:
    return import_module("agentgym.environments.minatar").MinAtarTask


def _load_atari() -> type[Task]:
    return import_module("agentgym.environments.atari").AtariTask


def _register_minatar() -> None:
    if "MinAtar/Breakout-v1" not in gymnasium.registry:
        import_module("minatar.gym").register_envs()


def _register_atari() -> None:
    import_module("ale_py")


FAMILIES = (
    Family(("BabyAI-", "MiniGrid-"), lambda: MiniGridTask, ("view", "tile_size")),
    Family(("MinAtar/",), _load_minatar, ("size",), "minatar", _register_minatar),
    Family(("ALE/",), _load_atari, ("size", "motion"), "atari", _register_atari),
    Family(("",), lambda: GenericTask, ("size", "camera"), names_actions=False),
)


def make(task: str | TaskRecipe, *, frame: FrameRecipe | None = None) -> Task:
    """The environment of a task, given by its id (such as `BabyAI-GoToRedBall-v0`) or by its recipe.

    It shows {"frame": uint8[H, W, 3], "instruction": uint8[L]}, the instruction as UTF-8 bytes padded with 0; the info
    of `reset` has the episode's `seed`, that of `step` `is_success`. The limit of an episode is in steps.

    Raises UserError for an unknown id, a package that is missing, or a setting that does not fit the environment.
    """
    if isinstance(task, str):  # an id in a program is the program's own; recipes come from files too
        trust.answer_for([task])
    recipe = TaskRecipe(id=task) if isinstance(task, str) else task
    frame = frame or FrameRecipe()
    problem = find_problem(recipe, frame)
    if problem:
        raise UserError(problem[1])
    try:
        allowed = trust.nothing_more() if recipe.arguments else nullcontext()  # one of them may name an environment
        with Foreign(recipe.id, "making"), allowed:
            return family_of(recipe.id).load()(recipe, frame)  # type: ignore[call-arg]  # each family takes these two
    except UserError:
        raise
    except gymnasium.error.Error as error:  # a package of its own that is missing, an id that is no more, ...
        raise UserError(f"{recipe.id}: cannot be made: {_first_line(error)}") from None
    except Exception as error:  # an environment is foreign code and may do anything
        if isinstance(error, TypeError) and recipe.arguments:
            given = ", ".join(recipe.arguments)
            raise UserError(f"{recipe.id}: it does not take its `arguments` ({given}): {_first_line(error)}") from error
        raise UserError(f"{recipe.id}: cannot be made: {_told(error)}") from error


def _first_line(error: Exception) -> str:
    return str(error).partition(" was raised from the environment creator")[0].partition("\n")[0]


def _told(error: Exception) -> str:
    """What foreign code raised, in one line."""
    return described(error).partition(" was raised from the environment creator")[0]


def remake(task: str | TaskRecipe, frame: FrameRecipe | None = None, render_mode: str = "rgb_array") -> Task:
    """What `gymnasium.make("agentgym/ID")` and an environment's `spec` call; there is one render mode."""
    return make(task, frame=frame)


def check_suite(suite: SuiteRecipe) -> None:
    """Raises UserError naming the suite, the key and the value of the first task that cannot be made."""
    for index, task in enumerate(suite.tasks):
        problem = find_problem(task, suite.frame)
        if problem:
            key = problem[0] if problem[0].startswith("frame") else f"tasks.{index}.{problem[0]}"
            raise UserError(f"suite {suite.name}: key '{key}': {problem[1]}")


def find_problem(task: TaskRecipe, frame: FrameRecipe) -> tuple[str, str] | None:
    """What is wrong with a task before it is made: the key, and a line that says it."""
    family = family_of(task.id)
    try:
        family.check_installed()
    except UserError as error:
        return "id", str(error)
    if WITHOUT_FILES in task.id:
        return "id", f"{task.id}: minigrid's package lacks the pattern files that it needs; choose another environment"
    module, name = trust.module_of(task.id), task.id.rpartition(":")[2]
    if module:
        problem = _import_problem(task.id, module)
        if problem:
            return "id", problem
    for text in trust.ids_in(task.arguments):
        try:
            trust.check_module(trust.module_of(text), f"{task.id}: its argument '{text}'")
        except UserError as error:
            return "arguments", str(error)
    if name not in gymnasium.registry:
        ours = task_ids()  # which registers more, so that the registry is read after it
        others = [name for name in gymnasium.registry if family_of(name).prefixes == ("",)]
        known = (*ours, *(name for name in others if not name.startswith("agentgym/")))
        hint = did_you_mean(name, known) or "; any id of Gymnasium's registry is known, and MODULE:ID of your own"
        return "id", f"unknown environment id '{task.id}'{hint}"
    for key in type(frame).model_fields:
        if getattr(frame, key) is not None and key not in family.frame_keys:
            fitting = " and ".join(f"'{name}'" for name in family.frame_keys)
            return f"frame.{key}", f"frames of {task.id} have no '{key}'; theirs are set by {fitting}"
    if task.action_names and family.names_actions:
        return "action_names", f"{task.id} names its actions itself; remove the key"
    return None


def packages_of(task: TaskRecipe) -> tuple[str, ...]:
    """The packages that decide what a task's episodes look like. Raises UserError when it cannot be made."""
    env = make(task)
    env.close()
    return tuple(env.packages)


def defines_success(task: TaskRecipe) -> bool:
    """Whether an episode of a task can succeed, as far as that is known before it is played.

    Raises UserError when its package is missing.
    """
    family = family_of(task.id)
    family.check_installed()
    return family.load().knows_success or task.success_return is not None


def declares_success(task: TaskRecipe) -> bool:
    """Whether that is certain: a family of its own says so, or the recipe's `success_return`.

    Any other environment may set `info["is_success"]` at the end of an episode, or never.
    """
    own = bool(family_of(task.id).prefixes[0])
    return defines_success(task) and (own or task.success_return is not None)


def _import_problem(task: str, module: str) -> str | None:
    """What is wrong with a task's module once it is imported, which registers its environments with Gymnasium."""
    if not all(part.isidentifier() for part in module.split(".")):
        return f"{task}: '{module}' is not the name of a module; write MODULE:ID, as in my_package.envs:Room-v0"
    try:
        trust.check_module(module, task)
        with Foreign(task, "import"):
            import_module(module)
    except UserError as error:
        return str(error)
    except ImportError as error:
        return f"{task}: {error}; install it, or put the folder of '{module}' on PYTHONPATH"
    except Exception as error:  # foreign code, and may do anything
        return f"{task}: importing '{module}' fails: {_told(error)}"
    return None


def family_of(task: str) -> Family:
    """The family that an id belongs to, whichever module registers it (`MODULE:ID`)."""
    name = task.rpartition(":")[2]
    return next(family for family in FAMILIES if name.startswith(family.prefixes))


def is_minigrid(task: str) -> bool:
    """Whether an id is MiniGrid's or BabyAI's, whichever module registers it."""
    return family_of(task).prefixes == FAMILIES[0].prefixes


def check_seeding(env: Task, steps: int = 16) -> None:
    """Raises UserError unless two episodes of one seed, with the same actions, can be played and are the same.

    Compared are the first steps: frames, rewards and ends.
    """

    def look() -> list[tuple[bytes, str]]:
        env.action_space.seed(0)
        seen = [(env.reset(seed=1)[0]["frame"].tobytes(), "")]
        for _ in range(steps):
            observation, reward, terminated, truncated, _ = env.step(env.action_space.sample())
            seen.append((observation["frame"].tobytes(), f"{reward!r} {bool(terminated)} {bool(truncated)}"))
            if terminated or truncated:
                break
        return seen

    try:
        same = look() == look()
    except UserError:
        raise
    except Exception as error:  # an environment is foreign code and may raise anything
        raise UserError(f"{env.task}: cannot be played: {_told(error)}; fix the environment") from None
    if not same:
        raise UserError(
            f"{env.task}: two episodes of one seed differ: its reset ignores the seed, so that no recording could be "
            "replayed; make the environment draw only from `self.np_random`"
        )


def task_ids() -> tuple[str, ...]:
    """The ids of the families that have a name, as far as their packages are installed, sorted."""
    return _task_ids(len(gymnasium.registry))


@cache
def _task_ids(registered: int) -> tuple[str, ...]:
    for family in FAMILIES:
        try:
            family.check_installed()
        except UserError:
            continue
    named = tuple(prefix for family in FAMILIES for prefix in family.prefixes if prefix)
    return tuple(sorted(name for name in gymnasium.registry if name.startswith(named) and WITHOUT_FILES not in name))
