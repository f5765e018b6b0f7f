"""What all recipes share: unknown keys are errors, a value of another type too, and values are frozen."""

from collections.abc import Mapping
from typing import Annotated, Any, ClassVar

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator


class Recipe(BaseModel):
    """What all recipes share: unknown keys are errors, a value of another type too, and values are frozen."""

    model_config = ConfigDict(extra="forbid", frozen=True, strict=True, allow_inf_nan=False)
    former_names: ClassVar[Mapping[str, str]] = {}  # keys as older recipes and runs write them, and their names now

    @model_validator(mode="before")
    @classmethod
    def _renamed(cls, values: Any) -> Any:
        return cls.with_present_names(values) if isinstance(values, Mapping) else values

    @classmethod
    def with_present_names(cls, values: Mapping[str, Any]) -> dict[str, Any]:
        """The same values, those with a former key under its present name."""
        return {cls.former_names.get(key, key): value for key, value in values.items()}


def _plain(name: str) -> str:
    if not name or name in (".", "..") or "/" in name or not name.isprintable():
        raise ValueError("expected the name of a folder, without a slash: it is one below data/ or runs/")
    return name


Name = Annotated[str, AfterValidator(_plain)]
LAST_SEED = 2**63 - 1  # what a dataset has room for
MOST_EPISODES = 10_000_000  # of a task; a plan of more does not fit into memory
MOST_AT_ONCE = 4_096  # environments
Seed = Annotated[int, Field(ge=0, le=LAST_SEED)]
Often = Annotated[int, Field(ge=1, le=10**9)]  # updates, steps of an episode


def absent() -> Any:
    """None by default, and then left out of the stored recipe."""
    return Field(default=None, exclude_if=lambda value: value is None)


Strings = Annotated[tuple[str, ...], Field(strict=False, exclude_if=lambda names: not names)]


LEFT_TO_THE_TASK = "budget.seconds"  # a key that older recipes had by default, and newer ones leave out


def differences(old: dict[str, Any], new: dict[str, Any], prefix: str = "") -> list[str]:
    """The dotted keys whose values differ between two dumped recipes, as `key: old -> new`.

    A new recipe that leaves the expert's time to the task takes whatever the old one gave it.
    """
    found = []
    for key in sorted(old.keys() | new.keys()):
        a, b = old.get(key), new.get(key)
        if isinstance(a, dict) and isinstance(b, dict):
            found += differences(a, b, f"{prefix}{key}.")
        elif a != b and not (b is None and f".{prefix}{key}".endswith(f".{LEFT_TO_THE_TASK}")):
            found.append(f"{prefix}{key}: {a!r} -> {b!r}")
    return found
