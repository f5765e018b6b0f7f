"""RemotePolicy: a policy that `agentgym serve` runs, with Stable-Baselines3's `predict`. Needs numpy and websockets.

A robot process installs these two and copies this file, or imports it from the package; no torch, no model.

    policy = RemotePolicy("ws://127.0.0.1:8422")
    state = None
    while True:
        action, state = policy.predict({"frame": frame, "instruction": "go to the red ball"}, state)

A message is one MessagePack value. An array is {"dtype": "uint8", "shape": [56, 56, 3], "data": bytes}, in C order.
The server keeps the history of each environment; `state` names it.
"""

import struct
from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import dataclass
from typing import Any, ClassVar
from urllib.parse import parse_qs, urlsplit, urlunsplit

import numpy as np
from numpy.typing import NDArray

DTYPES = ("bool", "uint8", "int8", "uint16", "int16", "uint32", "int32", "uint64", "int64", "float32", "float64")
MAX_DEPTH = 16


class RemoteError(Exception):
    """What the server answered in place of an action, in one line."""


@dataclass(frozen=True)
class RemoteState:
    """Names the history that the server keeps: of which session, after how many calls."""

    session: int
    calls: int


class RemotePolicy:
    """Asks a server for actions; as many environments at once as the observation has."""

    def __init__(self, url: str, *, token: str | None = None, timeout_s: float = 30.0) -> None:
        """Connects to ws://HOST:PORT (or wss://), or to the address that the server printed. Raises RemoteError.

        `token` where the server printed one, unless the address has it.
        """
        from websockets.exceptions import WebSocketException
        from websockets.sync.client import connect

        url, named = address_of(url)
        token = token or named
        self._url, self._timeout_s = url, timeout_s
        headers = {"x-token": token} if token else {}
        self._open = ExitStack()
        try:
            self._socket = self._open.enter_context(
                connect(url + "/ws", additional_headers=headers, open_timeout=timeout_s, proxy=None)
            )
        except (OSError, WebSocketException, ValueError) as error:
            raise RemoteError(f"{url}: no policy answers there ({error}); start one with 'agentgym serve'") from None
        self.info: dict[str, Any] = self._ask({"op": "info"})

    def predict(
        self,
        observation: Mapping[str, Any],
        state: RemoteState | None = None,
        episode_start: NDArray[np.bool_] | None = None,
        deterministic: bool = False,
    ) -> tuple[Any, RemoteState]:
        """Actions and the new state, as `AgentPolicy.predict` gives them for the same calls.

        `observation` is {"frame": uint8[N, H, W, 3], "instruction": uint8[N, L] or one text}, or one environment's
        without N. Raises RemoteError for what the server refuses, and when it does not answer in time.
        """
        answer = self._ask(
            {
                "op": "predict",
                "observation": dict(observation),
                "session": None if state is None else state.session,
                "calls": 0 if state is None else state.calls,
                "episode_start": None if episode_start is None else np.asarray(episode_start, bool),
                "deterministic": deterministic,
            }
        )
        return answer["action"], RemoteState(answer["session"], answer["calls"])

    def select(self, state: RemoteState, rows: NDArray[np.int64]) -> RemoteState:
        """The state of those rows (int64[K], in that order), for a batch in which some environments are done."""
        answer = self._ask(
            {"op": "select", "session": state.session, "calls": state.calls, "rows": np.asarray(rows, np.int64)}
        )
        return RemoteState(answer["session"], answer["calls"])

    def close(self) -> None:
        """Closes the connection; the server forgets this client."""
        self._open.close()

    def __enter__(self) -> "RemotePolicy":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _ask(self, message: dict[str, Any]) -> dict[str, Any]:
        from websockets.exceptions import WebSocketException

        try:
            self._socket.send(pack(message))
            answer = unpack(self._socket.recv(timeout=self._timeout_s))
        except TimeoutError:
            self.close()  # a late answer would be taken for that of the next call
            raise RemoteError(f"{self._url}: no answer within {self._timeout_s:g} s") from None
        except (OSError, WebSocketException) as error:
            raise RemoteError(f"{self._url}: the connection is closed ({error})") from None
        if "error" in answer:
            raise RemoteError(f"{self._url}: {answer['error']}")
        found: dict[str, Any] = answer
        return found


def address_of(url: str) -> tuple[str, str | None]:
    """Of an address as a server prints it that of its WebSocket, and the token in it."""
    parts = urlsplit(url)
    scheme = {"http": "ws", "https": "wss"}.get(parts.scheme, parts.scheme)
    token = next(iter(parse_qs(parts.query).get("token", ())), None)
    return urlunsplit((scheme, parts.netloc, parts.path.rstrip("/"), "", "")), token


