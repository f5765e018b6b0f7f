"""A dataset -> a folder that the Hugging Face Hub takes: Parquet shards with PNG frames, and the dataset card.

`datasets.load_dataset(folder)` reads it without our code, its frames as images; so does anything that reads Parquet.
"""

import json
from hashlib import blake2b, file_digest
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from jinja2 import Environment, PackageLoader, StrictUndefined

from agentgym.data.png import encode_png
from agentgym.data.store import NAMES, EpisodeDataset
from agentgym.errors import UserError
from agentgym.folders import new_folder
from agentgym.spaces import Integers, SpaceCodec

ROW_GROUP = 50  # episodes: what is held in memory at once, and what the Hub's viewer reads for a page
FILE_BYTES = 300_000_000  # the Hub advises files of a few hundred megabytes
LEFT_OUT = (
    "frame_shape",
    "block_crc32",
    "crc32",
    "extras_crc32",
)  # of how our shards are on disk, not of an episode
PICTURES = pa.list_(pa.struct([("bytes", pa.binary()), ("path", pa.string())]))  # a list of Image to `datasets`
SIZES = (("n<1K", 1_000), ("1K<n<10K", 10_000), ("10K<n<100K", 100_000), ("100K<n<1M", 1_000_000))


def export_hub(path: str | Path, to: str | Path) -> list[str]:
    """Writes `to`/data/train-DIGEST-*.parquet and `to`/README.md; returns lines that say what the folder does not hold.

    Raises UserError when `to` holds something, an episode is damaged, there is none, or the disk is full; then nothing
    is left there.
    """
    dataset = EpisodeDataset(path)
    if not len(dataset):
        raise UserError(f"{path}: holds no episode; there is nothing to export")
    with new_folder(Path(to)) as folder:
        digest = _write_shards(dataset, folder / "data")
        (folder / "README.md").write_text(dataset_card(dataset, digest=digest), encoding="utf-8")
    others = sum(dataset.outcomes().values()) - len(dataset)
    return [f"not in the folder: {others:,} attempts that left no episode"] if others else []


def _write_shards(dataset: EpisodeDataset, folder: Path) -> str:
    """Writes the Parquet files, and returns what is in their names: a digest of what they hold.

    `datasets` looks its cache up only by the names: with the same ones it would give what another folder holds.
    """
    folder.mkdir()
    files: list[Path] = []
    writer: pq.ParquetWriter | None = None
    schema = _schema(dataset)
    for first in range(0, len(dataset), ROW_GROUP):
        if writer is None or files[-1].stat().st_size > FILE_BYTES:
            if writer:
                writer.close()
            files.append(folder / f"{len(files):05d}.parquet")
            writer = pq.ParquetWriter(files[-1], schema, compression="zstd")
        rows = [_row(dataset, episode) for episode in range(first, min(first + ROW_GROUP, len(dataset)))]
        writer.write_table(pa.Table.from_pylist(rows, schema=schema))
    assert writer is not None
    writer.close()
    digest = blake2b(digest_size=6)
    for file in files:
        with file.open("rb") as content:
            digest.update(file_digest(content, "sha256").digest())
    for file in files:
        file.rename(folder / f"train-{digest.hexdigest()}-{file.name}")
    return digest.hexdigest()


def _schema(dataset: EpisodeDataset) -> pa.Schema:
    fields = [
        pa.field(field.name, PICTURES) if field.name == "frames" else field
        for field in dataset.header.schema
        if field.name not in LEFT_OUT
    ]
    images = {"frames": {"feature": {"_type": "Image"}, "_type": "List"}}
    features = {field.name: images.get(field.name) or _feature(field.type) for field in fields}
    return pa.schema(fields, {b"huggingface": json.dumps({"info": {"features": features}}).encode()})


def _feature(kind: pa.DataType) -> dict[str, Any]:
    """How `datasets` names an Arrow type."""
    if pa.types.is_list(kind):
        return {"feature": _feature(kind.value_type), "_type": "List"}
    if pa.types.is_fixed_size_list(kind):
        return {"feature": _feature(kind.value_type), "length": kind.list_size, "_type": "List"}
    names = {"double": "float64", "float": "float32"}
    return {"dtype": names.get(str(kind), str(kind)), "_type": "Value"}


def _row(dataset: EpisodeDataset, episode: int) -> dict[str, Any]:
    recorded = dataset[episode]  # verified
    row = dataset.row(episode, [name for name in NAMES if name not in ("frames", *LEFT_OUT)])
    gathered = dataset.extras(episode)
    extra_values = {extra.name: extra.encode(gathered[extra.name]) for extra in dataset.header.extras}
    return {**row, **extra_values, "frames": [{"bytes": encode_png(frame), "path": None} for frame in recorded.frames]}


def dataset_card(dataset: EpisodeDataset, *, own_format: bool = False, digest: str = "") -> str:
    """The Hub's card of a dataset: of the Parquet files that `export_hub` writes, or of our own shards as they are."""
    environment = Environment(
        loader=PackageLoader("agentgym.data.exchange"), undefined=StrictUndefined, keep_trailing_newline=True
    )
    steps = int(dataset.lengths.sum())
    recipe = dataset.header.recipe
    return environment.get_template("dataset_card.md" if own_format else "card.md").render(
        name=json.dumps(str(recipe.get("name", dataset.path.name)), ensure_ascii=False),
        description=str(recipe.get("description", "")),
        digest=digest,
        size=next((name for name, limit in SIZES if len(dataset) < limit), "n>1M"),
        episodes=f"{len(dataset):,}",
        steps=f"{steps:,}",
        height=dataset.header.frame_shape[0],
        width=dataset.header.frame_shape[1],
        tasks=sorted(set(dataset.column("task"))),
        experts=sorted(set(dataset.column("expert"))),
        mean_return=f"{np.mean(dataset.column('total_reward')):.3f}" if len(dataset) else "–",
        success=f"{np.mean(dataset.column('success')):.1%}" if len(dataset) else "–",
        actions=_describe_actions(dataset.header.space),
        recipe=json.dumps(dict(recipe), indent=2, ensure_ascii=False),
    )


def _describe_actions(space: SpaceCodec) -> list[str]:
    """The number and name of every action of a Discrete space, what others consist of."""
    root = space.root
    if isinstance(root, Integers) and root.shape is None:
        return [f"{root.starts[0] + i}: {name}" for i, name in enumerate(root.names[0])]
    return [str(space)]
