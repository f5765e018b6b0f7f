"""What an agent made of an episode is what it acted on."""

import json

import numpy as np
import pytest
import torch
from tiny import TASK, model_of, tokenizer_of

from agentgym.evaluation.protocol import Play
from agentgym.evaluation.results import replay_frames
from agentgym.evaluation.rollouts import rollout
from agentgym.model.vision import FrameSize
from agentgym.policies.agent_policy import AgentPolicy
from agentgym.policies.attribution import explain, spoke_for
from agentgym.policies.sampling import TemperatureSampler, softmax
from agentgym.recipes import BudgetRecipe, FrameRecipe, load_suite
from agentgym.report import episode_videos


class Listening(TemperatureSampler):
    """Keeps the probabilities that it chose by."""

    def choose(self, logits):
        self.heard = [*getattr(self, "heard", []), softmax(logits)]
        return super().choose(logits)


@pytest.fixture(scope="module")
def agent(dataset):
    torch.manual_seed(0)
    return model_of(dataset, window=6), tokenizer_of(dataset)


@pytest.fixture(scope="module")
def played(agent):
    """An episode longer than the window, and the probabilities that the policy had at each step."""
    sampler = Listening(temperature=1e-6)
    policy = AgentPolicy(*agent, sampler=sampler)
    (episode,) = rollout(policy, TASK, frame=FrameRecipe(), seeds=[5], num_environments=1, deterministic=False)
    return episode, np.concatenate(sampler.heard)


def test_the_probabilities_are_those_that_the_policy_acted_on(agent, played):
    episode, heard = played
    seen, _ = replay_frames(episode, TASK, FrameRecipe())
    found = explain(*agent, episode.instruction, seen[:-1], np.array(episode.actions))
    assert len(found.probabilities) == episode.length > 32  # more than one batch
    np.testing.assert_allclose(found.probabilities, heard, atol=2e-5)


@pytest.fixture
def one_patch_read(dataset):
    """An agent whose projector reads one patch, row 1, column 2, and whose encoder's attention adds nothing."""
    torch.manual_seed(0)
    model = model_of(dataset, window=6)
    with torch.no_grad():
        read = torch.zeros_like(model.projector.weight).unflatten(1, (49, -1))
        read[:, 1 * 7 + 2] = torch.randn(read[:, 0].shape)
        model.projector.weight.copy_(read.flatten(1))
        for block in model.vision_encoder.transformer.blocks:
            block.attention_out.weight.zero_()
    return model, tokenizer_of(dataset)


def frames_of(count):
    return np.random.default_rng(0).integers(0, 256, (count, 56, 56, 3), np.uint8)


def test_a_map_is_on_the_patch_that_the_action_was_read_from(one_patch_read):
    patches = explain(*one_patch_read, "go to the red ball", frames_of(6), np.arange(6)).patches
    spoke = patches.sum((1, 2)) > 0  # for the action; elsewhere the frame spoke against it, and the map is empty
    expected = np.zeros((7, 7))
    expected[1, 2] = 1
    assert spoke.any()
    for found in patches[spoke]:
        np.testing.assert_allclose(found, expected, atol=1e-6)


def test_what_a_patch_looked_at_has_its_part_by_hand():
    """The first patch looks at both, the second at itself; what was taken is the first one's feature, 4."""
    values = torch.tensor([[0.0], [3.0], [5.0]])  # of the start token and two patches
    attention = torch.tensor([[[[1.0, 0, 0], [0, 0.5, 0.5], [0, 0, 1]]]], requires_grad=True)
    features = (attention[:, 0] @ values)[:, 1:]
    share = spoke_for(features[0, 0].sum(), features, [attention])
    assert share.tolist() == [[0.0, 4 + 4 * 1.5, 4 * 2.5]]


def test_a_map_is_a_share_for_each_patch_and_drawing_it_changes_nothing(agent):
    found = [explain(*agent, "go to the red ball", frames_of(5), np.arange(5)) for _ in range(2)]
    shares = found[0].patches.sum((1, 2))
    assert ((abs(shares - 1) < 1e-5) | (shares == 0)).all()
    assert (found[0].patches >= 0).all()
    np.testing.assert_array_equal(found[0].patches, found[1].patches)


def test_a_video_holds_what_was_seen_done_and_thought_and_ends_early(agent, played, tmp_path, monkeypatch):
    monkeypatch.setattr(episode_videos, "VIDEO_STEPS", 9)
    episode, heard = played
    agent[0].save_pretrained(tmp_path / "model")
    agent[1].save_pretrained(tmp_path / "model")
    suite = load_suite("babyai-goto-redball")
    plays = {task.id: Play(suite.name, task, suite.frame, None, BudgetRecipe()) for task in suite.tasks}
    episode_videos.write_videos(tmp_path / "videos", [episode], plays, tmp_path / "model")
    (video,) = json.loads((tmp_path / "videos" / "videos.json").read_text())
    assert (video["seed"], video["length"], video["actions"]) == (5, episode.length, list(episode.actions[:9]))
    np.testing.assert_allclose(video["probabilities"], heard[:9], atol=1e-4)
    assert {file.name for file in (tmp_path / "videos").iterdir()} == {
        *("videos.json", video["file"], video["seen"]["file"], video["world"]["file"])
    }


def test_a_sheet_has_the_frames_below_each_other_in_their_own_colours(monkeypatch):
    monkeypatch.setattr(episode_videos, "SHEET_HEIGHT", 16)
    frames = np.random.default_rng(0).integers(0, 256, (5, 8, 4, 3), np.uint8)
    picture, rows, columns = episode_videos.draw_sheet(frames)
    assert (rows, columns) == (2, 3)
    pixels = np.asarray(picture.convert("RGB"))
    for number, frame in enumerate(frames):
        top, left = number % rows * 8, number // rows * 4
        np.testing.assert_array_equal(pixels[top : top + 8, left : left + 4], frame)


def test_failures_and_successes_share_the_videos():
    class Played:
        def __init__(self, success, task=TASK):
            self.success, self.task = success, task

    played = [Played(success) for success in (True, True, False, True, True)]
    assert [episode.success for episode in episode_videos.choose(played, 4)] == [False, True, True, True]
    others = [Played(True, f"Other-{number}-v0") for number in range(5)]
    assert [episode.task for episode in episode_videos.choose([*played, *others], 2)] == [
        TASK,
        *(episode.task for episode in others),
    ]  # one of each at least


def test_a_map_covers_the_frame_and_not_its_black_margin(agent):
    model, tokenizer = agent
    whole = explain(model, tokenizer, "go to the red ball", frames_of(2), np.arange(2)).patches
    side = model.frame_side
    before, model.frame_size = model.frame_size, FrameSize(side, completes=True)
    try:
        nearly, small = (
            explain(model, tokenizer, "go to the red ball", np.zeros((2, length, length, 3), np.uint8), np.arange(2))
            for length in (side - 1, 8)
        )
    finally:
        model.frame_size = before
    assert nearly.patches.shape == whole.shape
    assert small.patches.shape == (2, 1, 1)
