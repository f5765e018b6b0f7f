"""Files that are written whole or not at all, and read with care: they may be cut short, huge, or not regular files.

Reading raises UserError with the file's name. Writing raises OSError with the file's name when the disk is full or may
not be written to, whichever library writes (`writing`); the command line says either in one line.
"""

import errno
import json
import os
import re
import shutil
import stat
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from agentgym.errors import UserError, first_line

LARGEST_SETTINGS = 2**26  # bytes of a recipe, a configuration, a manifest
LARGEST = 2**31  # bytes of any other text that is read whole, such as the episodes of an evaluation
ROOM = 2**20  # bytes; with less a disk is full
REMEDIES = {  # for what a disk refuses
    errno.ENOSPC: "make room and run the same command again",
    errno.EDQUOT: "make room and run the same command again",
    errno.EACCES: "choose another folder, or change who may write there",
    errno.EPERM: "choose another folder, or change who may write there",
    errno.EROFS: "choose another folder",
}


def read_text(file: Path, *, most: int = LARGEST) -> str:
    """The text of a file. Raises UserError when it is missing, too large, no UTF-8, a folder, a pipe or a device."""
    check_file(file, most=most)
    try:
        return file.read_text(encoding="utf-8")
    except UnicodeDecodeError as error:
        raise UserError(f"{file}: is not text ({error})") from None
    except OSError as error:
        raise UserError(f"{file}: cannot be read: {error.strerror or error}") from None


def check_file(file: Path, *, most: int | None = None) -> None:
    """Raises UserError unless it is a file that has an end: of a pipe or a device no one knows when it comes."""
    try:
        found = file.stat()
    except (OSError, ValueError) as error:  # the latter for a name with a zero byte
        reason = "there is no such file" if isinstance(error, FileNotFoundError) else first_line(error)
        raise UserError(f"{file}: {reason}") from None
    if not stat.S_ISREG(found.st_mode):
        raise UserError(f"{file}: is a {'folder' if stat.S_ISDIR(found.st_mode) else 'pipe or a device'}, not a file")
    if most is not None and found.st_size > most:
        raise UserError(f"{file}: has {found.st_size:,} bytes; at most {most:,} are read")


def read_json(file: Path, kind: type[dict[Any, Any]] | type[list[Any]] | None = None, *, most: int = LARGEST) -> Any:
    """The values of a JSON file, of that kind (dict, list). Raises UserError when it is cut short or of another."""
    return parse_json(read_text(file, most=most), file, kind)


def parse_json(text: str | bytes, where: object, kind: type[dict[Any, Any]] | type[list[Any]] | None = None) -> Any:
    """The values of a JSON text, of that kind. Raises UserError that says where the text is."""
    try:
        values = json.loads(text)
    except RecursionError:
        raise UserError(f"{where}: is nested too deeply to be read") from None
    except ValueError as error:  # cut short, an integer of five thousand digits, no UTF-8
        raise UserError(
            f"{where}: is not whole JSON ({error}); delete it, the command that writes it makes it again"
        ) from None
    if kind is not None and not isinstance(values, kind):
        expected = "an object" if kind is dict else "a list"
        raise UserError(f"{where}: holds {_kind_of(values)}, expected {expected}; delete it, or make it again")
    return values


def _kind_of(values: Any) -> str:
    names = {dict: "an object", list: "a list", str: "a text", bool: "a truth value", type(None): "null"}
    return names.get(type(values), "a number")


@contextmanager
def understanding(*folders: object) -> Iterator[None]:
    """Raises UserError when the block finds values from those folders not to be as they were written.

    It is for results: a page shows too much of them to check all of it beforehand.
    """
    try:
        yield
    except UserError:
        raise
    except Exception as error:
        kinds = (KeyError, TypeError, ValueError, IndexError, AttributeError, ArithmeticError)
        if not isinstance(error, kinds) and type(error).__name__ != "UndefinedError":  # jinja2's, which may be missing
            raise
        said = f"{type(error).__name__}: {first_line(error)}"
        raise UserError(
            f"{', '.join(map(str, folders))}: the results there are not as they were written ({said}); make them again"
        ) from error


