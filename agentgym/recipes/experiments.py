"""experiments/*.toml: data, model, losses, training and evaluation: everything that makes a run."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar, Literal, Self

from pydantic import Field, model_validator

from agentgym.recipes.base import LAST_SEED, MOST_AT_ONCE, MOST_EPISODES, Name, Often, Recipe, Seed, absent
from agentgym.recipes.datasets import HELD_OUT, DatasetRecipe
from agentgym.recipes.suites import SuiteRecipe

LONGEST_WINDOW = 65_536  # steps; what fits into memory is less (see `agentgym.training.memory`)
LEARNING_RATES = {"muon": 4e-3, "adamw": 1e-3}


def with_later_keys(values: dict[str, Any]) -> dict[str, Any]:
    """The values of a run's recipe.json, and of keys that an older agentgym did not write, what it did without them."""
    added = {"training": {"optimizer": "adamw", "held_out_hash": "crc32"}, "losses": {"masked_frames": "all"}}
    older = {key: {**keys, **values[key]} for key, keys in added.items() if isinstance(values.get(key), dict)}
    return {**values, **older}


class InitRecipe(Recipe):
    """What to start from: published models of vision, of language or of both, as local folders or Hub ids.

    See `agentgym.model.pretrained`; a part that is not named is drawn as the preset has it. Or an `agent` to fine-tune:
    a run folder or a checkpoint folder, whose sizes and text tokens stay. Actions of the dataset that it does not know
    get new rows in its table (see `agentgym.model.adapting`).
    """

    vision: str | None = None
    language: str | None = None
    agent: str | None = None

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        published = self.vision is not None or self.language is not None
        if published == (self.agent is not None):
            raise ValueError("expected 'vision', 'language' or both, or only 'agent'")
        return self


class ModelRecipe(Recipe):
    """Which preset, and the few sizes that an experiment may change; with `init` the published models have theirs.

    With `temporal_attention` the vision encoder reads each window as a clip (see `agentgym.model.temporal`), with
    `instruction_attention` each frame for the instruction (see `agentgym.model.grounding`).
    With `convolutional_stem` convolutions embed the patches (see `agentgym.model.stem`), for encoders from scratch.
    `frame_side` is what all frames are resized to before the model sees them; absent: the dataset's own. With
    `complete_frames` they keep their grid: larger ones shrink by a whole factor, and what is missing is black.
    """

    preset: Literal["tiny", "small", "paper"] = "tiny"
    patch_merge: Annotated[int, Field(ge=1, le=1024)] | None = None
    convolutional_stem: Annotated[bool, Field(exclude_if=lambda convolves: not convolves)] = False
    temporal_attention: bool = False
    instruction_attention: Annotated[bool, Field(exclude_if=lambda attends: not attends)] = False
    frame_side: Annotated[int | None, Field(ge=1, le=1024, exclude_if=lambda side: side is None)] = None
    complete_frames: Annotated[bool, Field(exclude_if=lambda completes: not completes)] = False
    init: InitRecipe | None = None

    @model_validator(mode="after")
    def _one_stem(self) -> Self:
        if self.convolutional_stem and self.init is not None and self.init.vision is not None:
            raise ValueError("'convolutional_stem' is for an encoder from scratch, and 'init.vision' has a stem")
        return self


class LossRecipe(Recipe):
    """The weight of each loss and how the masked-image loss is taken (see `agentgym.training.losses`).

    `masked_frames` are those that enter it: "all" of a window, the "targets", whose actions are targets there, so that
    a frame enters once an epoch, "one" of each window, another one each time, or a share of the targets, such as 0.1.
    The loss is the mean over "windows", as in the paper, or over their "targets": then a window of eight steps counts
    as much as eight of one. The reasons for the defaults are in docs/architecture.md; the paper's weights are 1.
    """

    language: Annotated[float, Field(ge=0)] = 1.0
    masked_image: Annotated[float, Field(ge=0)] = 0.02
    action: Annotated[float, Field(ge=0)] = 1.0
    mask_ratio: Annotated[float, Field(gt=0, lt=1)] = 0.75
    pixel_reduction: Literal["mean", "sum"] = "mean"
    masked_frames: Literal["all", "targets", "one"] | Annotated[float, Field(gt=0, lt=1)] = "targets"
    average_over: Annotated[Literal["windows", "targets"], Field(exclude_if=lambda what: what == "windows")] = "windows"


