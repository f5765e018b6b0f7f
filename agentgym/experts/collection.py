"""collect(recipe, path): an expert's episodes, each from its own seed, recorded by all workers into one dataset.

Seeds are cut into chunks, each recorded by one worker. Their episodes are put in order and committed as a shard each
time there are enough of them, so the dataset is the same for any number of workers, and an interrupted recording
resumes with the first episode that is missing.
"""

from collections import Counter
from collections.abc import Callable, Sequence, Set
from pathlib import Path

from agentgym import environments, executors, experts
from agentgym.data.store import (
    LOST,
    Attempt,
    DatasetWriter,
    EpisodeDataset,
    Extra,
    Header,
    Row,
    clear_dataset,
    count_outcomes,
    dataset_folders,
)
from agentgym.errors import UserError
from agentgym.experts import outcomes
from agentgym.experts.budget import share_of
from agentgym.experts.demonstrations import Chunk, MakeAgent, columns_of, record_chunk
from agentgym.folders import is_vacant
from agentgym.recipes import DatasetRecipe, check_resolved, load_dataset
from agentgym.spaces import SpaceCodec
from agentgym.trust import trusting

CHUNK, CHUNK_STEPS = 100, 10_000  # seeds, or recorded steps, of a shard: what a crash can cost

OnProgress = Callable[[int], None]
OnProblem = Callable[[str], None]


def collect(
    recipe: DatasetRecipe | str,
    path: str | Path | None = None,
    *,
    overrides: Sequence[str] = (),
    workers: int | None = None,
    engine: str = executors.ExecutorName.PROCESSES,
    trust: bool = False,
    on_progress: OnProgress = lambda count: None,
    on_problem: OnProblem = lambda line: None,
    headers: Sequence[Header] | None = None,
    make_agent: MakeAgent | None = None,
    overwrite: bool = False,
) -> dict[str, int]:
    """Records what of the recipe is not yet in `path`; returns the count of each outcome over the whole dataset.

    `recipe` is a recipe, the name of one that ships, or a TOML file, to which `overrides` ("episodes=100") apply;
    `path` is data/NAME when not given. `on_progress(n)` is called as episodes are done, `on_problem` at the end with a
    line on the errors, if there were any. `headers` are what `make_headers` made of the recipe, and `make_agent` makes
    the agent of its `dagger` in each worker, where a caller has them. With `overwrite` the dataset in `path` goes
    first. Raises UserError for an unknown task or expert, an expert that does not fit the environment or is not trusted
    (`trust`, for code that the recipe names), or a folder that holds something else.
    """
    with trusting(trust):
        if isinstance(recipe, str):
            recipe = load_dataset(recipe, overrides)
        path = Path(path or Path("data") / recipe.name)
        headers = headers or make_headers(recipe)
        make_agent = make_agent or agent_maker_of(recipe)
        if overwrite:
            check_made_by_collecting(path)
            clear_dataset(path)
        else:
            check_same_recipe(path, recipe)
        counts: Counter[str] = Counter()
        with executors.start(engine, workers=workers) as executor:
            for folder, header in folders_of(path, headers).items():
                counts.update(_collect_kind(recipe, folder, header, executor, make_agent, on_progress, on_problem))
        return dict(counts)


def _collect_kind(
    recipe: DatasetRecipe,
    folder: Path,
    header: Header,
    executor: executors.Executor,
    make_agent: MakeAgent | None,
    on_progress: OnProgress,
    on_problem: OnProblem,
) -> dict[str, int]:
    """Records what is missing of the tasks of one header; the count of each outcome."""
    part = recipe.of_tasks(tasks_of(header))
    if dataset_folders(folder) == [folder]:  # the rest is recorded as it was begun, budget and all
        header = EpisodeDataset(folder).header
        part = check_resolved(DatasetRecipe, header.recipe, folder / "manifest.json")
    with DatasetWriter(folder, header) as writer:
        done = {(attempt.task, attempt.seed) for attempt in writer.attempts()}
        chunks = [rest for chunk in make_chunks(part, workers=executor.workers) if (rest := without(chunk, done)).seeds]
        on_progress(len(done))
        shards, errors = _Shards(writer), Counter[str]()
        for played in executor.map(record_chunk, [(part, chunk, make_agent) for chunk in chunks]):
            for attempt, row, reason in played:
                shards.add(attempt, row)
                errors.update([reason] if reason else [])
            on_progress(len(played))
        shards.commit()
        if errors:
            (commonest, times), total = errors.most_common(1)[0], errors.total()
            on_problem(f"{total:,} episodes ended in an error, {times:,} of them in: {commonest}")
        return count_outcomes(writer.attempts())


def agent_maker_of(recipe: DatasetRecipe) -> MakeAgent | None:
    """What makes the agent of the recipe's `dagger`, None without one. Raises UserError when the agent does not fit."""
    if recipe.dagger is None:
        return None
    from agentgym.experts.dagger import agent_maker  # which imports torch

    return agent_maker(recipe)


class _Shards:
    """Episodes in the order of their seeds, committed when a shard is full: its content does not depend on chunks."""

    def __init__(self, writer: DatasetWriter) -> None:
        self._writer = writer
        self._attempts: list[Attempt] = []
        self._rows: list[Row] = []

    def add(self, attempt: Attempt, row: Row | None) -> None:
        """Takes an attempt and the episode that is kept of it."""
        if self._attempts and self._attempts[0].task != attempt.task:
            self.commit()
        self._attempts.append(attempt)
        if row is not None:
            self._rows.append(row)
        if len(self._attempts) >= CHUNK or sum(kept["length"] for kept in self._rows) >= CHUNK_STEPS:
            self.commit()

    def commit(self) -> None:
        """Writes what has been collected as a shard."""
        if self._attempts:
            self._writer.append_encoded(self._rows, self._attempts)
            self._writer.commit()
        self._attempts, self._rows = [], []


