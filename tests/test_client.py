"""What a served policy and its clients send: MessagePack that others read too, of the size that it says."""

import subprocess
import sys

import msgpack
import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as some

from agentgym.client import RemoteError, RemotePolicy, pack, unpack

PLAIN = some.recursive(
    some.none()
    | some.booleans()
    | some.integers(-(2**63), 2**63 - 1)
    | some.floats(allow_nan=False)
    | some.text()
    | some.binary(),
    lambda inner: some.lists(inner, max_size=4) | some.dictionaries(some.text(), inner, max_size=4),
    max_leaves=12,
)


@given(PLAIN)
def test_any_reader_of_messagepack_reads_what_is_packed(value):
    assert msgpack.unpackb(pack(value)) == value


@given(PLAIN)
def test_what_any_writer_of_messagepack_packs_is_read(value):
    assert unpack(msgpack.packb(value)) == value


@pytest.mark.parametrize("dtype", ["bool", "uint8", "int64", "float32"])
def test_an_array_comes_back_as_it_was(dtype):
    array = np.arange(24).reshape(2, 3, 4).astype(dtype)
    [found] = unpack(pack([array]))
    assert found.dtype == array.dtype
    np.testing.assert_array_equal(found, array)


@pytest.mark.parametrize(
    ("data", "words"),
    [
        (b"", "cut short"),
        (b"\x01\x02", "follow"),
        (b"\xc1", "begins no value"),
        (b"\xdd\xff\xff\xff\xff", "more than there are bytes"),
        (b"\x91" * 40 + b"\x01", "levels of nesting"),
        (pack({"dtype": "uint8", "shape": [2, 2], "data": b"abc"}), "is not 3 bytes"),
        (pack({"dtype": "uint8", "shape": [2**40, 2**40], "data": b"abc"}), "is not 3 bytes"),
        (pack({"dtype": "object", "shape": [1], "data": b"12345678"}), "not read here"),
        (pack({"dtype": "uint8", "shape": [-1], "data": b""}), "is none"),
    ],
)
def test_a_message_that_is_not_whole_is_refused(data, words):
    with pytest.raises(ValueError, match=words):
        unpack(data)


def test_what_cannot_be_sent_is_refused():
    with pytest.raises(TypeError, match="object"):
        pack(np.array([object()]))
    with pytest.raises(TypeError, match="set"):
        pack({1, 2})


def test_a_server_that_is_not_there_is_one_line():
    with pytest.raises(RemoteError, match=r"no policy answers there") as error:
        RemotePolicy("ws://127.0.0.1:9", timeout_s=2)
    assert "\n" not in str(error.value)


def test_a_client_needs_neither_torch_nor_gymnasium():
    code = "import sys, agentgym.client; assert not {'torch', 'gymnasium', 'transformers'} & set(sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
