"""What of a shard's bytes belongs to no single episode, and putting that right when it is damaged.

Schema, footer, batch header, offsets and the gaps between columns say where everybody's values are: a bit flipped there
would cost every episode of the shard, or two neighbours. They are taken from the parity. Values stay as they lie there,
so that an episode whose own values are damaged still fails its own checksum.
"""

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa

from agentgym.data.store.columns import value_buffers
from agentgym.data.store.parity import read_parity


def mend_structure(file: Path) -> bytes | None:
    """A shard's bytes, its structure as it was written; None where that is whole, or cannot be told."""
    try:
        parity = read_parity(file)
    except ValueError:
        return None
    given = file.read_bytes()
    whole = parity.restore(given) if parity else None
    if whole is None:
        return None
    mended = bytearray(whole)
    padded = given.ljust(len(whole), b"\0")
    for first, behind in value_ranges(whole):
        mended[first:behind] = padded[first:behind]
    return None if mended == given else bytes(mended)


def value_ranges(content: bytes) -> Iterator[tuple[int, int]]:
    """Byte ranges [first, behind) of a shard that hold values, each of which is some one episode's."""
    base = pa.py_buffer(content)
    reader = pa.ipc.open_file(base)
    for number in range(reader.num_record_batches):
        for column in reader.get_batch(number).columns:
            for values in value_buffers(column):
                yield values.address - base.address, values.address - base.address + values.size
