"""What is wrong with a dataset, and keeping what is good of one that is damaged."""

from collections.abc import Sequence
from pathlib import Path

from agentgym.errors import UserError
from agentgym.store.dataset import SampleDataset, refuse_missing_shards
from agentgym.store.files import shard_file, shard_files, sync_folder
from agentgym.store.shard import Attempt, FormatError, Shard, write_shard
from agentgym.store.writer import lock_folder, write_manifest


def check(path: str | Path) -> list[str]:
    """What is wrong with a dataset, one line for each problem; nothing when it is whole."""
    path = Path(path)
    if not path.is_dir() or not shard_files(path):
        SampleDataset(path)  # says what is wrong
    problems = []
    for file in shard_files(path):
        try:
            shard = Shard(file)
        except FormatError:
            raise
        except UserError as error:
            problems.append(f"{file}: every episode in it is lost: {error}")
            continue
        problems += [
            f"{file}: episode {row} (seed {shard.table['seed'][row]}) is damaged: wrong checksum"
            for row in _damaged(shard)
        ]
    try:
        refuse_missing_shards(path, len(shard_files(path)))
    except UserError as error:
        problems.append(str(error))
    return problems


def repair(path: str | Path) -> list[str]:
    """Keeps the longest good prefix of a dataset and returns one line for each thing that was lost.

    The prefix is of shards, and of episodes within the first damaged one; no frame is encoded again. Files that are no
    longer part of the dataset are set aside under a name ending in `.lost`, never deleted. The lost seeds count as
    never tried, so that `agentgym collect` records them again. Raises UserError while another process writes, and when
    the disk is full: then what was not yet repaired is as it was.
    """
    path = Path(path)
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


def _good_prefix(path: Path, lines: list[str]) -> list[Shard]:
    """The shards that are kept; a line is added for each loss once it is on disk. Raises OSError."""
    kept: list[Shard] = []
    for file in shard_files(path):
        if lines or file != shard_file(path, len(kept)):
            if not lines:
                lines.append(f"{shard_file(path, len(kept))}: is missing: how many episodes it held is not known")
            lines.append(_set_aside(file, "comes after the damage"))
            continue
        try:
            shard = Shard(file)
        except UserError:
            lines.append(_set_aside(file, "is not a whole shard"))
            continue
        damaged = _damaged(shard)
        if damaged:
            lines.append(_cut(shard, damaged))
        if not damaged or damaged[0]:
            kept.append(Shard(file))
    return kept


def _cut(shard: Shard, damaged: Sequence[int]) -> str:
    """The shard holds the episodes before the first damaged one; says which it lost."""
    keep = damaged[0]
    seeds = ", ".join(str(seed) for seed in shard.table["seed"][keep:].to_pylist())
    lost = f"{shard.file}: episodes {keep} to {len(shard) - 1} (seeds {seeds}) are lost: episode {keep} is damaged"
    aside = _lost_name(shard.file)
    if not keep:
        shard.file.rename(aside)
    else:
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
    for seed in shard.table["seed"][:keep].to_pylist():
        place = seeds.index(seed, place) + 1
    return shard.attempts[:place]


def _damaged(shard: Shard) -> list[int]:
    return [row for row in range(len(shard)) if not shard.verify(row)]


def _set_aside(file: Path, reason: str) -> str:
    try:
        seeds = Shard(file).table["seed"].to_pylist()
        episodes = f"its {len(seeds)} episodes (seeds {', '.join(map(str, seeds))}) are lost"
    except UserError:
        episodes = "every episode in it is lost"
    aside = _lost_name(file)
    file.rename(aside)
    return f"{file}: {episodes}, since it {reason}; the file is {aside.name}"


def _lost_name(file: Path) -> Path:
    """A name beside the file that no earlier repair has used."""
    names = (file.with_name(f"{file.name}.{number}.lost") for number in range(1, 10**6))
    return next(name for name in names if not name.exists())
