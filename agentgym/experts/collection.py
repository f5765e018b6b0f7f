"""collect(recipe, path): an expert's episodes, each from its own seed, recorded by all workers into one dataset.

Seeds are cut into fixed chunks; a chunk is recorded by one worker and committed as one shard, in order. So the dataset
is the same for any number of workers, and an interrupted recording goes on with the first chunk that is missing.
"""

import signal
from collections.abc import Callable, Iterator, Sequence, Set
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from types import FrameType

import numpy as np

from agentgym import environments, executors, experts
from agentgym.data.episode import Episode
from agentgym.data.recorder import Recorder
from agentgym.data.store import (
    Attempt,
    DatasetWriter,
    EpisodeDataset,
    FrameEncoder,
    Header,
    Row,
    count_outcomes,
    encode_row,
)
from agentgym.errors import UserError
from agentgym.experts import outcomes
from agentgym.experts.action_noise import ActionNoise, RandomActor, SubstituteActor
from agentgym.recipes import BudgetRecipe, DatasetRecipe, differences
from agentgym.spaces import SpaceCodec
from agentgym.versions import installed_versions

CHUNK = 100  # seeds a shard: about a second of work, the most that a crash can cost each worker

OnProgress = Callable[[int], None]
MakeAgent = Callable[[], SubstituteActor]


@dataclass(frozen=True)
class Chunk:
    """Consecutive seeds of one task."""

    task: str
    seeds: Sequence[int]


def collect(
    recipe: DatasetRecipe,
    path: str | Path,
    *,
    workers: int | None = None,
    engine: str = executors.ExecutorName.PROCESSES,
    trust: bool = False,
    on_progress: OnProgress = lambda count: None,
    header: Header | None = None,
    make_agent: MakeAgent | None = None,
) -> dict[str, int]:
    """Records what of the recipe is not yet in `path`; returns the count of each outcome over the whole dataset.

    `on_progress(n)` is called as episodes are done; `header` is what `make_header` made of the recipe, where it was
    called before; `make_agent` makes the agent of the recipe's `dagger` in each worker.
    Raises UserError for an unknown task or expert, an expert that does not fit the environment or is not trusted
    (`trust`, for a zip), or a folder that holds something else.
    """
    experts.check_trust(recipe.expert, trust=trust)
    header = header or make_header(recipe)
    check_same_recipe(path, recipe)
    with executors.start(engine, workers=workers) as executor, DatasetWriter(path, header) as writer:
        done = {(attempt.task, attempt.seed) for attempt in writer.attempts()}
        chunks = [rest for chunk in make_chunks(recipe) if (rest := without(chunk, done)).seeds]
        on_progress(len(done))
        for rows, attempts in executor.map(record_chunk, [(recipe, chunk, make_agent) for chunk in chunks]):
            writer.append_encoded(rows, attempts)
            writer.commit()
            on_progress(len(attempts))
        return count_outcomes(writer.attempts())


def is_complete(recipe: DatasetRecipe, path: str | Path) -> bool:
    """Whether every episode of the recipe is in the dataset."""
    if not any(Path(path).glob("shard-*.arrow")):
        return False
    dataset = EpisodeDataset(path)
    return all(set(chunk.seeds) <= dataset.seeds(chunk.task) for chunk in make_chunks(recipe))


def check_same_recipe(path: str | Path, recipe: DatasetRecipe) -> None:
    """Raises UserError, naming the first difference, when the folder holds another recipe's dataset or other files."""
    path = Path(path)
    if any(path.glob("shard-*.arrow")):
        changed = differences(dict(EpisodeDataset(path).header.recipe), recipe.model_dump(mode="json"))
        if changed:
            raise UserError(
                f"{path}: holds a dataset of another recipe ({changed[0]}); choose another folder or --overwrite"
            )
    elif path.exists() and (not path.is_dir() or any(map(_is_foreign, path.iterdir()))):
        raise UserError(f"{path}: exists and is no dataset; choose another folder or --overwrite")


