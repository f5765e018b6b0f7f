"""What is wrong with a dataset, and keeping every episode of it that is right."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa

from agentgym.data.store.dataset import EpisodeDataset, check_no_shard_is_missing
from agentgym.data.store.files import LOST, is_folder, locate, require_local, shard_file, shard_files, shard_number
from agentgym.data.store.fitting import describe_outside
from agentgym.data.store.format import Attempt, FormatError, Header, write_shard
from agentgym.data.store.shard import Shard
from agentgym.data.store.steps import decode_steps
from agentgym.data.store.writer import lock_folder, write_manifest
from agentgym.errors import UserError
from agentgym.files import LARGEST_SETTINGS, read_json, sync_folder

LISTED = 8  # runs of seeds that are named in a line


def check(path: str | Path) -> list[str]:
    """What is wrong with a dataset, one line for each problem; nothing when it is whole.

    Every byte is read, every checksum compared, every frame decoded, every action compared with its space. The folder
    may be anywhere that fsspec reaches. Raises UserError when it is none, and FormatError by its version.
    """
    path = locate(path)
    if not is_folder(path) or not shard_files(path):
        EpisodeDataset(path)  # says what is wrong
    found = [_look(path, file) for file in shard_files(path)]
    problems = [problem for shard in found for problem in shard.problems]
    header = next((shard.shard.header for shard in found if shard.shard), None)
    problems += [
        f"{shard.file}: its recipe or action space is not that of the shards before it"
        for shard in found
        if shard.shard and shard.shard.header != header
    ]
    try:
        check_no_shard_is_missing(path, len(found))
    except UserError as error:
        problems.append(str(error))
    return problems


def repair(path: str | Path) -> list[str]:
    """Keeps every episode that is right, and returns one line for each thing lost.

    A shard with a damaged or unfit episode is written again without it, none of its frames encoded again; in the place
    of a shard that cannot be read there is one without episodes. What was there is set aside under a name ending in
    `.lost`, never deleted. The lost seeds count as never tried, so that `agentgym collect` records them again. Raises
    UserError while another process writes, and when the disk is full: then what was not yet repaired is as it was.
    """
    path = require_local(locate(path), "copy it to one and repair it there")
    if not check(path):
        return []
    lock = lock_folder(path)
    lines: list[str] = []
    try:
        shards = _keep_what_is_right(path, lines)
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


@dataclass(frozen=True)
class Found:
    """A file of a dataset: its shard unless it cannot be read, what is wrong, and with which of its episodes."""

    file: Path
    shard: Shard | None
    problems: tuple[str, ...]
    wrong: tuple[int, ...] = ()


def _look(path: Path, file: Path) -> Found:
    """Reads all of a shard. Raises FormatError."""
    try:
        shard = Shard(file)
    except FormatError:
        raise
    except UserError as error:
        return Found(file, None, (f"{file}: every episode in it is lost: {str(error).partition('; ')[0]}",))
    problems = {row: problem for row in range(len(shard)) if (problem := _problem(shard, row))}
    seeds = {row: shard.row(row, ("seed",))["seed"] for row in problems}
    lines = [f"{file}: episode {row} (seed {seeds[row]}) {problem}" for row, problem in problems.items()]
    return Found(file, shard, tuple(lines), tuple(problems))


def _problem(shard: Shard, row: int) -> str | None:
    """What is wrong with an episode."""
    length = int(shard.lengths[row])
    try:
        shard.require_whole(row)
        shard.extras(row)
        shard.frames(row, 0, length + 1)
    except UserError as error:
        said = str(error).partition(") ")[2]
        return said.partition("; ")[0]
    try:
        values, space = shard.steps(row, 0, length), shard.header.space.root
        series = [(what, decode_steps(space, values[f"{what}s"])) for what in ("action", "label") if values[f"{what}s"]]
    except (ValueError, KeyError, TypeError, IndexError) as error:
        return f"is unfit: {error}"
    found = (describe_outside(space, actions, what) for what, actions in series)
    return next((f"is unfit: {problem}" for problem in found if problem), None)


def _missing(path: Path) -> list[int]:
    """The numbers that no shard has, though another one, or the manifest, comes after them."""
    there = {shard_number(file) for file in shard_files(path)}
    return sorted(set(range(max([len(_listed(path)), *(number + 1 for number in there)]))) - there)


def _listed(path: Path) -> list[object]:
    """The shards of the manifest; none where it cannot be read."""
    try:
        return list(read_json(path / "manifest.json", dict, most=LARGEST_SETTINGS)["shards"])
    except (UserError, KeyError, TypeError):
        return []


def _keep_what_is_right(path: Path, lines: list[str]) -> list[Shard]:
    """The shards that are left; a line is added for each change once it is on disk. Raises OSError."""
    found = {shard_number(file): _look(path, file) for file in shard_files(path)}
    header = next((each.shard.header for each in found.values() if each.shard), None)
    last = max((number for number, each in found.items() if each.shard and each.shard.header == header), default=-1)
    for number in sorted({*found, *_missing(path)}):
        file, each = shard_file(path, number), found.get(number)
        if each is None:
            lines.append(f"{file}: is missing: how many episodes it held is not known")
        elif each.shard is None or each.shard.header != header:
            lines.append(_set_aside(each, header if number < last else None))
            continue
        elif each.wrong:
            lines.append(_leave_out(each))
        if each is None and header is not None and number < last:
            _write_empty(file, header)
    for leftover in path.glob("shard-*.parity"):  # of older versions, which could restore a shard by it
        leftover.unlink()
    return [Shard(file) for file in shard_files(path)]


def _leave_out(found: Found) -> str:
    """The shard holds its other episodes; says which it lost."""
    assert found.shard is not None
    shard, wrong = found.shard, set(found.wrong)
    kept = [row for row in range(len(shard)) if row not in wrong]
    seeds = [shard.row(row, ("seed",))["seed"] for row in found.wrong]
    aside = _keep_copy(found.file)
    try:
        write_shard(found.file, shard.header, shard.table.take(pa.array(kept, pa.int64())), _attempts(shard, wrong))
    except OSError:
        aside.unlink()
        raise
    reason = found.problems[0].partition(") ")[2]
    return (
        f"{found.file}: {_count(len(wrong))} of {len(shard)} lost ({list_seeds(seeds)}): the first {reason}; "
        f"the file as it was is {aside.name}"
    )


def _set_aside(found: Found, header: Header | None) -> str:
    """The file is not part of the dataset; with a header there is a shard without episodes in its place."""
    aside = _keep_copy(found.file)
    if header is None:
        found.file.unlink()
    else:
        try:
            _write_empty(found.file, header)
        except OSError:
            aside.unlink()
            raise
    if found.shard is None:
        return f"{found.problems[0]}; the file is {aside.name}"
    seeds = list_seeds(found.shard.column("seed"))
    return (
        f"{found.file}: {_count(len(found.shard))} set aside ({seeds}): they are of another recipe; "
        f"the file is {aside.name}"
    )


def _write_empty(file: Path, header: Header) -> None:
    write_shard(file, header, header.schema.empty_table(), [])


def _attempts(shard: Shard, wrong: set[int]) -> list[Attempt]:
    """The attempts without those of the wrong episodes, whose own seeds may be damaged.

    Episodes are in the order of their attempts, so that the attempt of a wrong one is between its neighbours'. Where
    none there has its seed, all of them are left out, to be tried again.
    """
    keys = list(zip(shard.column("task"), shard.column("seed"), strict=True))
    kept: list[Attempt] = []
    start = 0
    for first, end in _runs(range(len(shard)), wrong):
        stop = len(shard.attempts)
        if end < len(shard):
            stop = _place(shard.attempts, keys[end], start)
        between, lost = shard.attempts[start:stop], set(keys[first:end])
        known = {(attempt.task, attempt.seed) for attempt in between}
        if first == end or lost <= known:
            kept += [attempt for attempt in between if (attempt.task, attempt.seed) not in lost]
        kept += shard.attempts[stop : stop + 1]
        start = stop + 1
    return kept


def _runs(rows: Sequence[int], wrong: set[int]) -> Iterator[tuple[int, int]]:
    """Before each right row, and after the last one, the run [first, end) of wrong ones, mostly empty."""
    first = 0
    for row in rows:
        if row not in wrong:
            yield first, row
            first = row + 1
    yield first, len(rows)


def _place(attempts: Sequence[Attempt], key: tuple[str, int], start: int) -> int:
    places = (place for place in range(start, len(attempts)) if (attempts[place].task, attempts[place].seed) == key)
    return next(places, len(attempts))


def list_seeds(seeds: Sequence[int]) -> str:
    """Seeds for people: runs of them, and how many more there are after the first ones."""
    runs: list[list[int]] = []
    for seed in sorted(set(seeds)):
        if runs and seed == runs[-1][1] + 1:
            runs[-1][1] = seed
        else:
            runs.append([seed, seed])
    named = [f"{low}" if low == high else f"{low} to {high}" for low, high in runs[:LISTED]]
    rest = sum(high - low + 1 for low, high in runs[LISTED:])
    more = f" and {rest:,} more" if rest else ""
    return f"seed{'s' if len(set(seeds)) > 1 else ''} {', '.join(named)}{more}"


def _count(episodes: int) -> str:
    return f"{episodes:,} episode{'' if episodes == 1 else 's'}"


def _keep_copy(file: Path) -> Path:
    """A second name for the file, that no earlier repair has used: at no moment is it not there."""
    names = (file.with_name(f"{file.name}.{number}{LOST}") for number in range(1, 10**6))
    aside = next(name for name in names if not name.exists())
    aside.hardlink_to(file)
    return aside
