"""Where work is done: by processes on this machine or by a Ray cluster, with the same results in the same order.

Work is a function and its jobs, each a tuple of arguments that determines the result. This module knows neither
episodes nor datasets. A cluster's nodes need the same agentgym and see the same folders.
"""

import logging
import multiprocessing
import os
import signal
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from enum import StrEnum
from typing import Any, Protocol, TypeVar

from agentgym import trust
from agentgym.errors import UserError, first_line
from agentgym.extras import needs

LOOKS_EVERY_S = 0.5  # how often a worker looks whether its parent is still alive
MOST_WORKERS = 1024
AHEAD = 2  # jobs begun for each worker before the first result is taken: results that wait stay few
LACKING = ("failed to import on the worker", "No module named")  # of the function, or of its arguments: Ray's words
Result = TypeVar("Result")


class ExecutorName(StrEnum):
    """The engines there are."""

    PROCESSES = "processes"
    RAY = "ray"


class Executor(Protocol):
    """Runs jobs, at most `workers` at once."""

    @property
    def workers(self) -> int:
        """How many jobs at once."""
        ...

    def map(self, function: Callable[..., Result], jobs: Sequence[tuple[Any, ...]]) -> Iterator[Result]:
        """function(*job) of each job, in the order of the jobs. What the function raises is raised here.

        Raises UserError when a worker dies.
        """
        ...

    def as_done(self, function: Callable[..., Result], jobs: Sequence[tuple[Any, ...]]) -> Iterator[Result]:
        """The same, each result as soon as it is there: for jobs whose results say which they are of."""
        ...


@contextmanager
def start(name: str = ExecutorName.PROCESSES, *, workers: int | None = None) -> Iterator[Executor]:
    """The engine of that name; as many workers as there are cores where none are given.

    Raises UserError for an unknown engine, without Ray, and when the cluster cannot be reached.
    """
    if name not in list(ExecutorName):
        raise UserError(f"there is no engine '{name}'; known: {', '.join(ExecutorName)}")
    if workers is not None and not 1 <= workers <= MOST_WORKERS:
        raise UserError(f"{workers} workers: expected 1 to {MOST_WORKERS}")
    if name == ExecutorName.PROCESSES:
        yield Processes(workers or os.cpu_count() or 1)
    else:
        with _ray_cluster() as cores:
            yield RayCluster(workers or cores)


@dataclass(frozen=True)
class Processes:
    """Processes of this machine; what is one job or has one worker is done in this process."""

    workers: int

    def map(self, function: Callable[..., Result], jobs: Sequence[tuple[Any, ...]]) -> Iterator[Result]:
        """See `Executor`."""
        return self._run(function, jobs, "generator")

    def as_done(self, function: Callable[..., Result], jobs: Sequence[tuple[Any, ...]]) -> Iterator[Result]:
        """See `Executor`."""
        return self._run(function, jobs, "generator_unordered")

    def _run(self, function: Callable[..., Result], jobs: Sequence[tuple[Any, ...]], results: str) -> Iterator[Result]:
        from concurrent.futures.process import BrokenProcessPool

        from joblib import Parallel, delayed  # a third of a second, which `agentgym --help` does not wait for

        # A worker that has loaded PyTorch is taken for one that leaks memory, and begun again: no fault of the user's.
        warnings.filterwarnings("ignore", "A worker stopped while some jobs", UserWarning, "joblib")
        # The initializer runs in the worker processes only: this process keeps its Ctrl-C.
        parallel = Parallel(
            n_jobs=min(self.workers, max(1, len(jobs))),
            return_as=results,
            pre_dispatch=f"{AHEAD}*n_jobs",
            initializer=begin_worker,
            initargs=(os.getpid(),),
        )
        try:
            yield from parallel(delayed(_do)(trust.current(), function, *job) for job in jobs)
        except BrokenProcessPool:
            raise _died() from None


