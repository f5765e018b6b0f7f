"""A person at an environment, with an agent beside."""

import shutil

import numpy as np
import pytest
import torch
from refusals import refusal
from tiny import TASK, model_of, tokenizer_of

from agentgym import environments, experts
from agentgym.apps.session import SEEDS, Session, keys_of, open_dataset
from agentgym.data.store import EpisodeDataset
from agentgym.policies.agent_policy import AgentPolicy
from agentgym.policies.inspection import look
from agentgym.recipes import FrameRecipe, TaskRecipe

FRAME = FrameRecipe()
TASKS = [TaskRecipe(id=TASK)]


@pytest.fixture(scope="module")
def agent(dataset):
    torch.manual_seed(0)
    return AgentPolicy(model_of(dataset), tokenizer_of(dataset))


@pytest.fixture
def session(agent):
    session = Session(TASK, frame=FRAME, agent=agent, name="tiny")
    yield session
    session.close()


def test_an_agent_without_orders_does_what_its_policy_does(session, agent):
    session.begin(seed=3)
    env, state = environments.make(TASK, frame=FRAME), None
    observation, _ = env.reset(seed=3)
    for _ in range(10):
        choice, state = AgentPolicy.predict(agent, observation, state, deterministic=True)
        assert session.view.thought.choice == choice
        assert sum(session.view.thought.probabilities) == pytest.approx(1)
        observation, *_ = env.step(choice)
        np.testing.assert_array_equal(session.act().frame, observation["frame"])


def test_a_person_who_takes_over_is_in_the_agents_history(session, agent):
    """After a person's left turn the agent thinks what it would, had it turned left itself."""
    session.begin(seed=3)
    taken = (session.view.thought.choice + 1) % 7
    seen = [session.view.frame, session.act(taken).frame]
    words = environments.encode_instruction(session.view.instruction)
    own = look(agent, {"frame": seen[0], "instruction": words}, None)
    other = agent.executed(own.state, [own.choice])
    misled = look(agent, {"frame": seen[1], "instruction": words}, other)
    assert session.view.thought.probabilities != pytest.approx(misled.probabilities, abs=1e-6)
    led = look(agent, {"frame": seen[1], "instruction": words}, agent.executed(own.state, [taken]))
    assert session.view.thought.probabilities == pytest.approx(led.probabilities, abs=1e-6)


def test_a_typed_instruction_is_what_the_agent_reads_and_what_is_kept(session):
    own = session.begin(seed=3)
    typed = session.begin(seed=3, instruction="go to the green key")
    assert (typed.instruction, typed.mission) == ("go to the green key", own.mission)
    assert typed.thought.probabilities != own.thought.probabilities
    session.act()
    assert session.keep(success=True).instruction == "go to the green key"


@pytest.mark.parametrize(
    ("actors", "expert"), [("hh", "human"), ("aa", "agent:tiny"), ("hah", "agent:tiny+human")], ids=str
)
def test_a_kept_episode_says_who_acted(session, actors, expert):
    session.begin(seed=3)
    for actor in actors:
        session.act(1 if actor == "h" else None)
    sample = session.keep()
    assert (sample.expert, len(sample), sample.seed) == (expert, len(actors), 3)
    assert (sample.terminated, sample.truncated, sample.success) == (False, False, False)


def test_an_episode_is_kept_once(session):
    session.begin(seed=3)
    assert "no step to keep" in refusal(session.keep)
    session.act(0)
    session.keep(success=True)
    assert "no step to keep" in refusal(session.keep)
    assert "the episode is over" in refusal(session.act, 0)


def test_a_solved_level_ends_the_episode(session):
    session.begin(seed=1)
    env = environments.make(TASK, frame=FRAME)
    observation, _ = env.reset(seed=1)
    expert = experts.make("babyai-bot")
    expert.start(env, 1)
    while not session.view.over:
        action = int(expert.act(observation))
        observation = env.step(action)[0]
        session.act(action)
    sample = session.keep()
    assert sample.success
    assert sample.terminated


def test_what_cannot_be_is_one_clear_line(session):
    assert "action 7: expected 0 to 6" in refusal(session.act, 7)
    assert "seed -1: expected 0 to" in refusal(session.begin, -1)
    assert "the instruction is empty" in refusal(session.begin, 3, " ")
    assert "at most 256 bytes" in refusal(session.begin, 3, "x" * 257)
    alone = Session(TASK, frame=FRAME)
    assert "there is no agent to act" in refusal(alone.act)
    alone.close()


def test_a_drawn_level_is_none_of_an_evaluation(session):
    assert SEEDS[0] <= session.begin().seed < SEEDS[1]


def test_kept_episodes_join_a_dataset_that_fits(session, recorded, tmp_path):
    data = shutil.copytree(recorded, tmp_path / "data")
    session.begin(seed=3)
    session.act(0)
    with open_dataset(data, TASKS, FRAME) as writer:
        writer.append(session.keep())
    dataset = EpisodeDataset(data)
    assert dataset.column("expert")[-2:] == ["babyai-bot", "human"]
    assert "choose another folder" in refusal(open_dataset, data, TASKS, FrameRecipe(tile_size=4))


def test_a_folder_of_something_else_is_not_touched(tmp_path):
    (tmp_path / "letter.txt").write_text("dear")
    assert "exists and is no dataset" in refusal(open_dataset, tmp_path, TASKS, FRAME)
    assert [file.name for file in tmp_path.iterdir()] == ["letter.txt"]


def test_every_action_has_a_key_of_its_own():
    assert keys_of(["left", "right", "forward", "toggle", "fire", "other"]) == {
        "left": "ArrowLeft",
        "right": "ArrowRight",
        "forward": "ArrowUp",
        "toggle": " ",
        "fire": "1",
        "other": "2",
    }
