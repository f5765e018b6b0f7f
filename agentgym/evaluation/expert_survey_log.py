"""SurveyLog: the episodes that a survey has finished, a line each, so that an interrupted one resumes.

    EXPERT.jsonl   the terms of the survey, then its episodes in the order in which they ended

A line is on disk before the next episode is taken. What a crash left of a line is forgotten. This module knows no
environment and no expert.
"""

import errno
import fcntl
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from pydantic import TypeAdapter, ValidationError

from agentgym.errors import UserError
from agentgym.files import read_json_lines, read_text, to_json
from agentgym.folders import make_folder
from agentgym.recipes import differences
from agentgym.shapes import Number


@dataclass(frozen=True)
class Played:
    """What a survey keeps of an episode; `seconds` are of a core."""

    task: str
    seed: int
    outcome: str
    total_reward: Number
    length: int
    error: str | None
    seconds: float


class SurveyLog:
    """Open for one survey at a time; `played` has every episode in it.

    Raises UserError for a journal of other terms, while another survey writes it, and when the disk is full.
    """

    def __init__(self, file: Path, terms: Mapping[str, Any]) -> None:
        self._file = file
        make_folder(file.parent)
        self._stream = file.open("ab", buffering=0)
        try:
            fcntl.flock(self._stream, fcntl.LOCK_EX | fcntl.LOCK_NB)
            self.played = self._go_on(terms)
        except BlockingIOError:
            self.close()
            raise UserError(f"{file}: another survey is writing it; wait for it to end, or give another --to") from None
        except UserError:
            self.close()
            raise

    def add(self, played: Played) -> None:
        """The episode is on disk. Raises UserError when there is no room for it."""
        self._write(asdict(played))
        self.played.append(played)

    def close(self) -> None:
        """Releases the lock."""
        self._stream.close()

    def __enter__(self) -> "SurveyLog":
        return self

    def __exit__(self, *exception: object) -> None:
        self.close()

    def _go_on(self, terms: Mapping[str, Any]) -> list[Played]:
        """The episodes that are there; after the last whole line the file ends."""
        content = read_text(self._file)
        whole = content[: content.rfind("\n") + 1]
        os.truncate(self._file, len(whole.encode()))
        lines = read_json_lines(self._file)
        if not lines:
            self._write(dict(terms))
            return []
        changed = differences(lines[0], dict(terms))
        if changed:
            raise UserError(
                f"{self._file}: holds the episodes of another survey ({changed[0]}); "
                "finish that one, give another --to, or delete the file"
            )
        try:
            return TypeAdapter(list[Played]).validate_python(lines[1:])
        except ValidationError as error:
            number = int(error.errors()[0]["loc"][0]) + 2
            raise UserError(f"{self._file}, line {number}: is not an episode of a survey; remove the line") from None

    def _write(self, values: dict[str, Any]) -> None:
        try:
            line = f"{to_json(values)}\n".encode()
            if self._stream.write(line) < len(line):  # the rest had no room
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
            os.fsync(self._stream.fileno())
        except OSError as error:
            raise UserError(
                f"{self._file}: {error.strerror or error}; the episodes in it are whole; "
                "make room and run the same command again"
            ) from None
