"""record_chunk(recipe, chunk): an expert's episodes of some seeds, recorded by one worker and encoded."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import gymnasium

from agentgym import environments, experts
from agentgym.data.episode import Episode
from agentgym.data.headers import columns_kept
from agentgym.data.recorder import Recorder
from agentgym.data.store import Attempt, Extra, FrameEncoder, Header, Row, encode_row, fit
from agentgym.data.store.extras import LABEL_PROBABILITIES
from agentgym.errors import Foreign, UserError, described
from agentgym.experts.action_noise import ActionNoise, RandomActor, SubstituteActor
from agentgym.experts.budget import OutOfTime, seconds_for, time_limit
from agentgym.recipes import BudgetRecipe, DatasetRecipe
from agentgym.spaces import SpaceCodec

MakeAgent = Callable[[], SubstituteActor]


@dataclass(frozen=True)
class Chunk:
    """Consecutive seeds of one task."""

    task: str
    seeds: Sequence[int]


def record_chunk(
    recipe: DatasetRecipe, chunk: Chunk, make_agent: MakeAgent | None = None
) -> list[tuple[Attempt, Row | None, str]]:
    """Records a chunk: the outcome of every seed, the encoded episode where the recipe keeps it, an error's reason."""
    env = environments.make(recipe.suite.task(chunk.task), frame=recipe.suite.frame)
    space = SpaceCodec.of(env.action_space, env.action_names)
    expert = experts.make(recipe.expert)
    expert.check(env)
    kept = KeptEpisodes(Header(space, env.frame_shape, {}, columns_of(recipe, env, expert)), recipe)
    recorder = Recorder(env, kept, task=chunk.task, expert=recipe.expert)
    player = Demonstrator(expert, make_deviations(recipe, make_agent), recipe.probabilities)
    played = []
    for seed in chunk.seeds:
        outcome, reason = _attempt(recorder, env, player, seed, recipe.budget)
        played.append((Attempt(chunk.task, seed, outcome), kept.take(), reason))
    recorder.close()
    return played


class KeptEpisodes:
    """The latest episode, encoded, where the recipe keeps it."""

    def __init__(self, header: Header, recipe: DatasetRecipe) -> None:
        self._header = header
        self._row: Row | None = None
        self._all = recipe.keep == "all"

    def frame_buffer(self) -> FrameEncoder:
        """Frames of an episode in the making, encoded on the way."""
        return FrameEncoder()

    def append(self, episode: Episode) -> None:
        """Keeps an episode, or does not. Raises UnfitEpisodeError."""
        if episode.success or self._all:
            self._row = encode_row(fit(episode, self._header), self._header.extras)

    def take(self) -> Row | None:
        """What was kept since it was last asked for."""
        row, self._row = self._row, None
        return row


def columns_of(recipe: DatasetRecipe, env: environments.Task, expert: experts.Expert) -> tuple[Extra, ...]:
    """What is recorded in addition to the frames, of an expert that was checked.

    Raises UserError for probabilities that it does not give.
    """
    kept = columns_kept(env)
    if not recipe.probabilities:
        return kept
    actions = env.action_space
    gives = isinstance(expert, experts.GivesProbabilities) and expert.has_probabilities
    if not gives or not isinstance(actions, gymnasium.spaces.Discrete):
        raise UserError(
            f"dataset {recipe.name}: probabilities: expert '{recipe.expert}' has none of {actions} in {env.task}; "
            "networks have them ('trained', actor-critics of sb3:PATH), of Discrete spaces, and 'atari-ram' in "
            "Breakout and Pong; leave the key out"
        )
    return (*kept, Extra(LABEL_PROBABILITIES, "array", "float32", (int(actions.n),)))


def make_deviations(recipe: DatasetRecipe, make_agent: MakeAgent | None) -> ActionNoise:
    """Who acts in the expert's place, and how often. Raises ValueError for `dagger` without `make_agent`."""
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
    """The expert, those who act in its place, and whether its probabilities are recorded."""

    expert: experts.Expert
    deviations: ActionNoise
    with_probabilities: bool = False

    def play(self, recorder: Recorder, env: environments.Task, seed: int, *, limit: int | None = None) -> bool:
        """Records the episode of that seed; whether it was a success. Raises OutOfTime after `limit` steps."""
        observation, info = recorder.reset(seed=seed)
        self.expert.start(env, seed)
        self.deviations.start(env, seed)
        following = self.expert if isinstance(self.expert, experts.ObservesExecution) else None
        done, steps = False, 0
        while not done:
            if steps == limit:
                raise OutOfTime(f"no end after {limit} steps")
            label = self.expert.act(observation)
            action = self.deviations.choose(observation, label)
            if self.with_probabilities:
                assert isinstance(self.expert, experts.GivesProbabilities)
                recorder.label(label, self.expert.probabilities())
            elif self.deviations:
                recorder.label(label)
            observation, _, terminated, truncated, info = recorder.step(action)
            done, steps = terminated or truncated, steps + 1
            self.deviations.executed(action)
            if following:
                following.executed(action)
        return bool(info["is_success"])


def _attempt(
    recorder: Recorder, env: environments.Task, player: Demonstrator, seed: int, budget: BudgetRecipe
) -> tuple[str, str]:
    """The outcome of one episode, and of an error the reason. Whatever the expert does costs this episode only."""
    try:
        with time_limit(seconds_for(budget, env)), Foreign(env.task, "expert"):
            success = player.play(recorder, env, seed, limit=budget.steps)
    except OutOfTime:
        recorder.discard()
        return "timeout", ""
    except Exception as error:  # expert and environment are foreign code and may raise anything
        recorder.discard()
        return "error", described(error)
    return "solved" if success else "failed", ""
