"""References are the same whoever is scored: they are taken from another evaluation that played alike."""

import json
from pathlib import Path

import pytest
from refusals import refusal

from agentgym.evaluation import scoring


@pytest.fixture
def played(monkeypatch):
    """What is played, as (role, task, seeds)."""
    found, play_role = [], scoring.play_role

    def play(config, play, role, seeds, *others):
        found.append((role, play.task.id, list(seeds)))
        return play_role(config, play, role, seeds, *others)

    monkeypatch.setattr(scoring, "play_role", play)
    return found


def test_they_are_not_played_again_and_the_scores_are_the_same(scored, played, tmp_path):
    scored("random", "other")
    alone = scored("babyai-bot", "alone")
    played.clear()
    assert scored("babyai-bot", "beside", references=tmp_path / "other") == alone
    assert {role for role, _, _ in played} == {"agent"}
    episodes = [json.loads((tmp_path / name / "episodes.json").read_text()) for name in ("alone", "beside")]
    assert episodes[0] == episodes[1]


def test_only_what_it_lacks_is_played(scored, played, tmp_path):
    scored("random", "other")
    played.clear()
    more = scored("babyai-bot", "more", references=tmp_path / "other", episodes=3)
    assert {(role, tuple(seeds)) for role, _, seeds in played if role != "agent"} == {
        (role, (2,))
        for role in ("random", "constant", "repeat")  # the bot is its own reference
    }
    assert more["tasks"] == scored("babyai-bot", "whole", episodes=3)["tasks"]


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ("none", "other: holds no evaluation; 'agentgym evaluate' makes one"),
        ("frame", "played no task in this way (BabyAI-GoToRedBall-v0: frame.tile_size: 4 -> None)"),
        ("version", "played no task in this way (BabyAI-GoToRedBall-v0: minigrid 3.2.0 is installed now)"),
    ],
)
def test_those_of_another_task_frame_or_package_are_refused(scored, tmp_path, suite, change, said):
    (tmp_path / "small.toml").write_text(Path(suite).read_text() + "[frame]\ntile_size = 4\n")
    if change != "none":
        scored("random", "other", suite=str(tmp_path / "small.toml") if change == "frame" else suite)
    if change == "version":
        file = tmp_path / "other/evaluation.json"
        values = json.loads(file.read_text())
        file.write_text(json.dumps({**values, "versions": {**values["versions"], "minigrid": "3.1.0"}}))
    assert said in refusal(scored, "babyai-bot", "refused", references=tmp_path / "other")
    assert not (tmp_path / "refused" / "episodes.json").exists()
