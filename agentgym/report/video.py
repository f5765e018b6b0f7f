"""One episode -> one MP4 that any browser plays.

What the agent sees, next to it the whole room where that is known, and below them the instruction and the action
chosen at each step. This module knows no environment: frames are arrays, actions are words.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8
from numpy.typing import NDArray
from PIL import Image, ImageDraw, ImageFont

from agentgym.extras import needs

with needs("report", what="writing videos"):
    import imageio.v2 as imageio
    import imageio_ffmpeg  # noqa: F401  (the program that imageio writes MP4 with)

VIEW_HEIGHT = 224  # pixels, about: small frames grow by a whole factor
MARGIN = 8
FONT = ImageFont.load_default(size=16)
LINE_HEIGHT = 22

BACKGROUND = (24, 25, 28)
INSTRUCTION_COLOR = (240, 240, 240)
STEP_COLOR = (160, 164, 172)
OUTCOME_COLORS = {"success": (96, 200, 130), "failure": (240, 120, 110)}

# Thin lines on flat colours: crf 18 keeps them, and `animation` keeps the file small. One thread, since x264 cuts a
# frame by its number of threads: the bytes must not depend on the machine's cores. The colours are BT.709 and say so;
# untagged ones are guessed, and browsers guess differently.
ENCODING = (
    *("-crf", "18", "-preset", "slow", "-tune", "animation", "-threads", "1"),
    *("-vf", "scale=out_color_matrix=bt709:out_range=tv", "-color_range", "tv"),
    *("-colorspace", "bt709", "-color_primaries", "bt709", "-color_trc", "bt709"),
    *("-movflags", "+faststart", "-fflags", "+bitexact", "-flags:v", "+bitexact"),
)


def write_video(
    path: Path,
    *,
    frames: UInt8[NDArray[np.uint8], "steps_and_last height width 3"],
    actions: Sequence[str],
    instruction: str,
    outcome: str,
    world: UInt8[NDArray[np.uint8], "steps_and_last world_height world_width 3"] | None = None,
    length: int | None = None,
    fps: int = 6,
) -> None:
    """An MP4 of the episode: each frame with the action chosen there, the last one with the outcome for a second:
    "success", "failure", or what else there is to say of it. `length` is how many steps the whole episode has, where
    only its first are shown.

    Raises ValueError unless there is one frame (and one picture of the world) more than there are actions.
    """
    views = [frames] if world is None else [frames, world]
    for view in views:
        if len(view) != len(actions) + 1:
            raise ValueError(f"{len(actions)} actions have {len(actions) + 1} frames, not {len(view)}")
    writer: Any = imageio.get_writer(
        path,
        format="FFMPEG",
        mode="I",
        fps=fps,
        codec="libx264",
        pixelformat="yuv420p",
        quality=None,  # crf decides
        macro_block_size=1,  # the sides are even; more alignment would blur them
        ffmpeg_log_level="error",
        output_params=list(ENCODING),
    )
    with writer:
        for picture in draw_episode(views, actions=actions, instruction=instruction, outcome=outcome, length=length):
            writer.append_data(picture)
        for _ in range(fps - 1):
            writer.append_data(picture)


def draw_episode(
    views: Sequence[NDArray[np.uint8]],
    *,
    actions: Sequence[str],
    instruction: str,
    outcome: str,
    length: int | None = None,
) -> Iterator[UInt8[NDArray[np.uint8], "height width 3"]]:
    """The pictures of a video, uint8[height, width, 3] for each frame, all of the same even size.

    `length` is that of the whole episode, where only its first steps are shown.
    """
    length = length or len(actions)
    height = _view_height(views[0].shape[1])
    widths = [round(view.shape[2] * height / view.shape[1]) for view in views]
    width = _even(sum(widths) + MARGIN * (len(views) + 1))
    steps = [f"step {step} of {length:,}: {action}" for step, action in enumerate(actions, start=1)]
    captions = [(wrap(step, width - 2 * MARGIN), STEP_COLOR) for step in steps]
    end = outcome if length == len(actions) else f"{outcome} after {length:,} steps"
    captions.append((wrap(end, width - 2 * MARGIN), OUTCOME_COLORS.get(outcome, INSTRUCTION_COLOR)))
    task = wrap(instruction, width - 2 * MARGIN)
    lines = len(task) + max(len(caption) for caption, _ in captions)
    size = (width, _even(height + 3 * MARGIN + lines * LINE_HEIGHT))
    for index, (caption, color) in enumerate(captions):
        canvas = Image.new("RGB", size, BACKGROUND)
        left = MARGIN
        for view, view_width in zip(views, widths, strict=True):
            canvas.paste(_resize(view[index], view_width, height), (left, MARGIN))
            left += view_width + MARGIN
        draw, top = ImageDraw.Draw(canvas), height + 2 * MARGIN
        for line, fill in [(line, INSTRUCTION_COLOR) for line in task] + [(line, color) for line in caption]:
            draw.text((MARGIN, top), line, font=FONT, fill=fill)
            top += LINE_HEIGHT
        yield np.asarray(canvas)


def wrap(text: str, width: int) -> list[str]:
    """The text in lines of at most `width` pixels; only a word that is wider than a line is broken."""
    lines = [""]
    for word in text.split():
        longer = f"{lines[-1]} {word}".lstrip()
        if FONT.getlength(longer) <= width:
            lines[-1] = longer
            continue
        if lines[-1]:
            lines.append("")
        for letter in word:
            if FONT.getlength(lines[-1] + letter) > width:
                lines.append("")
            lines[-1] += letter
    return lines


def _view_height(height: int) -> int:
    """About VIEW_HEIGHT: a whole multiple of a small frame's height, so that its pixels stay square and equal."""
    return VIEW_HEIGHT if height > VIEW_HEIGHT else height * round(VIEW_HEIGHT / height)


def _resize(picture: NDArray[np.uint8], width: int, height: int) -> Image.Image:
    """Enlarged by nearest neighbour; made smaller by averaging, for nearest neighbour would drop whole grid lines."""
    smaller = height < picture.shape[0]
    return Image.fromarray(picture).resize(
        (width, height), Image.Resampling.BOX if smaller else Image.Resampling.NEAREST
    )


def _even(length: int) -> int:
    """The length, or one more: yuv420p halves both sides."""
    return length + length % 2