@dataclass(frozen=True)
class RayCluster:
    """The Ray cluster that is connected. A job that is lost with its node is begun again, as Ray's tasks are."""

    workers: int

    def map(self, function: Callable[..., Result], jobs: Sequence[tuple[Any, ...]]) -> Iterator[Result]:
        """See `Executor`."""
        finished: dict[int, Result] = {}
        wanted = 0
        for number, result in self._finish(function, jobs, AHEAD * self.workers):
            finished[number] = result
            while wanted in finished:
                yield finished.pop(wanted)
                wanted += 1

    def as_done(self, function: Callable[..., Result], jobs: Sequence[tuple[Any, ...]]) -> Iterator[Result]:
        """See `Executor`."""
        return (result for _, result in self._finish(function, jobs, len(jobs)))

    def _finish(
        self, function: Callable[..., Result], jobs: Sequence[tuple[Any, ...]], ahead: int
    ) -> Iterator[tuple[int, Result]]:
        """The number of each job and its result, as soon as it is there.

        `ahead` of the first job that is not finished, no other is begun.
        """
        import ray
        from ray.exceptions import RayError, RayTaskError

        task, granted = ray.remote(_do), trust.current()
        running: dict[Any, int] = {}
        begun = 0
        try:
            while running or begun < len(jobs):
                limit = min(len(jobs), min(running.values(), default=begun) + ahead)
                while len(running) < self.workers and begun < limit:
                    running[task.remote(granted, function, *jobs[begun])] = begun
                    begun += 1
                first = ray.wait(list(running))[0][0]
                yield running.pop(first), ray.get(first)
        except RayTaskError as error:
            if any(sign in str(error.cause) for sign in LACKING):
                raise _differs() from None
            raise error.cause from None  # as the function raised it, without Ray's pages around it
        except RayError:
            raise _died() from None


@contextmanager
def _ray_cluster() -> Iterator[int]:
    """How many cores the cluster has: the one connected already, that of RAY_ADDRESS, or a new one of this machine."""
    os.environ.setdefault("RAY_USAGE_STATS_ENABLED", "0")  # Ray counts its users over the network
    os.environ.setdefault("RAY_IGNORE_UNHANDLED_ERRORS", "1")  # of jobs that nobody waits for any more
    with needs("ray", what="--engine ray"):
        import ray
    if ray.is_initialized():
        yield int(ray.cluster_resources()["CPU"])
        return
    try:
        ray.init(include_dashboard=False, log_to_driver=False, logging_level=logging.ERROR)
    except Exception as error:  # Ray raises plain ones too, when a node does not start in time
        reason = first_line(error)
        raise UserError(f"--engine ray: there is no cluster to work on: {reason}") from None
    try:
        yield int(ray.cluster_resources()["CPU"])
    finally:
        ray.shutdown()


def _do(granted: trust.Grant, function: Callable[..., Result], *job: Any) -> Result:
    """A job, in whichever process, with what may be loaded where it was given out."""
    with trust.granted(granted):
        return function(*job)


def begin_worker(parent: int | None = None) -> None:
    """This process works for another one: Ctrl-C is the other's, and when that one ends, however it ends, so does this.

    Ctrl-C reaches the whole process group, and a process that is killed notifies nobody. `parent` is the other one's
    number where multiprocessing did not start this process.
    """
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    threading.Thread(target=_end_with, args=(parent or os.getppid(),), daemon=True).start()


def _end_with(parent: int) -> None:
    starter = multiprocessing.parent_process()
    if starter is not None:
        with suppress(
            OSError, ValueError, AssertionError
        ):  # it may end while this thread begins to wait; then its number changes
            starter.join()
    while os.getppid() == parent:  # polled: no system notifies a thread
        time.sleep(LOOKS_EVERY_S)
    os._exit(1)


def _differs() -> UserError:
    return UserError(
        "--engine ray: a node of the cluster cannot import what it is to do; install the same agentgym on every node, "
        "with the same extras"
    )


def _died() -> UserError:
    return UserError(
        "a worker died: it was killed, or memory ran out (fewer --workers need less); "
        "what is written stays whole, and the same command resumes from there"
    )
