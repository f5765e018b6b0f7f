"""Batches: the calls of many clients, answered by one policy, together and on one thread.

A session is one client's run of calls with its N environments. Sessions that were answered together share one state,
which is taken apart only when their next calls do not come together. This module knows no network.
"""

import queue
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from agentgym.errors import UserError

Rows = NDArray[np.int64]


@dataclass
class Shared:
    """The state of a batch; `rows` environments."""

    state: Any
    rows: int


@dataclass
class ClientSession:
    """One client's environments: where in a shared state they are, and how many calls were answered."""

    task: str | None = None
    shared: Shared | None = None
    rows: Rows = field(default_factory=lambda: np.zeros(0, np.int64))
    calls: int = 0


@dataclass
class Call:
    """One call to `predict` that waits for its answer: the actions."""

    session: ClientSession
    observation: Mapping[str, NDArray[Any]]  # with the axis of environments
    starts: NDArray[np.bool_]
    deterministic: bool
    answer: "Future[Any]" = field(default_factory=Future)
    asked: float = field(default_factory=time.perf_counter)


class Batcher:
    """Answers calls in the order in which they come, as many at once as wait."""

    def __init__(
        self,
        policy_of: Callable[[str | None], Any],
        *,
        max_rows: int = 1024,
        wait_s: float = 0.002,
        others: Callable[[], int] = lambda: 0,
        observe: Callable[[int, float], None] = lambda rows, seconds: None,
    ) -> None:
        """`policy_of(task)` gives the policy; `others()` says how many clients there are.

        A batch that not every client is in waits `wait_s` for more. `observe` gets each batch's rows and seconds.
        """
        self._policy_of, self._max_rows, self._wait_s = policy_of, max_rows, wait_s
        self._others, self._observe = others, observe
        self._queue: queue.SimpleQueue[Call | None] = queue.SimpleQueue()
        self._thread = threading.Thread(target=self._work, name="policy", daemon=True)
        self._thread.start()

    def ask(self, call: Call) -> "Future[Any]":
        """The actions of the call, once they are there; a UserError for what the policy refuses."""
        self._queue.put(call)
        return call.answer

    def close(self) -> None:
        """Answers the waiting calls, then stops."""
        self._queue.put(None)
        self._thread.join()

    def _work(self) -> None:
        while (first := self._queue.get()) is not None:
            calls, ends = self._gather(first)
            by_kind: dict[tuple[Any, ...], list[Call]] = {}
            for call in calls:
                by_kind.setdefault(_kind(call), []).append(call)
            for alike in by_kind.values():
                began = time.perf_counter()
                self._answer(alike)
                self._observe(sum(len(call.starts) for call in alike), time.perf_counter() - began)
            if ends:
                return

    def _gather(self, first: Call) -> tuple[list[Call], bool]:
        """The calls of the next batch, and whether none come after it."""
        calls, rows, until = [first], len(first.starts), time.perf_counter() + self._wait_s
        while rows < self._max_rows:
            left = until - time.perf_counter() if len(calls) < self._others() else 0.0
            try:
                call = self._queue.get(timeout=left) if left > 0 else self._queue.get_nowait()
            except queue.Empty:
                break
            if call is None:
                return calls, True
            calls.append(call)
            rows += len(call.starts)
        return calls, False

    def _answer(self, calls: Sequence[Call]) -> None:
        try:
            policy = self._policy_of(calls[0].session.task)
            for group in _groups(policy, calls):
                actions = _predict(policy, group)
                for call, chosen in zip(group, actions, strict=True):
                    call.session.calls += 1
                    call.answer.set_result(chosen)
        except UserError as error:
            waiting = [call for call in calls if not call.answer.done()]
            if len(waiting) == 1:
                waiting[0].answer.set_exception(error)
            else:  # one client's mistake is not another's
                for call in waiting:
                    self._answer([call])
        except Exception as error:
            for call in calls:
                if not call.answer.done():
                    call.answer.set_exception(error)


def _kind(call: Call) -> tuple[Any, ...]:
    """What has to be the same in a batch."""
    shapes = sorted((name, each.shape[1:], str(each.dtype)) for name, each in call.observation.items())
    return call.session.task, call.deterministic, tuple(shapes)


def _groups(policy: Any, calls: Sequence[Call]) -> list[list[Call]]:
    """The calls in groups that one `predict` can answer: those that begin an episode, and those that continue one.

    A policy that cannot join the states of several answers each call for itself.
    """
    if not hasattr(policy, "join"):
        return [[call] for call in calls]
    fresh = [call for call in calls if call.session.shared is None]
    known = [call for call in calls if call.session.shared is not None]
    known.sort(key=lambda call: (id(call.session.shared), int(call.session.rows[0])))
    return [group for group in (fresh, known) if group]


def _predict(policy: Any, calls: Sequence[Call]) -> list[Any]:
    """The actions of each call; their sessions then share the new state."""
    observation = {name: np.concatenate([call.observation[name] for call in calls]) for name in calls[0].observation}
    starts = np.concatenate([call.starts for call in calls])
    actions, state = policy.predict(observation, _joined(policy, calls), starts, deterministic=calls[0].deterministic)
    shared, ends = Shared(state, len(starts)), np.cumsum([len(call.starts) for call in calls])
    answers = []
    for call, end in zip(calls, ends, strict=True):
        rows = np.arange(end - len(call.starts), end)
        call.session.shared, call.session.rows = shared, rows
        answers.append(actions[rows[0] : rows[-1] + 1])
    return answers


def _joined(policy: Any, calls: Sequence[Call]) -> Any:
    """One state of all the calls' environments; None where they begin."""
    parts: list[Any] = []
    at = 0
    while at < len(calls):
        shared = calls[at].session.shared
        if shared is None:
            return None
        same = [call.session for call in calls[at:] if call.session.shared is shared]
        rows = np.concatenate([session.rows for session in same])
        whole = np.array_equal(rows, np.arange(shared.rows))
        parts.append(shared.state if whole else policy.select(shared.state, rows))
        at += len(same)
    return parts[0] if len(parts) == 1 else policy.join(parts)
