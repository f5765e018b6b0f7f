"""Where an agent fails: the share of levels it solved, by task, by the instruction, the level's start and the plan.

The start of a level is seen where its environment can be made and is a BabyAI one: how far the first object of the
mission is from the agent (in cells, around no wall), and whether it is in view. The plan is as long as the expert's
episode of that level, where it solved it. Of others only the instruction is known.
"""

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from agentgym import environments
from agentgym.errors import UserError
from agentgym.evaluation.score_rows import defines_success
from agentgym.evaluation.statistics import wilson_interval
from agentgym.recipes import FrameRecipe, TaskRecipe
from agentgym.report.run_results import RunFolder

COLOURS = ("red", "green", "blue", "purple", "yellow", "grey")
OBJECTS = ("ball", "box", "key", "door")
QUIET_WORDS = {"a", "an", "the", "to", "you", "and", "of", "is", "your"}
OTHER_WORDS = 12  # the most telling ones
FEWEST = 5  # episodes below which a group says nothing
KINDS = ("task", "colour", "object", "distance", "first view", "plan", "parts", "word")
JOINS = re.compile(r",? then |,? after |,? and ")  # the parts of a BabyAI instruction
PLANS = (16, 32, 64, 128)  # the most steps of a group


@dataclass(frozen=True)
class Group:
    """Some of the episodes and how many of them were solved."""

    by: str
    name: str
    episodes: int
    solved: int

    @property
    def rate(self) -> float:
        """The share solved."""
        return self.solved / self.episodes

    @property
    def interval(self) -> tuple[float, float]:
        """Wilson's 95 % interval of it."""
        return wilson_interval(self.solved, self.episodes)


def find_failures(
    episodes: Sequence[Mapping[str, Any]],
    tasks: Sequence[TaskRecipe],
    frames: Mapping[str, FrameRecipe],
    experts: Sequence[Mapping[str, Any]] = (),
) -> list[Group]:
    """The groups by which the episodes differ, each kind in its own order; a kind with one group is left out.

    `experts` are the expert's episodes of the same levels.
    """
    starts, plans = _starts(episodes, tasks, frames), _plans(episodes, experts)
    known = [
        [("task", episode["task"]), *_words(episode["instruction"]), *start, *plan]
        for episode, start, plan in zip(episodes, starts, plans, strict=True)
    ]
    return _groups(episodes, known)


def failures_of(run: RunFolder) -> list[Group]:
    """The groups of a scored run's agent, over its tasks that say what success is."""
    return find_failures(*_judged(run))


def failures_by_task(run: RunFolder) -> dict[str, list[Group]]:
    """For each such task the groups of its own episodes by the level's start and the plan."""
    episodes, tasks, frames, experts = _judged(run)
    found = {}
    for task in tasks:
        own = [episode for episode in episodes if episode["task"] == task.id]
        groups = find_failures(own, [task], frames, experts)
        found[task.id] = [group for group in groups if group.by in ("distance", "first view", "plan", "parts")]
    return found


def judged_episodes(run: RunFolder) -> list[Mapping[str, Any]]:
    """The agent's episodes of the tasks that say what success is."""
    by_return = {task["task"] for task in (run.evaluation or {"tasks": ()})["tasks"] if not defines_success(task)}
    return [episode for episode in (run.episodes or {}).get("agent", ()) if episode["task"] not in by_return]


def _judged(
    run: RunFolder,
) -> tuple[list[Mapping[str, Any]], list[TaskRecipe], Mapping[str, FrameRecipe], Sequence[Mapping[str, Any]]]:
    """These episodes, their tasks, all frames and the expert's episodes."""
    episodes = judged_episodes(run)
    present = {episode["task"] for episode in episodes}
    experts = (run.episodes or {}).get("expert", ())
    return episodes, [task for task in run.tasks if task.id in present], run.frames, experts


