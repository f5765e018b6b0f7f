"""A policy that answers messages: its sessions, what a message may hold, and what is answered. Knows no network."""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agentgym.apps.batching import Batcher, Call, ClientSession
from agentgym.apps.server_metrics import Metrics
from agentgym.environments import encode_instruction
from agentgym.errors import UserError
from agentgym.recipes import INSTRUCTION_BYTES

MAX_CLIENTS = 256
MAX_BODY = 64 * 2**20  # bytes of one message, or as many as MAX_ROWS observations of the policy have, if that is less
MAX_ROWS = 1024  # environments of one call
MAX_SESSIONS = 16  # of one connection, or of all callers by HTTP times this; the one used longest ago gives way
IDLE_S = 30.0  # a client that does not take its answer for so long is let go


@dataclass
class Limits:
    """What a server takes at most."""

    clients: int = MAX_CLIENTS
    body: int = MAX_BODY
    idle_s: float = IDLE_S


class Sessions:
    """The sessions of one connection, by number."""

    def __init__(self, most: int = MAX_SESSIONS) -> None:
        self._known: OrderedDict[int, ClientSession] = OrderedDict()
        self._most, self._next = most, 1

    def open(self, task: str | None) -> tuple[int, ClientSession]:
        """A new one; the one that was used longest ago makes room."""
        number, self._next = self._next, self._next + 1
        self._known[number] = session = ClientSession(task)
        while len(self._known) > self._most:
            self._known.popitem(last=False)
        return number, session

    def find(self, number: Any, calls: Any) -> ClientSession:
        """The one of that number. Raises UserError when it is over, or its state is not the latest."""
        session = self._known.get(number) if isinstance(number, int) else None
        if session is None:
            raise UserError(f"session {number} is over; begin another one with session = null")
        if calls is not None and calls != session.calls:
            raise UserError(f"session {number} is {session.calls} calls old, the state is from call {calls}")
        self._known.move_to_end(int(number))
        return session


@dataclass
class PolicyServer:
    """A policy, what it is called, and who is served."""

    policy: Any
    name: str
    tasks: tuple[str, ...]
    limits: Limits = field(default_factory=Limits)

    def __post_init__(self) -> None:
        self.clients = 0
        self.metrics = Metrics()
        self._by_task: dict[str | None, Any] = {None: self.policy}
        self.batcher = Batcher(self._policy_of, others=lambda: self.clients, observe=self.metrics.batch)
        shapes = [domain.frame_shape for domain in getattr(self.policy, "domains", ())]
        largest = max((3 * height * width for height, width in shapes), default=MAX_BODY)
        self.longest = min(self.limits.body, 2**20 + MAX_ROWS * (largest + INSTRUCTION_BYTES))  # bytes of a message
        self.by_http = Sessions(MAX_SESSIONS * self.limits.clients)

    def info(self) -> dict[str, Any]:
        """What a client may want to know before it calls."""
        return {"status": "ok", "policy": self.name, "tasks": list(self.tasks), "clients": self.clients}

    async def answer(self, message: Any, sessions: Sessions) -> dict[str, Any]:
        """The answer to a client's message. Raises UserError for what is wrong with it."""
        if not isinstance(message, dict):
            raise UserError("expected a map with the key 'op'")
        operation = message.get("op", "predict")
        if operation == "info":
            return self.info()
        if operation == "select":
            return self._select(message, sessions)
        if operation != "predict":
            raise UserError(f"op {operation!r}: expected 'predict', 'select' or 'info'")
        began = time.perf_counter()
        number, session = self._session(message, sessions)
        call = Call(session, *read_call(message, session))
        actions = await asyncio.wrap_future(self.batcher.ask(call))
        single = np.ndim(message["observation"]["frame"]) == 3
        self.metrics.call(len(call.starts), time.perf_counter() - began)
        return {"action": actions[0] if single else actions, "session": number, "calls": session.calls}

    def close(self) -> None:
        """Answers the waiting calls, then stops."""
        self.batcher.close()

    def _session(self, message: Mapping[str, Any], sessions: Sessions) -> tuple[int, ClientSession]:
        task = message.get("task")
        if task is not None and task not in self.tasks:
            raise UserError(f"task {task!r}: the policy plays {', '.join(self.tasks) or 'no named task'}")
        if message.get("session") is None:
            return sessions.open(task)
        return message["session"], sessions.find(message["session"], message.get("calls"))

    def _select(self, message: Mapping[str, Any], sessions: Sessions) -> dict[str, Any]:
        old = sessions.find(message.get("session"), message.get("calls"))
        rows = np.asarray(message.get("rows"))
        if rows.ndim != 1 or rows.dtype.kind not in "iu" or (rows < 0).any() or (rows >= len(old.rows)).any():
            raise UserError(f"rows: expected numbers of the session's {len(old.rows)} environments")
        number, session = sessions.open(old.task)
        session.shared, session.rows, session.calls = old.shared, old.rows[rows], old.calls
        return {"session": number, "calls": session.calls}

    def _policy_of(self, task: str | None) -> Any:
        """The policy as it plays that task; an agent of several domains plays the task's own."""
        if task not in self._by_task:
            domain = next(domain for domain in self.policy.domains if task in domain.tasks)
            self._by_task[task] = self.policy.playing(domain.space, task)
        return self._by_task[task]


