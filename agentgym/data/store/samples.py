"""The small recorded dataset that ships with the package, for tests and a first look without recording."""

from pathlib import Path

PACKAGE = Path(__file__).parent.parent.parent


def sample_dataset() -> Path:
    """The folder of forty GoToRedBall episodes of the bot: inside an installed wheel, or in the source tree."""
    inside = PACKAGE / "shipped"
    return (inside if inside.is_dir() else PACKAGE.parent) / "datasets" / "sample"