def _is_foreign(file: Path) -> bool:
    """Whether a file is none of those that stay when a dataset has lost every episode."""
    return file.name != ".lock" and file.suffix not in (".tmp", ".lost")


def make_header(recipe: DatasetRecipe) -> Header:
    """The header of the recipe's dataset; all tasks of its suite share frames and actions, or UserError."""
    environments.check_suite(recipe.suite)
    found = []
    for task in recipe.suite.tasks:
        env = environments.make(task, frame=recipe.suite.frame)
        environments.check_seeding(env)
        experts.make(recipe.expert).check(env)
        outcomes.check_survey(recipe.expert, task.id)
        if recipe.keep == "solved" and not env.defines_success:
            raise UserError(
                f"suite {recipe.suite.name}: {task.id} does not say what success is; set its `success_return`, "
                'or keep = "all" in the dataset\'s recipe'
            )
        space = SpaceCodec.of(env.action_space, env.action_names)
        found.append(Header(space, env.frame_shape, recipe.model_dump(mode="json")))
        env.close()
        if found[-1] != found[0]:
            first = recipe.suite.tasks[0].id
            raise UserError(
                f"suite {recipe.suite.name}: {task.id} and {first} differ in frame size or actions; use two suites"
            )
    return found[0]


def warnings_about(recipe: DatasetRecipe) -> list[str]:
    """A line for each task of which the expert is known to solve less than half."""
    found = (outcomes.low_success_warning(recipe.expert, task.id) for task in recipe.suite.tasks)
    return [line for line in found if line]


def make_chunks(recipe: DatasetRecipe) -> list[Chunk]:
    """All seeds of the recipe in chunks, task by task."""
    last = recipe.first_seed + recipe.episodes
    return [
        Chunk(task.id, range(first, min(first + CHUNK, last)))
        for task in recipe.suite.tasks
        for first in range(recipe.first_seed, last, CHUNK)
    ]


def without(chunk: Chunk, done: Set[tuple[str, int]]) -> Chunk:
    """What is still to be recorded of a chunk; a repair may have kept its beginning."""
    return Chunk(chunk.task, [seed for seed in chunk.seeds if (chunk.task, seed) not in done])


def record_chunk(
    recipe: DatasetRecipe, chunk: Chunk, make_agent: MakeAgent | None = None
) -> tuple[list[Row], list[Attempt]]:
    """Records a chunk: the encoded episodes that the recipe keeps, and what became of every seed."""
    kept = KeptEpisodes(recipe)
    env = environments.make(recipe.suite.task(chunk.task), frame=recipe.suite.frame)
    recorder = Recorder(env, kept, task=chunk.task, expert=recipe.expert)
    player = Demonstrator(experts.make(recipe.expert), make_deviations(recipe, make_agent))
    attempts = [Attempt(chunk.task, seed, _attempt(recorder, env, player, seed, recipe.budget)) for seed in chunk.seeds]
    recorder.close()
    return kept.rows, attempts


class KeptEpisodes:
    """The episodes that a recipe keeps, encoded."""

    def __init__(self, recipe: DatasetRecipe) -> None:
        self.rows: list[Row] = []
        self._all = recipe.keep == "all"

    def frame_buffer(self) -> FrameEncoder:
        """Frames of an episode in the making, encoded on the way."""
        return FrameEncoder()

    def append(self, sample: Episode) -> None:
        """Keeps an episode, or does not."""
        if sample.success or self._all:
            self.rows.append(encode_row(sample))


def make_deviations(recipe: DatasetRecipe, make_agent: MakeAgent | None) -> ActionNoise:
    """Who acts in the expert's place, and how often."""
    turns: list[tuple[float, SubstituteActor]] = []
    if recipe.dagger is not None:
        if make_agent is None:
            raise ValueError("a recipe with 'dagger' needs make_agent")
        turns.append((recipe.dagger.probability, make_agent()))
    if recipe.noise:
        turns.append((recipe.noise, RandomActor()))
    return ActionNoise(turns)


