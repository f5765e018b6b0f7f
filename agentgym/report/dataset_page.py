"""A dataset folder -> one self-contained HTML page: manifest, histograms, a table of episodes, and videos of some.

The page works from disk, without a network. All that comes from the dataset is escaped, or put in place as text.
"""

import json
import math
from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jinja2 import Environment, PackageLoader, StrictUndefined
from markupsafe import Markup

from agentgym.data.png import encode_png
from agentgym.data.store import EpisodeDataset, require_local
from agentgym.files import replace_file
from agentgym.spaces.values import name

VIDEOS = 24
VIDEO_STEPS = 400  # of a longer episode, its beginning
LISTED = 10_000  # episodes in the table
BINS = 20


@dataclass(frozen=True)
class Histogram:
    """Counts in bins of equal width over [low, high]."""

    title: str
    low: float
    high: float
    counts: tuple[int, ...]


def write_view(path: str | Path, to: str | Path | None = None, *, videos: int = VIDEOS, seed: int = 0) -> Path:
    """Writes the page, `view.html` in the dataset's folder if not `to`; `seed` chooses the videos. Raises UserError."""
    dataset = EpisodeDataset(path)
    file = Path(to) if to else require_local(dataset.path, "say where the page goes with --to") / "view.html"
    everyone = np.random.default_rng(seed).permutation(len(dataset))
    shown = sorted(everyone[:videos].tolist())
    listed = sorted(everyone[: max(LISTED, videos)].tolist())  # those with a video among them
    columns = {name: dataset.column(name) for name in ("task", "instruction", "seed", "success", "length")}
    columns["return"] = [_shown(value) for value in dataset.column("total_reward")]
    data = {
        "columns": {name: [values[episode] for episode in listed] for name, values in columns.items()},
        "episodes": listed,
        "videos": {episode: _video(dataset, episode) for episode in shown},
    }
    environment = Environment(loader=PackageLoader("agentgym.report"), autoescape=True, undefined=StrictUndefined)
    page = environment.get_template("view.html").render(
        name=dataset.path.resolve().name,
        facts={"episodes": len(dataset), "steps": int(dataset.lengths.sum()), "shards": len(dataset.shards)},
        header=json.dumps({**dataset.header.to_json(), "outcomes": dataset.outcomes()}, indent=2, ensure_ascii=False),
        histograms=[_histogram("length", columns["length"]), _histogram("return", dataset.column("total_reward"))]
        if len(dataset)
        else [],
        outcomes=_outcomes(dataset),
        listed=len(listed),
        shown=len(shown),
        data=_as_script(data),
    )
    file.parent.mkdir(parents=True, exist_ok=True)
    replace_file(file, page)
    return file


def _video(dataset: EpisodeDataset, episode: int) -> dict[str, Any]:
    recorded = dataset.steps(episode, 0, min(int(dataset.lengths[episode]), VIDEO_STEPS))
    space = dataset.header.space.root
    return {
        "frames": [b64encode(encode_png(frame)).decode() for frame in recorded.frames],
        "actions": [name(space, action) for action in recorded.actions],
        "rewards": [_shown(reward) for reward in recorded.rewards.tolist()],
    }


def _shown(number: float) -> float | str:
    """Rounded; as text what JSON has no number for."""
    return round(number, 4) if math.isfinite(number) else str(number)


def _histogram(title: str, values: Sequence[float]) -> Histogram:
    finite = [value for value in values if math.isfinite(value)]
    if len(finite) < len(values):
        title = f"{title} (without {len(values) - len(finite):,} that are not finite)"
    counts, edges = np.histogram(finite, bins=BINS)
    return Histogram(title, float(edges[0]), float(edges[-1]), tuple(counts.tolist()))


def _outcomes(dataset: EpisodeDataset) -> dict[str, dict[str, int]]:
    """For each task how many attempts ended how."""
    counts: dict[str, dict[str, int]] = {}
    for shard in dataset.shards:
        for attempt in shard.attempts:
            of_task = counts.setdefault(attempt.task, {})
            of_task[attempt.outcome] = of_task.get(attempt.outcome, 0) + 1
    return counts


def _as_script(data: dict[str, Any]) -> Markup:
    """JSON that cannot end the script element around it."""
    return Markup(
        json.dumps(data, allow_nan=False).replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")
    )