def read_json_lines(file: Path) -> list[dict[str, Any]]:
    """The objects of a file with one a line; none without the file, and a last line that was cut short is left out.

    Raises UserError naming another line that is not an object.
    """
    if not file.exists():
        return []
    lines = read_text(file).split("\n")
    found = []
    for number, line in enumerate(lines, start=1):
        if not line.strip():
            continue
        try:
            found.append(parse_json(line, f"{file}, line {number}", dict))
        except UserError:
            if number == len(lines):  # no line break after it: the writer was stopped in it
                break
            raise
    return found


def check_points(points: list[dict[str, Any]], file: Path, names: Iterable[str]) -> list[dict[str, Any]]:
    """The points of a curve; null, which JSON has in place of NaN, is NaN again.

    Raises UserError naming the line that lacks a number of one of the names.
    """
    for number, point in enumerate(points, start=1):
        for name in names:
            if name in point and point[name] is None:
                point[name] = float("nan")  # which JSON has no word for
            if not isinstance(point.get(name), int | float):
                raise UserError(f"{file}, line {number}: has no number '{name}'; remove the line")
    return points


def append_json_line(file: Path, values: Mapping[str, Any]) -> None:
    """Appends the object as a line, synced; a line that a crash cut short is removed. Raises OSError."""
    line = f"{to_json(values)}\n".encode()
    if file.exists() and not _ends_with_line(file):
        replace_file(file, "".join(f"{to_json(each)}\n" for each in read_json_lines(file)))
    with writing(file), file.open("ab") as stream:
        stream.write(line)
        stream.flush()
        os.fsync(stream.fileno())


def _ends_with_line(file: Path) -> bool:
    with file.open("rb") as stream:
        if not stream.seek(0, os.SEEK_END):
            return True
        stream.seek(-1, os.SEEK_END)
        return stream.read() == b"\n"


def to_json(values: Any, *, indent: int | None = None) -> str:
    """Values as JSON that every reader takes: a number that is not finite is null."""
    try:
        return json.dumps(values, indent=indent, allow_nan=False)
    except ValueError:
        return json.dumps(_finite(values), indent=indent, allow_nan=False)


def _finite(values: Any) -> Any:
    if isinstance(values, Mapping):
        return {key: _finite(value) for key, value in values.items()}
    if isinstance(values, list | tuple):
        return [_finite(value) for value in values]
    return None if isinstance(values, float) and (values != values or abs(values) == float("inf")) else values


def write_json(file: Path, values: Any) -> None:
    """Writes a JSON file that is there whole or not at all. Raises OSError."""
    replace_file(file, to_json(values, indent=1) + "\n")


def replace_file(file: Path, text: str) -> None:
    """Writes the text, atomically: after a crash there is the old file or the new one. Raises OSError."""
    replace_bytes(file, text.encode())


def replace_bytes(file: Path, content: bytes | memoryview) -> None:
    """Writes the bytes, atomically: after a crash there is the old file or the new one. Raises OSError."""
    temporary = file.with_name(file.name + ".tmp")
    with writing(file):
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


@contextmanager
def writing(path: Path) -> Iterator[None]:
    """Raises OSError with a path when the disk is full or refuses the block's writes, whichever library writes.

    Libraries report it in their own ways: torch, for one, says that a position is not the expected one.
    """
    try:
        yield
    except OSError as error:
        if error.errno is None:  # of several files, as copying a folder says it
            number = _disk_problem(path, error)
            if number is not None:
                raise OSError(number, os.strerror(number), str(path)) from None
        elif error.filename is None:
            error.filename = str(path)
        raise
    except UserError:
        raise
    except Exception as error:
        number = _disk_problem(path, error)
        if number is None:
            raise
        raise OSError(number, os.strerror(number), str(path)) from None


def _disk_problem(path: Path, error: Exception) -> int | None:
    """The number of the disk's error, found in what a library says."""
    named = re.search(r"os error (\d+)|errno[ =]*(\d+)", str(error), re.IGNORECASE)
    if named:
        return int(named[1] or named[2])
    there = next((each for each in (path, *path.absolute().parents) if each.exists()), Path("/"))
    return errno.ENOSPC if shutil.disk_usage(there).free < ROOM else None


def sync_folder(path: Path) -> None:
    """Syncs the folder itself, so that renames and removals survive a crash."""
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def sync_tree(folder: Path) -> None:
    """Syncs everything in the folder, so that it survives a crash. Raises OSError."""
    for place, _, names in os.walk(folder):
        for name in names:
            if not (Path(place) / name).is_symlink():
                sync_folder(Path(place) / name)  # a file is synced as a folder is
        sync_folder(Path(place))
