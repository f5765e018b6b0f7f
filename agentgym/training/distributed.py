"""Several processes of one machine that train one model: this one and others, joined by torch.distributed.

Accelerate finds in the environment variables what `accelerate launch` would have put there. On a CPU two processes with
one thread each do more than one process with two, since small matrices leave the second thread waiting.
"""

import multiprocessing
import os
import socket
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import torch
from accelerate.state import AcceleratorState, PartialState

from agentgym import trust
from agentgym.errors import UserError
from agentgym.executors import begin_worker

GONE_WITHIN_S = 2.0  # after its connections, a process that was killed is gone itself
WINDOWS_EACH = 8  # of a batch: with fewer, a process waits for the others more than it computes


def choose(processes: int | None, batch_size: int) -> int:
    """How many processes this one starts, itself among them: those asked for, or as many as a batch is worth.

    That is one a core or a GPU, each with at least WINDOWS_EACH windows; no others where `accelerate launch` has
    started several. Raises UserError when the processes asked for cannot share a batch evenly.
    """
    if _launched() > 1:
        return 1
    if processes is not None:
        if processes < 1 or batch_size % processes:
            raise UserError(f"--processes {processes}: training.batch_size {batch_size} must be a multiple of it")
        return processes
    here = torch.cuda.device_count() or os.cpu_count() or 1
    most = min(here, max(1, batch_size // WINDOWS_EACH))
    return next(count for count in range(most, 0, -1) if batch_size % count == 0)


def is_first() -> bool:
    """Whether this process is the one that prints and writes: the only one, or the first of those launched."""
    return int(os.environ.get("RANK", "0")) == 0


def wait() -> None:
    """Waits for all launched processes; does nothing when there is one."""
    if _launched() > 1:
        PartialState(cpu=not torch.cuda.is_available()).wait_for_everyone()


def _launched() -> int:
    """How many processes `accelerate launch` or `torchrun` has started, on all machines."""
    return int(os.environ.get("WORLD_SIZE", "1"))


@contextmanager
def other_processes(count: int, work: Callable[..., None], *arguments: Any) -> Iterator[None]:
    """While the body runs as process 0 of `count`, `work(*arguments)` runs as each other one, in a fresh interpreter.

    The arguments must be picklable. Raises UserError when one of the others failed.
    """
    if count == 1:
        yield
        return
    threads, environment = torch.get_num_threads(), dict(os.environ)
    each = max(1, threads // count)
    shared = {
        "WORLD_SIZE": str(count),
        "LOCAL_WORLD_SIZE": str(count),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(_free_port()),
        "OMP_NUM_THREADS": str(each),
        "ACCELERATE_USE_CPU": str(not torch.cuda.is_available()).lower(),
    }
    os.environ.update(shared)
    torch.set_num_threads(each)
    context = multiprocessing.get_context("spawn")
    others = [
        context.Process(target=_run, args=(rank, trust.current(), work, arguments), daemon=True)
        for rank in range(1, count)
    ]
    try:
        for other in others:
            other.start()
        os.environ.update(RANK="0", LOCAL_RANK="0")
        forget_accelerator(processes=True)  # made for one process, if it was made
        yield
        for other in others:
            other.join()
        _check_exit_codes(others)
    finally:
        for other in others:
            if other.is_alive():
                other.terminate()
        if torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()
        forget_accelerator(processes=True)
        os.environ.clear()
        os.environ.update(environment)
        torch.set_num_threads(threads)


def forget_accelerator(*, processes: bool = False) -> None:
    """The next Accelerator of this process has settings of its own; with `processes` also a new number of processes.

    Accelerate keeps both for the life of a process and has no public way to start again: its own tests call this
    method, and so does a test here, which notices when it goes.
    """
    AcceleratorState._reset_state(reset_partial_state=processes)


def _run(rank: int, granted: trust.Grant, work: Callable[..., None], arguments: tuple[Any, ...]) -> None:
    """The main function of another process; an error that all processes share is reported by the first."""
    begin_worker()
    os.environ.update(RANK=str(rank), LOCAL_RANK=str(rank))
    torch.set_num_threads(int(os.environ["OMP_NUM_THREADS"]))
    try:
        with trust.granted(granted):
            work(*arguments)
    except UserError:
        raise SystemExit(2) from None
    except RuntimeError:  # of the connection, where the first was killed: nobody is left to be told
        first = multiprocessing.parent_process()
        if first is not None:
            first.join(GONE_WITHIN_S)
            if not first.is_alive():
                raise SystemExit(1) from None
        raise
    finally:
        if torch.distributed.is_initialized():
            torch.distributed.destroy_process_group()


def _check_exit_codes(others: list[Any]) -> None:
    failed = next((other for other in others if other.exitcode), None)
    if failed:
        raise UserError(f"a training process ended with exit code {failed.exitcode}; start again to resume")


def _free_port() -> int:
    with socket.socket() as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])
