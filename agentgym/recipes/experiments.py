"""experiments/*.toml: data, model, losses, training and evaluation: everything that makes a run."""

from typing import Annotated, Any, Literal, Self

from pydantic import Field, model_validator

from agentgym.recipes.base import Recipe
from agentgym.recipes.datasets import DatasetRecipe

LEARNING_RATES = {"muon": 4e-3, "adamw": 1e-3}


def with_later_keys(values: dict[str, Any]) -> dict[str, Any]:
    """The values of a run's recipe.json, and of keys that an older agentgym did not write, what it did without them."""
    added = {"training": {"optimizer": "adamw"}, "losses": {"masked_frames": "all"}}
    older = {key: {**keys, **values[key]} for key, keys in added.items() if isinstance(values.get(key), dict)}
    return {**values, **older}


class InitRecipe(Recipe):
    """What to start from: published models for E_θ and F_φ, local folders or Hub ids (see `agentgym.model.pretrained`).

    Or an `agent` to fine-tune: a run folder or a checkpoint folder, whose sizes and text tokens stay. Actions of the
    dataset that it does not know get new rows in its table (see `agentgym.model.adapting`).
    """

    vision: str | None = None
    language: str | None = None
    agent: str | None = None

    @model_validator(mode="after")
    def _one_way(self) -> Self:
        given = self.vision is not None, self.language is not None, self.agent is not None
        if given not in ((True, True, False), (False, False, True)):
            raise ValueError("expected both 'vision' and 'language', or 'agent' alone")
        return self


class ModelRecipe(Recipe):
    """Which preset, and the few sizes that an experiment may change. With `init`, E_θ and F_φ have published sizes.

    `temporal_attention` lets E_θ read each window as a clip (see `agentgym.model.temporal`), `instruction_attention`
    each frame for the instruction (see `agentgym.model.grounding`).
    `frame_side` is what all frames are resized to before the model sees them; absent: the dataset's own.
    """

    preset: Literal["tiny", "small", "paper"] = "tiny"
    patch_merge: Annotated[int, Field(ge=1)] | None = None
    temporal_attention: bool = False
    instruction_attention: Annotated[bool, Field(exclude_if=lambda attends: not attends)] = False
    frame_side: Annotated[int | None, Field(ge=1, le=1024, exclude_if=lambda side: side is None)] = None
    init: InitRecipe | None = None


class LossRecipe(Recipe):
    """The weight of each loss and how the masked-image loss is taken (see `agentgym.training.losses`).

    `masked_frames` are those that enter it: "all" of a window, the "targets", whose actions are targets there, so that
    a frame enters once an epoch, or "one" of each window, another one each time. What speaks for the defaults is in
    docs/architecture.md; the paper's weights are 1.
    """

    language: Annotated[float, Field(ge=0)] = 1.0
    masked_image: Annotated[float, Field(ge=0)] = 0.02
    action: Annotated[float, Field(ge=0)] = 1.0
    mask_ratio: Annotated[float, Field(gt=0, lt=1)] = 0.75
    pixel_reduction: Literal["mean", "sum"] = "mean"
    masked_frames: Literal["all", "targets", "one"] = "targets"


class PartRates(Recipe):
    """What the learning rate is multiplied with in each part of the model; 0 freezes the part."""

    vision: Annotated[float, Field(ge=0)] = 1.0
    projector: Annotated[float, Field(ge=0)] = 1.0
    language: Annotated[float, Field(ge=0)] = 1.0
    decoder: Annotated[float, Field(ge=0)] = 1.0


Factors = Annotated[tuple[Annotated[float, Field(ge=0)], Annotated[float, Field(ge=0)]], Field(strict=False)]


class ColourJitter(Recipe):
    """Between which factors the colours of a window vary (see `training.augmentation`); hue in turns, both ways."""

    brightness: Factors = (0.7, 1.4)
    contrast: Factors = (0.7, 1.4)
    saturation: Factors = (0.7, 1.4)
    hue: Annotated[float, Field(ge=0, le=0.5)] = 0.05


