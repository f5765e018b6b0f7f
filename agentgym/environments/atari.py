"""Atari 2600 games of the Arcade Learning Environment (Bellemare et al. 2013), with its standard protocol.

Ids are `ALE/*-v5`: sticky actions 0.25, frame skip 4, rewards as they are, no end at a lost life, at most 108,000
frames (Machado et al. 2018), in Pong 65,208. A recipe's `arguments` change what is to be changed, as `gymnasium.make`
takes them: `repeat_action_probability`, `frameskip`, `full_action_space`, `max_num_frames_per_episode`, `mode`,
`difficulty`.
"""

from collections import deque
from typing import Any

import ale_py
import gymnasium
import numpy as np
from ale_py.roms import get_rom_path
from numpy.typing import NDArray
from PIL import Image

from agentgym.environments.atari_starts import Opening
from agentgym.environments.pixels import resize
from agentgym.environments.task import StepResult, Task
from agentgym.recipes import FrameRecipe, TaskRecipe

MOMENTS = 3  # steps that a frame with motion shows
# The console ends a game of Pong itself after 18 minutes: one frame later it writes the number of the game over the
# opponent's points, which the emulator takes for up to 19 points of reward.
FRAMES = {"ALE/Pong-v5": 65_208}
UNCHANGED, GAIN = 128, 8  # its levels of what did not change, and how much stronger a change is shown

ale_py.ALEInterface.setLoggerMode(ale_py.LoggerMode.Error)  # it greets on standard error otherwise


class AtariTask(Task):
    """One game. `ale` is the emulator, for experts that read its memory or search on its saved states.

    An action has one name in all games (`fire`, `upright`), so that it is one token for an agent of several games.
    """

    packages = ("ale-py",)

    def __init__(self, recipe: TaskRecipe, frame: FrameRecipe) -> None:
        arguments = {"obs_type": "ram", **recipe.arguments}  # the cheapest: the screen is read once, by `draw`
        if recipe.id in FRAMES:
            asked = arguments.get("max_num_frames_per_episode") or FRAMES[recipe.id]  # 0 is no limit
            arguments["max_num_frames_per_episode"] = min(asked, FRAMES[recipe.id])
        made = gymnasium.make(recipe.id, render_mode="rgb_array", disable_env_checker=True, **arguments).unwrapped
        assert isinstance(made, ale_py.AtariEnv)
        assert made.spec
        self._inner = made
        self.ale = made.ale
        # Of two numbers, one between them is drawn at each step.
        self.frame_skip: int | tuple[int, int] = made.spec.kwargs["frameskip"]
        self._game: str = made.spec.kwargs["game"]
        names = tuple(meaning.lower() for meaning in made.get_action_meanings())
        self._opening: Opening | None = None
        self._begins = False  # from the opening, whose screen the emulator does not have
        self._size = frame.size or self.ale.getScreenDims()
        self._shows_motion = bool(frame.motion)
        self._greys: deque[NDArray[np.int16]] = deque(maxlen=MOMENTS)  # [height, width] each, the latest first
        super().__init__(
            recipe,
            frame,
            action_space=gymnasium.spaces.Discrete(len(names)),
            action_names=names,
            frame_shape=(*self._size, 3),
            instructions=(f"play {_spoken(recipe.id)}",),
        )

    @property
    def longest(self) -> int | None:
        """By the limit of frames: 27,000 steps by the standard protocol, 16,302 in Pong."""
        skip = self.frame_skip if isinstance(self.frame_skip, int) else min(self.frame_skip)
        steps = self.ale.getInt("max_num_frames_per_episode") // skip
        return min(filter(None, (self.limit, steps)), default=None)

    def start(self, seed: int) -> None:
        """The game from its beginning; the seed decides which actions stick."""
        if self._opening is None:  # 0.2 s
            _, info = self._inner.reset(seed=seed)
            self._opening = Opening.of(self.ale, int(info["seeds"][1]))
        else:
            _, emulators = self._inner.seed_game(seed)
            self.ale.reset_game()  # which forgets the last action: it is in no saved state
            self.ale.restoreState(self._opening.state(int(emulators)))
            self._begins = True
        if self._shows_motion:
            self._greys.extendleft([self._grey()] * MOMENTS)

    def advance(self, action: Any) -> StepResult:
        """One action, held for the frames of a step."""
        self._begins = False
        _, reward, terminated, truncated, _ = self._inner.step(int(action))
        if self._shows_motion and self.drawn:
            self._greys.appendleft(self._grey())
        return StepResult(float(reward), bool(terminated), bool(truncated))

    def draw(self) -> NDArray[np.uint8]:
        """The screen, or what it shows of motion, at the recipe's size: uint8[height, width, 3]."""
        if not self._shows_motion:
            return resize(self.render(), self._size)
        now, before, earlier = self._greys
        changes = (np.clip(UNCHANGED + GAIN * change, 0, 255) for change in (now - before, before - earlier))
        return np.stack([now, *changes], axis=-1).astype(np.uint8)

    def render(self) -> NDArray[np.uint8]:
        """The screen, uint8[210, 160, 3] in most games."""
        if self._begins and self._opening:
            return self._opening.screen.copy()
        return np.asarray(self.ale.getScreenRGB(), dtype=np.uint8)

    def _grey(self) -> NDArray[np.int16]:
        """The luminance of the screen at the recipe's size, int16[height, width] in 0 to 255."""
        height, width = self._size
        grey = Image.fromarray(self.render()).convert("L")
        return np.asarray(grey.resize((width, height), Image.Resampling.BILINEAR), dtype=np.int16)

    def twin(self, *, frame_skip: int) -> ale_py.ALEInterface:
        """Another emulator of the same game, to try states of `ale` in: it takes every action at once, none sticks."""
        twin = ale_py.ALEInterface()
        twin.setInt("frame_skip", frame_skip)
        twin.setFloat("repeat_action_probability", 0.0)
        twin.setInt("random_seed", 0)  # not by the clock
        twin.loadROM(get_rom_path(self._game))
        present = self.ale.cloneState()
        twin.setDifficulty(present.getDifficulty())
        twin.setMode(present.getCurrentMode())
        return twin

    def codes(self) -> tuple[ale_py.Action, ...]:
        """What the emulator calls each action, in the order of `action_names`."""
        return tuple(getattr(ale_py.Action, name) for name in self._inner.get_action_meanings())

    def close(self) -> None:
        """Closes the environment within."""
        self._inner.close()


def _spoken(task: str) -> str:
    """`ALE/SpaceInvaders-v5` as `space invaders`."""
    name = task.removeprefix("ALE/").rpartition("-")[0]
    return "".join(f" {letter.lower()}" if letter.isupper() else letter for letter in name).strip()