class PartRates(Recipe):
    """The factor of the learning rate in each part of the model; 0 freezes the part."""

    vision: Annotated[float, Field(ge=0)] = 1.0
    projector: Annotated[float, Field(ge=0)] = 1.0
    language: Annotated[float, Field(ge=0)] = 1.0
    decoder: Annotated[float, Field(ge=0)] = 1.0


Beta = Annotated[float, Field(ge=0, lt=1)]
Factors = Annotated[tuple[Annotated[float, Field(ge=0)], Annotated[float, Field(ge=0)]], Field(strict=False)]


class ColourJitter(Recipe):
    """The ranges of factors by which a window's colours vary (see `training.augmentation`); hue in turns, both ways."""

    brightness: Factors = (0.7, 1.4)
    contrast: Factors = (0.7, 1.4)
    saturation: Factors = (0.7, 1.4)
    hue: Annotated[float, Field(ge=0, le=0.5)] = 0.05


Tracker = Literal["tensorboard", "trackio", "wandb", "mlflow"]


class TrainingRecipe(Recipe):
    """The loop: one update is `accumulation` batches of `batch_size` windows of `window` steps.

    `batch_size` counts the windows of all processes together. `loader_workers` are the threads that make batches ahead.
    `optimizer` and `learning_rate` absent: Muon at 4e-3 from scratch, AdamW at 1e-3 where the model starts from
    published weights or an agent (see `agentgym.training.optimizer`).
    `gradient_checkpointing` computes activations twice instead of keeping them, `compile` is for torch.compile.
    `colour_jitter` absent: none. `trackers` absent: TensorBoard where installed (see `agentgym.training.trackers`).
    `held_out_hash` says which episodes are held out, by their task and seed; runs of older versions have "crc32", whose
    shares are not the asked ones.
    """

    window: Annotated[int, Field(ge=1, le=LONGEST_WINDOW)] = 8
    batch_size: Annotated[int, Field(ge=1, le=10**7)] = 16
    accumulation: Annotated[int, Field(ge=1, le=10**6)] = 1
    updates: Often
    optimizer: Literal["muon", "adamw"] = "muon"
    learning_rate: Annotated[float, Field(gt=0)] = LEARNING_RATES["muon"]
    final_learning_rate: Annotated[float, Field(ge=0)] = 0.0
    warmup_updates: Annotated[int, Field(ge=0, le=10**9)] = 100
    weight_decay: Annotated[float, Field(ge=0)] = 0.05
    betas: Annotated[tuple[Beta, Beta], Field(strict=False)] = (0.9, 0.98)  # TOML has lists, no tuples
    gradient_clip: Annotated[float, Field(gt=0)] = 1.0
    part_rates: PartRates = PartRates()
    colour_jitter: ColourJitter | None = None
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    gradient_checkpointing: bool = False
    compile: Annotated[bool, Field(exclude_if=lambda compiles: not compiles)] = False
    loader_workers: Annotated[int, Field(ge=1, le=256)] = 1
    held_out_hash: Literal["blake2b", "crc32"] = "blake2b"
    seed: Seed = 0
    trackers: Annotated[tuple[Tracker, ...] | None, Field(strict=False, exclude_if=lambda names: names is None)] = None
    log_every: Often = 20
    checkpoint_every: Often = 200
    evaluate_every: Often = 400
    evaluate_episodes: Annotated[int, Field(ge=0, le=MOST_EPISODES)] = 64


class EvaluationRecipe(Recipe):
    """Which seeds are rolled out and how: the seeds [first_seed, first_seed + episodes) of each task.

    `environments` run at once, stepped by Gymnasium's SyncVectorEnv or AsyncVectorEnv (`vector`); the result is the
    same for any number and either way.
    """

    episodes: Annotated[int, Field(ge=1, le=MOST_EPISODES)] = 500
    first_seed: Annotated[int, Field(ge=0, le=LAST_SEED - MOST_EPISODES)] = 0
    environments: Annotated[int, Field(ge=1, le=MOST_AT_ONCE)] = 50
    vector: Annotated[Literal["sync", "async"], Field(exclude_if=lambda vector: vector == "sync")] = "sync"
    deterministic: bool = True
    videos: Annotated[int, Field(ge=0, le=10_000)] = 6


