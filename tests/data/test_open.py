"""Others' tools read the shards without our code: pandas, DuckDB and Hugging Face `datasets`, over plain Arrow files.

Every test reads with others' tools alone; `EpisodeDataset` only says what they have to find.
"""

from pathlib import Path

import duckdb
import numpy as np
import pyarrow as pa
import pyarrow.dataset
import pytest

from agentgym.data.store import EpisodeDataset
from agentgym.data.store.samples import sample_dataset

PATH = sample_dataset()
QUERIES = Path(__file__).parent.parent.parent / "docs" / "datasets.md"


@pytest.fixture(scope="module")
def stored():
    """What our own reader says."""
    return EpisodeDataset(PATH)


def mean_returns(stored):
    instructions, returns = np.array(stored.column("instruction")), np.array(stored.column("total_reward"))
    return {text: float(returns[instructions == text].mean()) for text in sorted(set(instructions))}


def frames_of(row):
    """As the docs say: the blocks of an episode, in a row, are one zstd stream."""
    stream = pa.input_stream(pa.py_buffer(b"".join(row["frames"])), compression="zstd")
    return np.frombuffer(stream.read(), np.uint8).reshape(-1, *row["frame_shape"])


def test_pandas_reads_every_row_and_its_frames(stored):
    frame = pa.dataset.dataset(str(PATH), format="arrow", exclude_invalid_files=True).to_table().to_pandas()
    assert frame.groupby("instruction")["total_reward"].mean().to_dict() == pytest.approx(mean_returns(stored))
    assert np.array_equal(frames_of(frame.iloc[3]), stored[3].frames)


def test_duckdb_answers_the_query_of_the_docs(stored):
    query = QUERIES.read_text().split("```sql\n")[1].split("```")[0]
    episodes = pa.dataset.dataset(str(PATH), format="arrow", exclude_invalid_files=True)
    connection = duckdb.connect()
    connection.register("episodes", episodes)
    answer = {row[0]: row[2] for row in connection.sql(query).fetchall()}
    assert answer == pytest.approx(mean_returns(stored))
    names = ("frames", "frame_shape")
    (found,) = connection.sql(f"SELECT {', '.join(names)} FROM episodes LIMIT 1").fetchall()
    row = dict(zip(names, found, strict=True))
    assert np.array_equal(frames_of(row), stored[0].frames)


def test_hugging_face_datasets_reads_every_row(stored, tmp_path, monkeypatch):
    monkeypatch.setenv("HF_HUB_OFFLINE", "1")
    datasets = pytest.importorskip("datasets")
    files = sorted(str(file) for file in PATH.glob("shard-*.arrow"))
    rows = datasets.load_dataset("arrow", data_files=files, split="train", cache_dir=str(tmp_path))
    assert len(rows) == len(stored)
    assert rows["seed"][:] == stored.column("seed")
    assert np.array_equal(frames_of(rows[1]), stored[1].frames)
