"""A person at an environment, with an agent."""

import shutil

import gymnasium
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
    episode = session.keep()
    assert (episode.expert, len(episode), episode.seed) == (expert, len(actors), 3)
    assert (episode.terminated, episode.truncated, episode.success) == (False, False, False)


def test_a_correction_is_the_label_of_its_step_and_the_step_stays(session):
    session.begin(seed=3)
    done = [session.view.thought.choice, 2]
    session.act()
    session.correct("left")
    session.act("forward")
    session.correct("left")
    session.correct("toggle")
    episode = session.keep()
    assert (list(episode.actions), list(episode.labels)) == (done, [0, 5])
    assert episode.expert == "agent:tiny+human"
    session.begin(seed=3)
    assert "no step to correct" in refusal(session.correct, "left")
    session.act("left")
    assert session.keep().labels is None


class Shown(gymnasium.Env):
    """Shows a grey frame; ends after two steps; takes whatever is of its space."""

    observation_space = gymnasium.spaces.Box(0, 255, (16, 16, 3), np.uint8)
    render_mode = "rgb_array"

    def __init__(self, kind):
        self.action_space = SPACES[kind]

    def reset(self, *, seed=None, options=None):
        super().reset(seed=seed)
        self.taken = []
        return self.render(), {}

    def step(self, action):
        self.taken.append(action)
        return self.render(), 0.0, len(self.taken) == 2, False, {}

    def render(self):
        return np.full((16, 16, 3), 100, np.uint8)


SPACES = {
    "box": gymnasium.spaces.Box(-1, np.array([1, 2], np.float32), (2,), np.float32),
    "whole": gymnasium.spaces.Box(0, 255, (2, 1), np.uint8),
    "multidiscrete": gymnasium.spaces.MultiDiscrete([3, 2], start=[0, 5]),
    "multibinary": gymnasium.spaces.MultiBinary(3),
    "text": gymnasium.spaces.Text(3),
}


def shown_task(kind):
    return TaskRecipe(id=f"Shown-{kind}-v0", instructions=("go",))


@pytest.fixture(scope="module", autouse=True)
def shown_tasks():
    for kind in SPACES:
        gymnasium.register(f"Shown-{kind}-v0", lambda kind=kind, **_: Shown(kind))
    yield
    for kind in SPACES:
        gymnasium.registry.pop(f"Shown-{kind}-v0")


@pytest.mark.parametrize(
    ("kind", "controls", "given", "recorded", "wrong"),
    [
        ("box", "sliders", [0.5, -1], np.array([[0.5, -1]] * 2, np.float32), [0.5, 3]),
        ("whole", "sliders", [7.0, 255.0], np.array([[[7], [255]]] * 2, np.uint8), [0.5, 3]),
        ("multidiscrete", "lists", [2.0, 5.0], np.array([[2, 5]] * 2), [2, 4]),
        ("multibinary", "buttons", [1.0, 0.0, 1.0], np.array([[1, 0, 1]] * 2, np.int8), [2, 0, 0]),
    ],
)
def test_a_person_plays_other_spaces_than_discrete(kind, controls, given, recorded, wrong, tmp_path):
    task = shown_task(kind)
    session = Session(task, frame=FrameRecipe())
    assert session.controls["kind"] == controls
    for refused in (wrong, [1.0], "left"):
        assert refusal(session.act, refused).startswith("action ")
    session.act(given)
    assert session.act(given).over
    with open_dataset(tmp_path / "data", [task], FrameRecipe()) as writer:
        writer.append(session.keep())
    session.close()
    (episode,) = EpisodeDataset(tmp_path / "data")
    assert episode.actions.dtype == recorded.dtype
    np.testing.assert_array_equal(episode.actions, recorded)


def test_a_space_that_has_no_controls_is_one_line():
    line = refusal(Session, shown_task("text"), frame=FrameRecipe())
    assert "people play Discrete, MultiDiscrete, MultiBinary and Box actions" in line


@pytest.mark.parametrize("kind", ["box", "multibinary"])
def test_of_an_action_of_several_tokens_each_ones_probability_is_shown(kind, tmp_path):
    task = shown_task(kind)
    person = Session(task, frame=FrameRecipe())
    person.act([0.0] * len(SPACES[kind].sample()))
    with open_dataset(tmp_path / "data", [task], FrameRecipe()) as writer:
        writer.append(person.keep())
    dataset = EpisodeDataset(tmp_path / "data")
    torch.manual_seed(0)
    agent = AgentPolicy(model_of(dataset, task=task.id), tokenizer_of(dataset))
    session = Session(task, frame=FrameRecipe(), agent=agent, name="tiny")
    thought = session.view.thought
    action, _ = agent.predict(session._observation, deterministic=True)
    np.testing.assert_array_equal(thought.choice, action)
    assert thought.probabilities is None
    for token in thought.tokens:
        assert token.alternatives[0][0] == token.name, "the likeliest is the chosen one"
        assert sum(chance for _, chance in token.alternatives) <= 1 + 1e-6
    assert len(thought.tokens) == (2 if kind == "box" else len(np.flatnonzero(action)) + 2)
    session.act()
    assert session.act(session.view.thought.choice.ravel().tolist()).over


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
    episode = session.keep()
    assert episode.success
    assert episode.terminated


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
    assert "exists and is not a dataset" in refusal(open_dataset, tmp_path, TASKS, FRAME)
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


def test_where_a_task_does_not_say_what_success_is_an_episode_just_ends(session):
    game = Session("MinAtar/Breakout-v1", frame=FRAME)
    game.begin(seed=1)
    while not game.view.over:
        game.act("noop")
    assert game.view.success is None
    game.close()
    assert session.begin(seed=3).success is False  # a level is solved or not