def read_call(
    message: Mapping[str, Any], session: ClientSession
) -> tuple[dict[str, NDArray[Any]], NDArray[np.bool_], bool]:
    """The observation [environments, ...], starts bool[environments], and whether the likeliest actions are asked for.

    Raises UserError naming what is missing or has another type or shape.
    """
    asked = message.get("observation")
    if not isinstance(asked, dict) or set(asked) != {"frame", "instruction"}:
        raise UserError("observation: expected a map of 'frame' and 'instruction'")
    frame, instruction = np.asarray(asked["frame"]), asked["instruction"]
    if frame.ndim not in (3, 4) or not frame.size:
        raise UserError(f"observation.frame: expected [H, W, 3] or [N, H, W, 3], found {list(frame.shape)}")
    if frame.dtype != np.uint8:
        frame = _bytes_of(frame)
    frame = frame[None] if frame.ndim == 3 else frame
    rows = len(frame)
    if rows > MAX_ROWS:
        raise UserError(f"observation.frame: {rows} environments; a call has at most {MAX_ROWS}")
    texts = [instruction] * rows if isinstance(instruction, str) else instruction
    if isinstance(texts, list) and all(isinstance(text, str) for text in texts):
        texts = np.stack([encode_instruction(text) for text in texts]) if texts else np.zeros((0, 0), np.uint8)
    texts = np.atleast_2d(np.asarray(texts))
    if texts.dtype != np.uint8 or len(texts) != rows:
        raise UserError(f"observation.instruction: expected a text, or uint8 [{rows}, L]")
    if session.shared is not None and rows != len(session.rows):
        raise UserError(f"observation: {rows} environments, the session has {len(session.rows)}")
    starts = message.get("episode_start")
    starts = np.zeros(rows, bool) if starts is None else np.atleast_1d(np.asarray(starts))
    if starts.dtype != bool or starts.shape != (rows,):
        raise UserError(f"episode_start: expected {rows} booleans")
    deterministic = message.get("deterministic", False)
    if not isinstance(deterministic, bool):
        raise UserError("deterministic: expected true or false")
    return {"frame": frame, "instruction": texts}, starts, deterministic


def _bytes_of(frame: NDArray[Any]) -> NDArray[np.uint8]:
    """A frame that came as JSON numbers. Raises UserError unless they are whole and in 0..255."""
    if frame.dtype.kind not in "iu" or frame.min() < 0 or frame.max() > 255:
        raise UserError(f"observation.frame: expected whole numbers of 0 to 255, found {frame.dtype}")
    return frame.astype(np.uint8)
