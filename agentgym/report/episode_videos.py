"""Videos of an evaluation's episodes, for people's players and for the page.

    videos/OUTCOME-TASK-SEED.mp4          any player plays it
    videos/OUTCOME-TASK-SEED-seen.png     what the agent saw, one frame below the other; -world.png the whole room
    videos/videos.json                    what is in which video; of an agent, all probabilities and where it looked

A video ends after VIDEO_STEPS steps and says how long the episode was. This module knows no scores.
"""

import shutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import UInt8
from numpy.typing import NDArray
from PIL import Image

from agentgym import environments
from agentgym.evaluation.protocol import EvaluationConfig, Play
from agentgym.evaluation.results import RolloutResult, replay_frames
from agentgym.evaluation.stored import read_episodes
from agentgym.files import write_json, writing
from agentgym.policies.agent_policy import AgentPolicy, find_checkpoint
from agentgym.policies.attribution import METHOD, Explanation, explain
from agentgym.recipes import FrameRecipe, TaskRecipe
from agentgym.report.video import write_video
from agentgym.spaces import Integers, SpaceCodec, values

VIDEO_STEPS = 240
WORLD_SIDE = 176  # pixels, at most: the page shows the room small
SHEET_HEIGHT = 8192  # pixels: browsers draw no picture of more than 16,384


@dataclass(frozen=True)
class Sheet:
    """Where the frames of a video are in its picture: frame i in row i % rows of column i // rows."""

    file: str
    rows: int
    columns: int


def write_videos(
    folder: Path,
    episodes: Sequence[RolloutResult],
    plays: Mapping[str, Play],
    checkpoint: Path | None,
    on_progress: Callable[[int], None] = lambda count: None,
) -> None:
    """Makes videos of those episodes in `folder`; with an agent's checkpoint, also its probabilities and attributions.

    `on_progress(1)` follows each video. Earlier videos stay until the new ones are whole.
    """
    temporary = folder.with_name(folder.name + ".tmp")
    shutil.rmtree(temporary, ignore_errors=True)
    with writing(folder):
        temporary.mkdir(parents=True)
        agent = AgentPolicy.from_pretrained(checkpoint) if checkpoint else None
        videos = []
        for episode in episodes:
            task, frame = plays[episode.task].task, plays[episode.task].frame
            seen, world = replay_frames(episode, task, frame, steps=VIDEO_STEPS)
            space = _space_of(task, frame)
            names, places = _named(space, episode.actions[:VIDEO_STEPS])
            explanation = _explain(agent.playing(space, task.id), episode, seen, places) if agent else None
            judged = episode.success or environments.declares_success(task)
            outcome = ("success" if episode.success else "failure") if judged else "return"
            videos.append(_write_video(temporary, episode, outcome, names, places, seen, world, explanation))
            on_progress(1)
        write_json(temporary / "videos.json", videos)
        shutil.rmtree(folder, ignore_errors=True)
        temporary.rename(folder)


def write_evaluation_videos(config: EvaluationConfig, *, again: bool = False) -> None:
    """Videos of some failures and successes of who was scored, into the evaluation's folder, unless they are there."""
    if not config.protocol.videos or ((config.folder / "videos" / "videos.json").is_file() and not again):
        return
    write_videos_of(config)


def write_videos_of(config: EvaluationConfig, on_progress: Callable[[int], None] = lambda count: None) -> None:
    """Makes videos of as many of the evaluated episodes as the protocol says, and of one of each task at least."""
    played = [
        RolloutResult.from_json(values) for values in read_episodes(config.folder / "episodes.json").get("agent", ())
    ]
    player = config.policy
    checkpoint = find_checkpoint(player.path) if player.kind == "agent" and player.path else None
    plays = {play.task.id: play for play in config.plays}
    write_videos(config.folder / "videos", choose(played, config.protocol.videos), plays, checkpoint, on_progress)