class TrainingRecipe(Recipe):
    """The loop: one update is `accumulation` batches of `batch_size` windows of `window` steps.

    `batch_size` counts the windows of all processes together. `loader_workers` are the threads that make batches ahead.
    `optimizer` and `learning_rate` absent: Muon at 4e-3 from scratch, AdamW at 1e-3 where the model starts from
    published weights or an agent (see `agentgym.training.optimizer`).
    `gradient_checkpointing` computes activations twice instead of keeping them. `colour_jitter` absent: none.
    """

    window: Annotated[int, Field(ge=1)] = 8
    batch_size: Annotated[int, Field(ge=1)] = 16
    accumulation: Annotated[int, Field(ge=1)] = 1
    updates: Annotated[int, Field(ge=1)]
    optimizer: Literal["muon", "adamw"] = "muon"
    learning_rate: Annotated[float, Field(gt=0)] = LEARNING_RATES["muon"]
    final_learning_rate: Annotated[float, Field(ge=0)] = 0.0
    warmup_updates: Annotated[int, Field(ge=0)] = 100
    weight_decay: Annotated[float, Field(ge=0)] = 0.05
    betas: Annotated[tuple[float, float], Field(strict=False)] = (0.9, 0.98)  # TOML has lists, no tuples
    gradient_clip: Annotated[float, Field(gt=0)] = 1.0
    part_rates: PartRates = PartRates()
    colour_jitter: ColourJitter | None = None
    precision: Literal["auto", "float32", "bfloat16"] = "auto"
    gradient_checkpointing: bool = False
    loader_workers: Annotated[int, Field(ge=1)] = 1
    seed: Annotated[int, Field(ge=0)] = 0
    log_every: Annotated[int, Field(ge=1)] = 20
    checkpoint_every: Annotated[int, Field(ge=1)] = 200
    evaluate_every: Annotated[int, Field(ge=1)] = 400
    evaluate_episodes: Annotated[int, Field(ge=0)] = 64


class EvaluationRecipe(Recipe):
    """Which seeds are rolled out and how: the seeds [first_seed, first_seed + episodes) of each task.

    `environments` run at once, stepped by Gymnasium's SyncVectorEnv or AsyncVectorEnv (`vector`); the result is the
    same for any number and either way.
    """

    episodes: Annotated[int, Field(ge=1)] = 500
    first_seed: Annotated[int, Field(ge=0)] = 0
    environments: Annotated[int, Field(ge=1)] = 50
    vector: Annotated[Literal["sync", "async"], Field(exclude_if=lambda vector: vector == "sync")] = "sync"
    deterministic: bool = True
    videos: Annotated[int, Field(ge=0)] = 6


class PartRecipe(Recipe):
    """A part of a mixture: the folder of a dataset that is there, and its share of the windows beside the others'.

    `window` is for parts that are seen in other windows than `training.window`. With `caption` the agent learns to say
    which instruction was followed, of an episode's frames, instead of acting (see `agentgym.training.captions`).
    """

    data: str
    weight: Annotated[float, Field(gt=0)] = 1.0
    window: Annotated[int | None, Field(ge=1, exclude_if=lambda window: window is None)] = None
    caption: Annotated[bool, Field(exclude_if=lambda caption: not caption)] = False


class ExperimentRecipe(Recipe):
    """experiments/*.toml: data, model, losses, training and evaluation: everything that makes a run.

    A `mixture` is what is trained on in place of the dataset's own folder; the suite stays the dataset's. Its parts may
    have other actions and frames; one of them at least has those of the suite.
    """

    name: str
    description: str
    dataset: DatasetRecipe
    mixture: list[PartRecipe] = Field(default_factory=list, exclude_if=lambda parts: not parts)
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