@dataclass(frozen=True)
class Demonstrator:
    """The expert, and those who act in its place."""

    expert: experts.Expert
    deviations: ActionNoise

    def play(self, recorder: Recorder, env: environments.Task, seed: int, *, limit: int | None = None) -> bool:
        """Records the episode of that seed; whether it was a success. Raises OutOfTime after `limit` steps."""
        observation, info = recorder.reset(seed=seed)
        self.expert.start(env, seed)
        self.deviations.start(env, seed)
        following = self.expert if isinstance(self.expert, experts.ObservesExecution) else None
        done, steps = False, 0
        while not done:
            if steps == limit:
                raise OutOfTime
            label = self.expert.act(observation)
            action = self.deviations.choose(observation, label)
            if self.deviations:
                recorder.label(label)
            observation, _, terminated, truncated, info = recorder.step(action)
            done, steps = terminated or truncated, steps + 1
            self.deviations.executed(action)
            if following:
                following.executed(action)
        return bool(info["is_success"])


def _attempt(recorder: Recorder, env: environments.Task, player: Demonstrator, seed: int, budget: BudgetRecipe) -> str:
    """The outcome of one episode. Whatever the expert does costs this episode only."""
    try:
        with time_limit(budget.seconds):
            success = player.play(recorder, env, seed, limit=budget.steps)
    except OutOfTime:
        recorder.discard()
        return "timeout"
    except UserError:
        raise
    except Exception:  # an expert is foreign code and may raise anything; the outcome table counts it
        recorder.discard()
        return "error"
    return "solved" if success else "failed"


class OutOfTime(BaseException):
    """Not an Exception, so that an expert's own `except Exception` cannot swallow it."""


@contextmanager
def time_limit(seconds: float) -> Iterator[None]:
    """Raises OutOfTime inside the block after that many seconds of a core, even from an endless loop. Main thread only.

    The processor's time and not the clock's, so that what becomes of an episode does not depend on what else runs.
    """

    def stop(signal_number: int, frame: FrameType | None) -> None:
        raise OutOfTime

    before = signal.signal(signal.SIGPROF, stop)
    signal.setitimer(signal.ITIMER_PROF, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0)
        signal.signal(signal.SIGPROF, before)


@dataclass(frozen=True)
class Replay:
    """One stored episode, played again in the installed packages."""

    task: str
    seed: int
    frames: int
    problem: str  # what differs; empty when every frame is the recorded one
    version_changes: tuple[str, ...]

    def __str__(self) -> str:
        """One line for people."""
        return f"{self.task}, seed {self.seed}: {self.problem or f'{self.frames} frames are the recorded ones'}"


def replay_episodes(dataset: EpisodeDataset, count: int, *, seed: int = 0) -> Iterator[Replay]:
    """Plays `count` episodes again, chosen by `seed`. Raises UserError for a dataset whose recipe cannot be played."""
    recipe = DatasetRecipe.model_validate(dataset.header.recipe)
    chosen = np.random.default_rng(seed).permutation(len(dataset))[:count]
    for episode in sorted(chosen.tolist()):
        sample = dataset[episode]
        wrong = np.flatnonzero(~np.array(replay(sample, recipe)))
        problem = f"{len(wrong)} of {len(sample) + 1} frames differ, the first is {wrong[0]}" if len(wrong) else ""
        installed = installed_versions(sample.versions)
        changes = tuple(
            f"{name}: recorded with {was}, installed is {installed[name]}"
            for name, was in sample.versions.items()
            if installed[name] != was
        )
        yield Replay(sample.task, sample.seed, len(sample) + 1, problem, changes)


def replay(sample: Episode, recipe: DatasetRecipe) -> Sequence[bool]:
    """For each frame of a sample, whether the installed environment draws the same one again."""
    env = environments.make(recipe.suite.task(sample.task), frame=recipe.suite.frame)
    observation, _ = env.reset(seed=sample.seed)
    same = [bool((observation["frame"] == sample.frames[0]).all())]
    for action, frame in zip(sample.actions, sample.frames[1:], strict=True):
        observation = env.step(action)[0]
        same.append(bool((observation["frame"] == frame).all()))
    env.close()
    return same
