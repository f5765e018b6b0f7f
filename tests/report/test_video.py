"""What an episode's video shows, and that a browser can play it."""

from pathlib import Path

import imageio.v2 as imageio
import numpy as np
import pytest
from numpy.typing import NDArray

from agentgym.report.video import BACKGROUND, FONT, MARGIN, VIEW_HEIGHT, draw_episode, wrap, write_video

# imageio's reader, which only these tests use, leaves its pipes to the garbage collector.
pytestmark = pytest.mark.filterwarnings("ignore:unclosed file:ResourceWarning")

LONG = "put the purple box next to the green key that is behind you and then open the door in front of you " * 3


def an_episode(steps: int = 3, side: int = 7) -> NDArray[np.uint8]:
    """Frames of one colour each, brighter with every step."""
    brightness = np.arange(steps + 1, dtype=np.uint8) * 40 + 60
    return np.broadcast_to(brightness[:, None, None, None], (steps + 1, side, side, 3)).copy()


def write_and_read(path: Path, frames: NDArray[np.uint8], **changes: object) -> NDArray[np.uint8]:
    episode = {"actions": ["left"] * (len(frames) - 1), "instruction": "go to the red ball", "outcome": "success"}
    write_video(path, frames=frames, **{**episode, **changes})
    with imageio.get_reader(path) as reader:
        return np.stack([picture for picture in reader])  # noqa: C416 (the reader's length is unknown, list() trips on it)


def test_a_video_has_each_frame_once_and_the_last_one_for_a_second(tmp_path):
    video = write_and_read(tmp_path / "a.mp4", an_episode(steps=3), fps=5)
    assert len(video) == 3 + 5
    middle = video[:, MARGIN + VIEW_HEIGHT // 2, MARGIN + VIEW_HEIGHT // 2].astype(int)
    expected = np.array([60, 100, 140, 180, 180, 180, 180, 180])
    assert np.abs(middle - expected[:, None]).max() <= 3  # what lossy coding changes


@pytest.mark.parametrize(("side", "world_side"), [(7, None), (9, 15), (56, 256), (57, 61), (301, 77)])
def test_the_sides_of_a_video_are_even(tmp_path, side, world_side):
    world = None if world_side is None else an_episode(steps=1, side=world_side)
    video = write_and_read(tmp_path / "a.mp4", an_episode(steps=1, side=side), world=world, fps=1)
    assert video.shape[1] % 2 == 0
    assert video.shape[2] % 2 == 0


def test_a_video_says_that_it_is_what_browsers_play(tmp_path):
    path = tmp_path / "a.mp4"
    write_and_read(path, an_episode())
    with imageio.get_reader(path) as reader:
        found = reader.get_meta_data()
    assert found["codec"] == "h264"
    assert found["pix_fmt"].startswith("yuv420p(tv, bt709")
    assert found["fps"] == 6


def test_writing_a_video_twice_gives_the_same_bytes(tmp_path):
    for name in ("a.mp4", "b.mp4"):
        write_and_read(tmp_path / name, an_episode())
    assert (tmp_path / "a.mp4").read_bytes() == (tmp_path / "b.mp4").read_bytes()


def test_a_small_frame_grows_by_a_whole_factor(tmp_path):
    frames = np.random.default_rng(0).integers(0, 256, (2, 56, 56, 3), dtype=np.uint8)
    picture = next(draw_episode([frames], actions=["left"], instruction="", outcome="failure"))
    shown = picture[MARGIN : MARGIN + 224, MARGIN : MARGIN + 224]
    np.testing.assert_array_equal(shown, frames[0].repeat(4, axis=0).repeat(4, axis=1))


def test_a_thin_line_of_a_large_world_stays_visible():
    world = np.zeros((1, 704, 704, 3), np.uint8)
    world[:, ::32] = 255
    picture = next(draw_episode([an_episode(0, 56), world], actions=[], instruction="", outcome="success"))
    column = picture[MARGIN : MARGIN + 224, -MARGIN - 50, 0]
    assert np.count_nonzero(column > 60) >= 704 // 32


@pytest.mark.parametrize("text", ["go to the red ball", LONG, "a" * 300, "left " + "b" * 90 + " right", ""])
@pytest.mark.parametrize("width", [60, 208, 456])
def test_every_line_of_a_wrapped_text_fits_and_no_letter_is_lost(text, width):
    lines = wrap(text, width)
    assert all(FONT.getlength(line) <= width for line in lines)
    assert "".join(lines).replace(" ", "") == text.replace(" ", "")


@pytest.mark.parametrize("instruction", [LONG, "j" * 200 + " gypq"])
def test_a_long_instruction_makes_a_taller_video_whose_margins_stay_empty(instruction):
    short, *_ = draw_episode([an_episode()], actions=["left"] * 3, instruction="go", outcome="success")
    pictures = list(draw_episode([an_episode()], actions=["left"] * 3, instruction=instruction, outcome="success"))
    assert pictures[0].shape[0] > short.shape[0]
    for picture in pictures:
        caption = picture[MARGIN + VIEW_HEIGHT + 1 :]
        for edge in (caption[:, : MARGIN - 2], caption[:, -MARGIN + 2 :], caption[-2:]):
            np.testing.assert_array_equal(edge, np.broadcast_to(BACKGROUND, edge.shape))


def test_each_step_has_its_own_caption_and_the_outcome_its_own_color():
    frames = np.zeros((4, 7, 7, 3), np.uint8)
    pictures = list(draw_episode([frames], actions=["left", "left", "forward"], instruction="go", outcome="failure"))
    assert len({picture.tobytes() for picture in pictures}) == 4
    reddest = [int((picture[..., 0].astype(int) - picture[..., 1]).max()) for picture in pictures]
    assert max(reddest[:3]) <= 0 < reddest[3]


def test_a_video_of_the_first_steps_says_how_long_the_episode_was(monkeypatch):
    written = []
    monkeypatch.setattr("agentgym.report.video.wrap", lambda text, width: written.append(text) or [text])
    frames = np.zeros((3, 7, 7, 3), np.uint8)
    list(draw_episode([frames], actions=["left"] * 2, instruction="go", outcome="return 58", length=1200))
    assert written == ["step 1 of 1,200: left", "step 2 of 1,200: left", "return 58 after 1,200 steps", "go"]


def test_as_many_frames_as_actions_are_refused(tmp_path):
    with pytest.raises(ValueError, match="3 actions have 4 frames, not 3"):
        write_and_read(tmp_path / "a.mp4", an_episode(steps=2), actions=["left"] * 3)
    assert not (tmp_path / "a.mp4").exists()


def test_a_world_of_another_length_is_refused(tmp_path):
    with pytest.raises(ValueError, match="3 actions have 4 frames, not 3"):
        write_and_read(tmp_path / "a.mp4", an_episode(steps=3), world=an_episode(steps=2))