def pack(value: Any) -> bytes:
    """A value as MessagePack: None, bool, int, float, str, bytes, list, dict with text keys, and NumPy arrays.

    Raises TypeError for any other value, and for an array of a dtype that is not sent.
    """
    if isinstance(value, np.ndarray):
        if value.dtype.name not in DTYPES:
            raise TypeError(f"an array of {value.dtype} cannot be sent; expected one of {', '.join(DTYPES)}")
        return pack({"dtype": value.dtype.name, "shape": list(value.shape), "data": value.tobytes()})
    if isinstance(value, np.generic):
        return pack(value.item())
    if value is None or isinstance(value, bool):
        return {None: b"\xc0", False: b"\xc2", True: b"\xc3"}[value]
    if isinstance(value, int):
        return b"\xd3" + struct.pack(">q", value) if value < 0 or value > 127 else bytes([value])
    if isinstance(value, float):
        return b"\xcb" + struct.pack(">d", value)
    if isinstance(value, str):
        return b"\xdb" + struct.pack(">I", len(raw := value.encode())) + raw
    if isinstance(value, bytes | bytearray | memoryview):
        return b"\xc6" + struct.pack(">I", len(value)) + bytes(value)
    if isinstance(value, list | tuple):
        return b"\xdd" + struct.pack(">I", len(value)) + b"".join(map(pack, value))
    if isinstance(value, Mapping):
        return b"\xdf" + struct.pack(">I", len(value)) + b"".join(pack(each) for pair in value.items() for each in pair)
    raise TypeError(f"a {type(value).__name__} cannot be sent")


def unpack(data: bytes | str) -> Any:
    """The value that `pack`, or any other writer of MessagePack, wrote. Raises ValueError when it is not one."""
    if isinstance(data, str):
        raise ValueError("expected a binary message")
    reader = _Reader(data)
    value = reader.value(0)
    if reader.at != len(data):
        raise ValueError(f"{len(data) - reader.at} bytes follow the value")
    return value


class _Reader:
    """Reads one value of MessagePack from the front."""

    SIZED: ClassVar[dict[int, tuple[str, str]]] = {  # how the size is written, and of what kind the value is
        0xC4: (">B", "bytes"),
        0xC5: (">H", "bytes"),
        0xC6: (">I", "bytes"),
        0xD9: (">B", "text"),
        0xDA: (">H", "text"),
        0xDB: (">I", "text"),
        0xDC: (">H", "list"),
        0xDD: (">I", "list"),
        0xDE: (">H", "map"),
        0xDF: (">I", "map"),
    }
    NUMBERS: ClassVar[dict[int, str]] = {
        0xCA: ">f",
        0xCB: ">d",
        0xCC: ">B",
        0xCD: ">H",
        0xCE: ">I",
        0xCF: ">Q",
        0xD0: ">b",
        0xD1: ">h",
        0xD2: ">i",
        0xD3: ">q",
    }

    def __init__(self, data: bytes) -> None:
        self._data, self.at = data, 0

    def value(self, depth: int) -> Any:
        if depth > MAX_DEPTH:
            raise ValueError(f"more than {MAX_DEPTH} levels of nesting")
        first = self._take(1)[0]
        if first <= 0x7F or first >= 0xE0:
            return first if first <= 0x7F else first - 256
        if first in self.NUMBERS:
            return struct.unpack(code := self.NUMBERS[first], self._take(struct.calcsize(code)))[0]
        if first in (0xC0, 0xC2, 0xC3):
            return {0xC0: None, 0xC2: False, 0xC3: True}[first]
        if first in self.SIZED:
            code, kind = self.SIZED[first]
            return self._sized(kind, struct.unpack(code, self._take(struct.calcsize(code)))[0], depth)
        if first <= 0xBF:  # small ones hold their size in the byte
            kind, mask = ("map", 15) if first <= 0x8F else ("list", 15) if first <= 0x9F else ("text", 31)
            return self._sized(kind, first & mask, depth)
        raise ValueError(f"byte {first:#x} begins no value that is read here")

    def _sized(self, kind: str, size: int, depth: int) -> Any:
        if kind == "bytes":
            return self._take(size)
        if kind == "text":
            return self._take(size).decode("utf-8")
        if size > len(self._data) - self.at:
            raise ValueError(f"{size} entries are announced, more than there are bytes")
        if kind == "list":
            return [self.value(depth + 1) for _ in range(size)]
        return _as_array({self.value(depth + 1): self.value(depth + 1) for _ in range(size)})

    def _take(self, count: int) -> bytes:
        self.at += count
        if self.at > len(self._data):
            raise ValueError("the message is cut short")
        return self._data[self.at - count : self.at]


def _as_array(values: dict[Any, Any]) -> Any:
    """The array that a map encodes, or the map. Raises ValueError for one of another size than it says."""
    if set(values) != {"dtype", "shape", "data"}:
        return values
    dtype, shape, data = values["dtype"], values["shape"], values["data"]
    if dtype not in DTYPES or not isinstance(data, bytes) or not isinstance(shape, list):
        raise ValueError(f"an array of {dtype!r} is not read here")
    if not all(isinstance(side, int) and side >= 0 for side in shape):
        raise ValueError(f"shape {shape} is none")
    if int(np.prod(shape, dtype=object)) * np.dtype(dtype).itemsize != len(data):
        raise ValueError(f"an array of shape {shape} and dtype {dtype} is not {len(data)} bytes")
    return np.frombuffer(data, dtype).reshape(shape)
