"""JSON and other files that are there whole or not at all, whatever happens while they are written."""

import json
import os
from pathlib import Path
from typing import Any

from agentgym.errors import UserError


def read_json(file: Path) -> Any:
    """The values of a JSON file. Raises UserError when it is cut short."""
    try:
        return json.loads(file.read_text(encoding="utf-8"))
    except ValueError:
        raise UserError(f"{file}: is no whole JSON file; delete it, the stage that writes it makes it again") from None


def write_json(file: Path, values: Any) -> None:
    """Writes a JSON file that is there whole or not at all."""
    replace_file(file, json.dumps(values, indent=1) + "\n")


def replace_file(file: Path, text: str) -> None:
    """The file holds the text, or what it held before, whatever happens. Raises OSError."""
    replace_bytes(file, text.encode())


def replace_bytes(file: Path, content: bytes | memoryview) -> None:
    """The file holds these bytes, or what it held before, whatever happens. Raises OSError."""
    temporary = file.with_name(file.name + ".tmp")
    try:
        with temporary.open("wb") as stream:
            stream.write(content)
            stream.flush()
            os.fsync(stream.fileno())
        temporary.replace(file)
    except OSError:
        temporary.unlink(missing_ok=True)  # on a full disk its room is needed
        raise
    sync_folder(file.parent)


def sync_folder(path: Path) -> None:
    """What was renamed or removed in the folder stays so after a crash."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)