def _groups(episodes: Sequence[Mapping[str, Any]], known: Sequence[Sequence[tuple[str, str]]]) -> list[Group]:
    outcomes: dict[str, dict[str, list[bool]]] = defaultdict(lambda: defaultdict(list))
    for episode, kinds in zip(episodes, known, strict=True):
        for by, name in kinds:
            outcomes[by][name].append(episode["success"])
    groups: list[Group] = []
    for by in KINDS:
        found = [Group(by, name, len(solved), sum(solved)) for name, solved in outcomes[by].items()]
        found = [group for group in found if FEWEST <= group.episodes < len(episodes)]
        if by == "word":
            found = sorted(found, key=lambda group: (group.rate, group.name))[:OTHER_WORDS]
        if len(found) > 1:
            groups += sorted(found, key=lambda group: group.name)
    return groups


def _words(instruction: str) -> Iterator[tuple[str, str]]:
    for word in sorted(set(instruction.lower().replace(",", " ").split())):
        if word in COLOURS:
            yield "colour", word
        elif word in OBJECTS:
            yield "object", word
        elif word not in QUIET_WORDS:
            yield "word", word


def _plans(
    episodes: Sequence[Mapping[str, Any]], experts: Sequence[Mapping[str, Any]]
) -> Iterator[list[tuple[str, str]]]:
    """For each episode how many parts its instruction has, and how many steps the expert took where it solved it."""
    steps = {(expert["task"], expert["seed"]): expert["length"] for expert in experts if expert["success"]}
    for episode in episodes:
        parts = len(JOINS.findall(episode["instruction"])) + 1
        found = [("parts", "1 part" if parts == 1 else f"{parts} parts")]
        length = steps.get((episode["task"], episode["seed"]))
        if length is not None:
            found.append(("plan", _plan(length)))
        yield found


def _plan(length: int) -> str:
    low = 1
    for most in PLANS:
        if length <= most:
            return f"{low:3d} to {most} steps"
        low = most + 1
    return f"{low:3d} steps and more"


def _starts(
    episodes: Sequence[Mapping[str, Any]], tasks: Sequence[TaskRecipe], frames: Mapping[str, FrameRecipe]
) -> list[list[tuple[str, str]]]:
    """For each episode what is known of its start."""
    found: dict[int, list[tuple[str, str]]] = {}
    for task in tasks:
        if not task.id.startswith("BabyAI-"):
            continue
        try:
            env = environments.make(task, frame=frames[task.id])
        except UserError:  # not of this machine: the page does without
            continue
        for number, episode in enumerate(episodes):
            if episode["task"] == task.id:
                env.reset(seed=episode["seed"])
                found[number] = list(_start(env))
        env.close()
    return [found.get(number, []) for number in range(len(episodes))]


def _start(env: Any) -> Iterator[tuple[str, str]]:
    """How far and in view the nearest of the objects that the mission begins with is, in a BabyAI level just reset."""
    grid = getattr(env, "minigrid", None)
    places = _first_objects(getattr(grid, "instrs", None))
    if grid is None or not places:
        return
    x, y = grid.agent_pos
    nearest = min(abs(x - column) + abs(y - row) for column, row in places)
    low = (nearest - 1) // 2 * 2 + 1
    yield "distance", f"{low:2d} to {low + 1} cells" if low < 9 else " 9 cells and more"
    seen = any(grid.agent_sees(column, row) for column, row in places)
    yield "first view", "object in view" if seen else "object out of view"


def _first_objects(instruction: Any) -> Sequence[tuple[int, int]]:
    """Where the objects are that the first part of a BabyAI mission means; none without a mission."""
    while hasattr(instruction, "instr_a"):
        instruction = instruction.instr_b if type(instruction).__name__ == "AfterInstr" else instruction.instr_a
    described = getattr(instruction, "desc", None) or getattr(instruction, "desc_move", None)
    return described.obj_poss if described else ()
