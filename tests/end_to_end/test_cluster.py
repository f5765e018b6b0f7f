"""A Ray cluster of several nodes on this machine: one that dies while it records costs no episode and repeats none."""

import pytest

from agentgym.data.store import EpisodeDataset, check
from agentgym.experts import collection
from agentgym.recipes import load_dataset

EPISODES = 120


@pytest.fixture
def cluster(monkeypatch):
    """A head that computes nothing and three nodes of one core each, connected."""
    ray = pytest.importorskip("ray")
    from ray.cluster_utils import Cluster

    monkeypatch.setenv("RAY_USAGE_STATS_ENABLED", "0")
    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 0, "include_dashboard": False})
    cluster.nodes = [cluster.add_node(num_cpus=1) for _ in range(3)]
    ray.init(address=cluster.address, log_to_driver=False)
    yield cluster
    ray.shutdown()
    cluster.shutdown()


@pytest.mark.slow
def test_a_node_that_dies_loses_no_episode_and_repeats_none(cluster, tmp_path, monkeypatch):
    monkeypatch.setattr(collection, "CHUNK", 5)
    recipe = load_dataset("babyai-goto-redball", [f"episodes={EPISODES}"])
    alive, done = list(cluster.nodes), 0

    def kill_one(count):
        nonlocal done
        done += count
        if len(alive) == 3 and done >= EPISODES // 4:
            cluster.remove_node(alive.pop(), allow_graceful=False)

    outcomes = collection.collect(recipe, tmp_path / "there", engine="ray", on_progress=kill_one)
    assert len(alive) == 2, "one was killed while there was work to do"
    assert sum(outcomes.values()) == EPISODES
    assert check(tmp_path / "there") == []
    there = EpisodeDataset(tmp_path / "there")
    attempts = [attempt.seed for shard in there.shards for attempt in shard.attempts]
    assert sorted(attempts) == list(recipe.seeds), "each seed once"

    collection.collect(recipe, tmp_path / "here", workers=1)
    here, there = (
        [file.read_bytes() for file in sorted(p.glob("shard-*.arrow"))] for p in (tmp_path / "here", there.path)
    )
    assert here == there, "the bytes of one process"
