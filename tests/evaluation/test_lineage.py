"""What an evaluation knows of its agent before anything is played: its parents, and who demonstrated its tasks."""

import pytest
from refusals import refusal
from tiny import TASK, experiment_recipe

from agentgym import environments
from agentgym.evaluation.protocol import check_seed_overlap, configure_evaluation
from agentgym.evaluation.scoring import _contradictions
from agentgym.files import write_json


def descendant_of(parent, data, folder):
    """A run whose agent started from another one."""
    write_json(folder / "recipe.json", experiment_recipe(f'model.init={{agent="{parent}"}}').model_dump(mode="json"))
    write_json(folder / "training.json", {"data": str(data)})
    return folder


def test_seeds_are_checked_against_the_agents_that_it_came_from_those_that_ship_too(demonstrations, tmp_path):
    for name in ("child", "grandchild"):
        (tmp_path / name).mkdir()
    child = descendant_of("babyai-small", demonstrations.path, tmp_path / "child")
    grandchild = descendant_of(child, demonstrations.path, tmp_path / "grandchild")
    for each in (child, grandchild):
        config = configure_evaluation(str(each), first_seed=1_000_100)
        assert config.notes == ()
        assert "of the agent that it started from)" in refusal(check_seed_overlap, config)


def test_an_agent_whose_parent_is_gone_says_what_was_not_checked(demonstrations, tmp_path):
    child = descendant_of(tmp_path / "gone", demonstrations.path, tmp_path)
    config = configure_evaluation(str(child))
    assert config.notes == (
        f"seeds are not checked against what {tmp_path / 'gone'} was trained on, which is not known here",
    )
    assert check_seed_overlap(config) == str(demonstrations.path)


def test_a_demonstrator_that_cannot_play_is_said_and_no_environment_stays_open(tmp_path, monkeypatch):
    (tmp_path / "run").mkdir()
    recipe = experiment_recipe("dataset.expert=sb3:gone.zip")
    write_json(tmp_path / "run/recipe.json", recipe.model_dump(mode="json"))
    opened, make = [], environments.make

    def counted(*arguments, **keywords):
        env = make(*arguments, **keywords)
        close, state = env.close, {"closed": 0}
        env.close = lambda: (state.update(closed=state["closed"] + 1), close())
        opened.append(state)
        return env

    monkeypatch.setattr(environments, "make", counted)
    config = configure_evaluation(str(tmp_path / "run"))
    assert config.plays[0].expert == "babyai-bot"
    assert config.notes[0].startswith(f"sb3:gone.zip, which demonstrated {TASK}, is not the reference: ")
    assert opened
    assert all(state["closed"] for state in opened)


@pytest.mark.parametrize(
    ("frame", "told"),
    [
        ("tile_size = 8", None),  # the partial view is the usual one
        ('view = "full"', "view: 'partial' -> 'full'"),
        ("tile_size = 7", "tile_size: 8 -> 7"),
    ],
)
def test_frames_that_are_made_otherwise_than_in_training_are_said(frame, told, tmp_path):
    (tmp_path / "run").mkdir()
    write_json(tmp_path / "run/recipe.json", experiment_recipe().model_dump(mode="json"))
    suite = tmp_path / "suite.toml"
    suite.write_text(f'description = "a level"\n[frame]\n{frame}\n[[tasks]]\nid = "{TASK}"\n')
    notes = configure_evaluation(str(tmp_path / "run"), suite=str(suite)).notes
    said = f"{TASK}: frames are not made as those that the agent was trained on ({told})"
    assert [note for note in notes if "frames" in note] == ([said] if told else [])


def test_a_part_may_be_scored_over_fewer_episodes_than_the_others(tmp_path):
    (tmp_path / "run").mkdir()
    parts = '{dataset="babyai-goto-redball"}, {dataset="minatar-breakout", episodes=20}'
    recipe = experiment_recipe(f"parts=[{parts}]", "evaluation.episodes=100")
    write_json(tmp_path / "run/recipe.json", recipe.model_dump(mode="json"))
    config = configure_evaluation(str(tmp_path / "run"))
    assert {play.task.id: len(config.seeds(play)) for play in config.plays} == {TASK: 100, "MinAtar/Breakout-v1": 20}
    asked = configure_evaluation(str(tmp_path / "run"), suite="minatar-breakout")
    assert [len(asked.seeds(play)) for play in asked.plays] == [20]
    more = configure_evaluation(str(tmp_path / "run"), episodes=50)
    assert {len(more.seeds(play)) for play in more.plays} == {50}
    assert _contradictions(config.cache_key, config.cache_key) == []
    assert _contradictions(asked.cache_key, {**asked.cache_key, **more.cache_key}) == []  # more episodes are played
    assert _contradictions(config.cache_key, more.cache_key) == [f"tasks.{TASK}.episodes: 100 -> 50"]
