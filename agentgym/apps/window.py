"""A window in which a person plays a task with the keyboard, and keeps episodes as demonstrations.

The window is pygame's; what is played and kept is a `Session`'s, as in the playground.
"""

from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from agentgym.apps.session import Session, SessionView, open_dataset
from agentgym.data.store import DatasetWriter
from agentgym.errors import UserError
from agentgym.extras import needs
from agentgym.recipes import FrameRecipe, TaskRecipe
from agentgym.report.video import wrap

SIDE = 384  # pixels of each of the two pictures
LINE = 24
MARGIN = 12
COLORS = {"ground": (24, 25, 28), "text": (236, 238, 241), "quiet": (160, 164, 172), "good": (96, 200, 130)}
SYMBOLS = {"ArrowLeft": "left", "ArrowRight": "right", "ArrowUp": "up", "ArrowDown": "down", " ": "space"}
SYMBOLS |= {"Enter": "return"}


def play_in_window(task: str, *, record: Path | None = None, seed: int | None = None) -> int:
    """Plays until the window is closed or Escape is pressed; how many episodes were kept. Raises UserError.

    A solved episode is kept automatically; K keeps the current one, N begins another level.
    """
    with needs("play", what="playing in a window"):
        import pygame
    if Path(task).is_dir():
        raise UserError(
            f"{task}: is a folder, no task's id; to play with an agent, open it as a page: agentgym playground {task}"
        )
    frame = FrameRecipe()
    session = Session(task, frame=frame)
    if session.controls["kind"] != "choices":
        raise UserError(f"{task}: the window is for Discrete actions; 'agentgym playground' takes others too")
    writer = open_dataset(record, [TaskRecipe(id=task)], frame) if record else None
    try:
        session.begin(seed)
        return _Window(pygame, session, writer).run()
    finally:
        session.close()
        pygame.quit()
        if writer:
            writer.close()


class _Window:
    """The window, the keys and how many episodes were kept."""

    def __init__(self, pygame: Any, session: Session, writer: DatasetWriter | None) -> None:
        pygame.display.init()
        pygame.font.init()
        self._pygame, self._session, self._writer = pygame, session, writer
        symbols = {name: SYMBOLS.get(key, key) for name, key in session.controls["keys"].items() if key}
        self._actions = {pygame.key.key_code(symbol): name for name, symbol in symbols.items()}
        self._help = " · ".join(f"{symbol}: {name}" for name, symbol in symbols.items())
        self._kept = 0
        self._said = ""
        pygame.display.set_caption(f"agentgym · {session.task}")
        self._font = pygame.font.Font(None, 24)
        self._screen = pygame.display.set_mode((2 * SIDE + 3 * MARGIN, SIDE + 2 * MARGIN + 6 * LINE))

    def run(self) -> int:
        """Until it is closed; how many episodes were kept."""
        pygame = self._pygame
        self._draw(self._session.view)
        while True:
            event = pygame.event.wait()
            if event.type == pygame.QUIT or (event.type == pygame.KEYDOWN and event.key == pygame.K_ESCAPE):
                return self._kept
            if event.type == pygame.KEYDOWN:
                self._press(event.key)
                self._draw(self._session.view)

    def _press(self, key: int) -> None:
        view = self._session.view
        if key in self._actions and not view.over:
            self._said = ""
            view = self._session.act(self._actions[key])
            if view.over and view.success:
                self._keep()
        elif key == self._pygame.K_k:
            self._keep()
        elif key == self._pygame.K_n or (view.over and key in self._actions):
            self._said = ""
            self._session.begin()

    def _keep(self) -> None:
        if self._writer is None:
            self._said = "nothing is recorded; start with --record data/NAME"
            return
        try:
            self._writer.append(self._session.keep())
        except UserError as error:
            self._said = str(error)
            return
        self._kept += 1
        self._said = f"kept, {self._kept} in all"

    def _draw(self, view: SessionView) -> None:
        self._screen.fill(COLORS["ground"])
        for column, picture in enumerate((view.frame, view.world)):
            surface = self._pygame.surfarray.make_surface(_square(picture).swapaxes(0, 1))
            self._screen.blit(surface, (MARGIN + column * (SIDE + MARGIN), MARGIN))
        outcome = "solved" if view.success else f"over, return {view.total_reward:.2f}"
        if view.success is False:
            outcome = "over, not solved"
        lines = [(line, "text") for line in wrap(view.instruction, 2 * SIDE)[:2]]
        lines.append((f"seed {view.seed} · step {view.step}" + (f" · {outcome}" if view.over else ""), "quiet"))
        lines += [(self._help, "quiet"), ("K: keep · N: next level · escape: end", "quiet"), (self._said, "good")]
        for row, (text, color) in enumerate(lines):
            place = (MARGIN, SIDE + 2 * MARGIN + row * LINE)
            self._screen.blit(self._font.render(text, True, COLORS[color]), place)
        self._pygame.display.flip()


def _square(picture: np.ndarray) -> np.ndarray:
    """SIDE x SIDE pixels, black where the picture is not square."""
    image = Image.fromarray(picture)
    scale = SIDE / max(image.size)
    image = image.resize((round(image.width * scale), round(image.height * scale)), Image.Resampling.NEAREST)
    canvas = Image.new("RGB", (SIDE, SIDE))
    canvas.paste(image, ((SIDE - image.width) // 2, (SIDE - image.height) // 2))
    return np.asarray(canvas)