def choose(played: Sequence[RolloutResult], count: int) -> list[RolloutResult]:
    """As many of each task, and of each one at least, its failures before its successes.

    Where none succeeded they are the lowest and highest returns.
    """
    tasks = list(dict.fromkeys(episode.task for episode in played))
    count = max(count, len(tasks))
    of_task = [choose_of_task([e for e in played if e.task == task], -(-count // len(tasks))) for task in tasks]
    turns = [each[place] for place in range(count) for each in of_task if place < len(each)][:count]
    return sorted(turns, key=lambda episode: tasks.index(episode.task))


def choose_of_task(played: Sequence[RolloutResult], count: int) -> list[RolloutResult]:
    """The first failures and successes, half of each; fewer failures leave more places for successes."""
    if not any(episode.success for episode in played):
        ranked = sorted(played, key=lambda episode: episode.total_reward)
        return ranked if len(ranked) <= count else [*ranked[: (count + 1) // 2], *ranked[len(ranked) - count // 2 :]]
    failures = [episode for episode in played if not episode.success][: (count + 1) // 2]
    successes = [episode for episode in played if episode.success][: count - len(failures)]
    return [*failures, *successes]


def draw_sheet(
    frames: UInt8[NDArray[np.uint8], "frames height width 3"],
) -> tuple[Image.Image, int, int]:
    """One picture of all frames, its rows and columns. Columns, for PNG then finds in a frame what the last one had."""
    count, height, width = frames.shape[:3]
    rows = min(count, max(1, SHEET_HEIGHT // height))
    columns = -(-count // rows)
    padded = np.zeros((rows * columns, height, width, 3), np.uint8)
    padded[:count] = frames
    grid = padded.reshape(columns, rows * height, width, 3).swapaxes(0, 1).reshape(rows * height, columns * width, 3)
    return _with_palette(np.ascontiguousarray(grid)), rows, columns


def _space_of(task: TaskRecipe, frame: FrameRecipe) -> SpaceCodec:
    env = environments.make(task, frame=frame)
    space = SpaceCodec.of(env.action_space, env.action_names)
    env.close()
    return space


def _named(space: SpaceCodec, actions: Sequence[Any]) -> tuple[Sequence[str], list[int]]:
    """Names, and which of them each action has: all names of a Discrete space, else what was done as text."""
    root = space.root
    if isinstance(root, Integers) and root.shape is None:
        return root.names[0], [int(action) - root.starts[0] for action in actions]
    texts = [values.name(root, action) for action in actions]
    names = list(dict.fromkeys(texts))
    return names, [names.index(text) for text in texts]


def _explain(
    policy: AgentPolicy, episode: RolloutResult, seen: NDArray[np.uint8], places: list[int]
) -> Explanation | None:
    """None for actions that have no one distribution to show, and for agents that read clips."""
    root = policy.domain.space.root
    if not isinstance(root, Integers) or root.shape is not None or policy.model.vision_encoder.temporal is not None:
        return None
    actions = np.array(places, np.int64)
    return explain(policy.model, policy.tokenizer, episode.instruction, seen[:-1], actions, policy.domain)


def _write_video(
    folder: Path,
    episode: RolloutResult,
    outcome: str,
    names: Sequence[str],
    places: list[int],
    seen: NDArray[np.uint8],
    world: NDArray[np.uint8],
    explanation: Explanation | None,
) -> dict[str, Any]:
    stem = f"{outcome}-{episode.task.replace('/', '-')}-{episode.seed}"
    write_video(
        folder / f"{stem}.mp4",
        frames=seen,
        world=world,
        actions=[names[place] for place in places],
        instruction=episode.instruction,
        outcome=f"return {episode.total_reward:g}" if outcome == "return" else outcome,
        length=episode.length,
    )
    video = {
        "file": f"{stem}.mp4",
        **episode.to_json(),
        "actions": places,
        "action_names": list(names),
        "seen": _write_sheet(folder, f"{stem}-seen.png", seen),
        "world": _write_sheet(folder, f"{stem}-world.png", _small(world)),
    }
    if explanation is None:
        return video
    return {
        **video,
        "method": METHOD,
        "probabilities": _rounded(explanation.probabilities),
        "patches": _rounded(explanation.patches.reshape(len(explanation.patches), -1)),
    }


def _write_sheet(folder: Path, file: str, frames: NDArray[np.uint8]) -> dict[str, Any]:
    picture, rows, columns = draw_sheet(frames)
    picture.save(folder / file, optimize=True)
    return vars(Sheet(file, rows, columns))


def _small(world: UInt8[NDArray[np.uint8], "frames height width 3"]) -> NDArray[np.uint8]:
    """At most WORLD_SIDE pixels high and wide, by averaging squares of pixels."""
    factor = -(-max(world.shape[1:3]) // WORLD_SIDE)
    size = (world.shape[2] // factor, world.shape[1] // factor)
    return np.stack([np.asarray(Image.fromarray(each).resize(size, Image.Resampling.BOX)) for each in world])


def _with_palette(picture: NDArray[np.uint8]) -> Image.Image:
    """The same colours, in a third of the bytes where there are no more than 256 of them."""
    codes = picture.astype(np.uint32) @ np.array([65536, 256, 1], np.uint32)
    colors, places = np.unique(codes, return_inverse=True)
    if len(colors) > 256:
        return Image.fromarray(picture)
    image = Image.fromarray(places.reshape(codes.shape).astype(np.uint8), mode="P")
    image.putpalette(np.stack([colors >> 16, colors >> 8 & 255, colors & 255], axis=1).astype(np.uint8).tobytes())
    return image


def _rounded(values: NDArray[np.float32]) -> list[list[float]]:
    return [[round(float(value), 4) for value in row] for row in values]
