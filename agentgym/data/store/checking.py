"""What is wrong with a dataset, restoring what can be, and keeping what is good of the rest."""

import warnings
from collections.abc import Sequence
from pathlib import Path

from agentgym.data.store.dataset import EpisodeDataset, check_no_shard_is_missing
from agentgym.data.store.files import locate, require_local, shard_file, shard_files
from agentgym.data.store.format import Attempt, FormatError, replace_shard, write_shard
from agentgym.data.store.parity import Parity, parity_file, read_parity
from agentgym.data.store.shard import Shard
from agentgym.data.store.writer import lock_folder, write_manifest
from agentgym.errors import UserError
from agentgym.files import sync_folder


def check(path: str | Path) -> list[str]:
    """What is wrong with a dataset, one line for each problem; nothing when it is whole.

    The folder may be anywhere that fsspec reaches. Raises UserError when it is none, and FormatError by its version.
    """
    path = locate(path)
    if not path.is_dir() or not shard_files(path):
        EpisodeDataset(path)  # says what is wrong
    problems = [problem for file in shard_files(path) for problem in _problems(file)]
    try:
        check_no_shard_is_missing(path, len(shard_files(path)))
    except UserError as error:
        problems.append(str(error))
    return problems


def repair(path: str | Path) -> list[str]:
    """Restores what parity can, keeps the longest good prefix, and returns one line for each thing restored or lost.

    The prefix is of shards, and of episodes within the first one that cannot be restored; no frame is encoded again.
    Files that are no longer part of the dataset are set aside under a name ending in `.lost`, never deleted. The lost
    seeds count as never tried, so that `agentgym collect` records them again. Raises UserError while another process
    writes, and when the disk is full: then what was not yet repaired is as it was.
    """
    path = require_local(locate(path), "copy it to one and repair it there")
    if not check(path):
        return []
    lock = lock_folder(path)
    lines: list[str] = []
    try:
        shards = _good_prefix(path, lines)
        if shards:
            write_manifest(path, shards)
        else:
            (path / "manifest.json").unlink(missing_ok=True)
        sync_folder(path)
    except OSError as error:
        done = "; ".join(["repaired so far", *lines]) if lines else "nothing was changed"
        raise UserError(
            f"{path}: {error.strerror or error}; {done}; make room and run the same command again"
        ) from None
    finally:
        lock.release()
    return lines or [f"{path / 'manifest.json'}: was not the shards' and was made again; no episode is lost"]


def _problems(file: Path) -> list[str]:
    """One line for each thing that is wrong with a shard. Raises FormatError."""
    content, parity, problems = file.read_bytes(), None, []
    try:
        parity = read_parity(file)
    except ValueError as error:
        problems.append(f"{parity_file(file)}: {error}; no episode is lost, --repair makes it again")
    try:
        damaged = _name_damaged(_open(file))
    except FormatError:
        raise
    except UserError as error:
        return [*problems, f"{file}: every episode in it is lost: {error}"]
    ranges = parity.damage(content) if parity else []
    restorable = "; --repair restores it bit for bit" if _restored(parity, content) else ""
    if ranges and not damaged:
        first, behind = ranges[0][0], ranges[-1][1]
        problems.append(f"{file}: there is damage in bytes {first} to {behind - 1}, no episode is lost{restorable}")
    return problems + [f"{file}: {episode} is damaged: wrong checksum{restorable}" for episode in damaged]


def _name_damaged(shard: Shard) -> list[str]:
    damaged = _damaged(shard)  # before its seeds are read: it may mend what is read wrong
    return [f"episode {row} (seed {shard.row(row, ('seed',))['seed']})" for row in damaged]


def _good_prefix(path: Path, lines: list[str]) -> list[Shard]:
    """The shards that are kept; a line is added for each change once it is on disk. Raises OSError."""
    kept: list[Shard] = []
    ended = False
    for file in shard_files(path):
        if not ended and file != shard_file(path, len(kept)):
            lines.append(f"{shard_file(path, len(kept))}: is missing: how many episodes it held is not known")
            ended = True
        if ended:
            lines.append(_set_aside(file, "comes after the damage"))
            continue
        _restore(file, lines)
        try:
            shard = _open(file)
        except UserError:
            lines.append(_set_aside(file, "is not a whole shard"))
            ended = True
            continue
        damaged = _damaged(shard)
        if damaged:
            lines.append(_cut(shard, damaged))
            ended = True
        elif _problems(file):
            write_shard(file, shard.header, shard.table, shard.attempts)
            lines.append(f"{file}: was written again with its parity; no episode is lost")
        if not damaged or damaged[0]:
            kept.append(_open(file))
    return kept


def _restore(file: Path, lines: list[str]) -> None:
    """The shard is as it was written, where its parity tells how. Raises OSError."""
    try:
        whole = _restored(read_parity(file), file.read_bytes())
    except ValueError:
        return
    if whole:
        replace_shard(file, whole)
        lines.append(f"{file}: restored bit for bit; no episode is lost")


def _restored(parity: Parity | None, content: bytes) -> bytes | None:
    """The bytes that were written; None where they are there, or cannot be told."""
    whole = parity.restore(content) if parity else None
    return None if whole == content else whole


def _cut(shard: Shard, damaged: Sequence[int]) -> str:
    """The shard holds the episodes before the first damaged one; says which it lost."""
    keep = damaged[0]
    seeds = ", ".join(map(str, shard.column("seed")[keep:]))
    lost = f"{shard.file}: episodes {keep} to {len(shard) - 1} (seeds {seeds}) are lost: episode {keep} is damaged"
    if not keep:
        return f"{lost}; the file as it was is {_rename_aside(shard.file).name}"
    aside = _lost_name(shard.file)
    aside.hardlink_to(shard.file)  # at no moment is the shard not there
    try:
        write_shard(shard.file, shard.header, shard.table[:keep], _attempts_before(shard, keep))
    except OSError:
        aside.unlink()
        raise
    return f"{lost}; the file as it was is {aside.name}"


def _attempts_before(shard: Shard, keep: int) -> list[Attempt]:
    """The attempts up to and with that of the last episode that is kept."""
    seeds = [attempt.seed for attempt in shard.attempts]
    place = 0
    for seed in shard.column("seed")[:keep]:
        place = seeds.index(seed, place) + 1
    return shard.attempts[:place]


def _open(file: Path) -> Shard:
    """The shard, of whose damage is said here all there is to say."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return Shard(file)


def _damaged(shard: Shard) -> list[int]:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return [row for row in range(len(shard)) if not shard.is_whole(row)]


def _set_aside(file: Path, reason: str) -> str:
    try:
        seeds = _open(file).column("seed")
        episodes = f"its {len(seeds)} episodes (seeds {', '.join(map(str, seeds))}) are lost"
    except UserError:
        episodes = "every episode in it is lost"
    return f"{file}: {episodes}, since it {reason}; the file is {_rename_aside(file).name}"


def _rename_aside(file: Path) -> Path:
    """The shard and its parity are no longer part of the dataset; where the shard is now."""
    if parity_file(file).exists():
        parity_file(file).rename(_lost_name(parity_file(file)))
    aside = _lost_name(file)
    file.rename(aside)
    return aside


def _lost_name(file: Path) -> Path:
    """A name beside the file that no earlier repair has used."""
    names = (file.with_name(f"{file.name}.{number}.lost") for number in range(1, 10**6))
    return next(name for name in names if not name.exists())
