"""A Ray cluster of several nodes on this machine: one that dies at work costs no episode and repeats none."""

import pytest

from agentgym.data.store import EpisodeDataset, check
from agentgym.evaluation import expert_rollouts
from agentgym.evaluation.scoring import evaluate
from agentgym.experts import collection
from agentgym.files import read_json
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


class KillsOne:
    """Told of progress, it kills a node once a quarter is done."""

    def __init__(self, cluster):
        self.cluster, self.alive, self.done = cluster, list(cluster.nodes), 0

    def __call__(self, count, note=""):
        self.done += count
        if len(self.alive) == 3 and self.done >= EPISODES // 4:
            self.cluster.remove_node(self.alive.pop(), allow_graceful=False)


@pytest.mark.slow
def test_a_node_that_dies_loses_no_episode_and_repeats_none(cluster, tmp_path, monkeypatch):
    monkeypatch.setattr(collection, "CHUNK", 5)
    recipe = load_dataset("babyai-goto-redball", [f"episodes={EPISODES}"])
    kill_one = KillsOne(cluster)
    outcomes = collection.collect(recipe, tmp_path / "there", engine="ray", on_progress=kill_one)
    assert len(kill_one.alive) == 2, "one was killed while there was work to do"
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


@pytest.mark.slow
@pytest.mark.parametrize("who", ["babyai-bot", "babyai-goto-redball"])
def test_a_node_that_dies_while_it_scores_changes_no_episode(cluster, tmp_path, monkeypatch, who):
    monkeypatch.setattr(expert_rollouts, "CHUNK", 5)
    settings = {"suite": "babyai-goto-redball", "episodes": EPISODES, "expert": "babyai-bot"}
    kill_one = KillsOne(cluster)
    evaluate(who, to=tmp_path / "there", engine="ray", on_progress=kill_one, **settings)
    assert len(kill_one.alive) == 2, "one was killed while there was work to do"
    evaluate(who, to=tmp_path / "here", workers=1, **settings)
    here, there = (read_json(tmp_path / name / "episodes.json", dict) for name in ("here", "there"))
    assert here == there