class PartRecipe(Recipe):
    """One of the things that an agent is trained on: a dataset, and its share of the windows.

    A `dataset` is a recipe, recorded into data/NAME, or into the folder `data`. With only `data` the folder says what
    it is: recorded, merged, selected or imported. A dataset of several kinds of actions or frames shares the weight by
    tasks. `window` and `held_out` are for parts with other ones than the experiment has. With `caption` the agent
    learns to say which instruction was followed, of an episode's frames, instead of acting (see
    `agentgym.training.captions`). With `camera` it sees that column of the folder's in place of the frames; of a
    dataset that is a recipe, its suite's `frame.camera` says what is recorded. `episodes` are the levels of each of its
    tasks that are played for the score, in place of the evaluation's: for tasks whose episodes are long.
    """

    dataset: DatasetRecipe | None = absent()
    data: str | None = absent()
    weight: Annotated[float, Field(gt=0)] = 1.0
    window: Annotated[int | None, Field(ge=1, le=LONGEST_WINDOW, exclude_if=lambda window: window is None)] = None
    held_out: Annotated[float | None, Field(ge=0, lt=1, exclude_if=lambda share: share is None)] = None
    caption: Annotated[bool, Field(exclude_if=lambda caption: not caption)] = False
    camera: str | None = absent()
    episodes: Annotated[int | None, Field(ge=1, le=MOST_EPISODES, exclude_if=lambda episodes: episodes is None)] = None

    @model_validator(mode="after")
    def _something(self) -> Self:
        if self.dataset is None and self.data is None:
            raise ValueError("expected 'dataset' (a recipe) or 'data' (a folder)")
        if self.camera and self.data is None:
            raise ValueError("'camera' is of a folder (data); what a recipe records is its suite's frame.camera")
        return self

    @property
    def folder(self) -> str:
        """The folder where it is, or will be recorded."""
        return self.data or f"data/{self.dataset.name if self.dataset else ''}"


class ExperimentRecipe(Recipe):
    """experiments/*.toml: data, model, losses, training and evaluation: everything that makes a run.

    An agent of one dataset names it as `dataset`. An agent of many worlds names its `parts`, which may have other
    actions, frames and limits than one another; every suite of every part is scored. With both, the parts are what is
    trained on, and the dataset's suite is scored with theirs.
    """

    former_names: ClassVar[Mapping[str, str]] = {"mixture": "parts"}

    name: Name
    description: str
    dataset: DatasetRecipe | None = absent()
    parts: list[PartRecipe] = Field(default_factory=list, exclude_if=lambda parts: not parts)
    model: ModelRecipe = ModelRecipe()
    losses: LossRecipe = LossRecipe()
    training: TrainingRecipe
    evaluation: EvaluationRecipe = EvaluationRecipe()

    @model_validator(mode="before")
    @classmethod
    def _choose_optimizer(cls, values: Any) -> Any:
        """The optimizer that fits what the model starts from, and its rate, where the recipe names none."""
        training = values.get("training") if isinstance(values, dict) else None
        if not isinstance(training, dict):
            return values
        model = values.get("model")
        starts_trained = isinstance(model, dict) and model.get("init") is not None
        optimizer = training.get("optimizer", "adamw" if starts_trained else "muon")
        chosen = {"optimizer": optimizer, "learning_rate": LEARNING_RATES.get(str(optimizer), 1e-3)}
        return {**values, "training": {**chosen, **training}}

    @model_validator(mode="after")
    def _something(self) -> Self:
        if self.dataset is None and not self.parts:
            raise ValueError("expected a 'dataset' or [[parts]]")
        return self

    @property
    def trained_on(self) -> list[PartRecipe]:
        """The parts, or the dataset as the one that there is."""
        return self.parts or [PartRecipe(dataset=self.dataset)]

    @property
    def datasets(self) -> list[DatasetRecipe]:
        """The recipes of all datasets that are known by one, each once, the experiment's own first."""
        named = [self.dataset, *(part.dataset for part in self.parts)]
        return [each for place, each in enumerate(named) if each is not None and each not in named[:place]]

    @property
    def suites(self) -> list[SuiteRecipe]:
        """What is scored: the suites of all datasets, without those whose tasks an earlier one plays alike."""
        found: list[SuiteRecipe] = []
        for suite in (each.suite for each in self.datasets):
            found += [] if any(suite.is_within(other) for other in found) else [suite]
        return found

    def held_out_of(self, part: PartRecipe) -> float:
        """The share of a part's episodes that training never sees; without one of its own the dataset's."""
        if part.held_out is not None:
            return part.held_out
        known = self.dataset or part.dataset
        return known.held_out if known else HELD_OUT