def is_complete(recipe: DatasetRecipe, path: str | Path) -> bool:
    """Whether every episode of the recipe is in the dataset."""
    datasets = [EpisodeDataset(folder) for folder in dataset_folders(Path(path))]
    tried = {task.id: set[int]().union(*(each.seeds(task.id) for each in datasets)) for task in recipe.suite.tasks}
    return all(seeds.issuperset(recipe.seeds) for seeds in tried.values())


def check_same_recipe(path: str | Path, recipe: DatasetRecipe, *, goes: str = "that dataset") -> None:
    """Raises UserError, naming the first difference, when the folder holds another recipe's dataset or other files.

    `goes` is what --overwrite deletes, for the message.
    """
    path = Path(path)
    changed = find_change(path, recipe)
    if changed:
        raise UserError(
            f"{path}: holds a dataset of another recipe ({changed}); choose another folder, or --overwrite, "
            f"which deletes {goes}"
        )
    if not dataset_folders(path) and path.exists() and not (path.is_dir() and is_vacant(path, set_aside=LOST)):
        raise UserError(f"{path}: exists and is not a dataset; choose another folder")


def check_made_by_collecting(path: Path) -> None:
    """Raises UserError for a dataset that no command records again: of people, imported, merged or of one's own code.

    One that cannot be read is not asked.
    """
    for folder in dataset_folders(path):
        try:
            dataset = EpisodeDataset(folder)
            who = set(dataset.column("expert")) | {str(dataset.header.recipe.get("expert"))}
        except UserError:
            continue
        if len(who) > 1 or not experts.is_known(*who):
            raise UserError(
                f"{folder}: holds episodes of {', '.join(sorted(who))}, which recording does not bring back, so "
                "--overwrite does not delete them; choose another folder, or delete this one yourself"
            )


def find_change(path: Path, recipe: DatasetRecipe) -> str | None:
    """The first key in which what was recorded in the folder is another recipe's; None without any."""
    for folder in dataset_folders(path):
        header = EpisodeDataset(folder).header
        expected = recipe if folder == path else recipe.of_tasks(tasks_of(header))
        changed = expected.changes_since(header.recipe)
        if changed:
            return changed[0] if folder == path else f"{folder.name}: {changed[0]}"
    return None


def make_headers(recipe: DatasetRecipe) -> list[Header]:
    """The headers of what the recipe records: one for each kind of actions and frames that its tasks have.

    Raises UserError when a task cannot be made or recorded, or the expert cannot act in it.
    """
    environments.check_suite(recipe.suite)
    kinds: dict[tuple[SpaceCodec, tuple[int, int, int], tuple[Extra, ...]], list[str]] = {}
    for task in recipe.suite.tasks:
        env = environments.make(task, frame=recipe.suite.frame)
        environments.check_seeding(env)
        expert = experts.make(recipe.expert)
        expert.check(env)
        outcomes.check_survey(recipe.expert, task.id)
        if recipe.keep == "solved" and not env.defines_success:
            raise UserError(
                f"suite {recipe.suite.name}: {task.id} does not say what success is; set its `success_return`, "
                'or keep = "all" in the dataset\'s recipe'
            )
        space = SpaceCodec.of(env.action_space, env.action_names)
        kinds.setdefault((space, env.frame_shape, columns_of(recipe, env, expert)), []).append(task.id)
        env.close()
    return [
        Header(space, shape, recipe.of_tasks(tasks).model_dump(mode="json"), extras)
        for (space, shape, extras), tasks in kinds.items()
    ]


def folders_of(path: str | Path, headers: Sequence[Header]) -> dict[Path, Header]:
    """Where what is recorded goes: the folder itself, or in it one for each kind, named by its first task."""
    if len(headers) == 1:
        return {Path(path): headers[0]}
    return {Path(path) / tasks_of(header)[0].lower().replace("/", "-"): header for header in headers}


def tasks_of(header: Header) -> list[str]:
    """The tasks in a dataset."""
    return [task["id"] for task in header.recipe["suite"]["tasks"]]


def warnings_about(recipe: DatasetRecipe) -> list[str]:
    """A line for each task of which the expert is known to solve less than half."""
    found = (outcomes.low_success_warning(recipe.expert, task.id) for task in recipe.suite.tasks)
    return [line for line in found if line]


def make_chunks(recipe: DatasetRecipe, *, workers: int = 1) -> list[Chunk]:
    """All seeds of the recipe, task by task, in chunks that keep workers busy: short ones where episodes are long."""
    last, chunks = recipe.first_seed + recipe.episodes, list[Chunk]()
    for task in recipe.suite.tasks:
        env = environments.make(task, frame=recipe.suite.frame)
        size = min(CHUNK, share_of(recipe.episodes, workers), max(1, CHUNK_STEPS // (env.longest or 1)))
        env.close()
        chunks += [
            Chunk(task.id, range(first, min(first + size, last))) for first in range(recipe.first_seed, last, size)
        ]
    return chunks


def without(chunk: Chunk, done: Set[tuple[str, int]]) -> Chunk:
    """What is still to be recorded of a chunk; a repair may have kept its beginning."""
    return Chunk(chunk.task, [seed for seed in chunk.seeds if (chunk.task, seed) not in done])
