"""The curves of a run: sums of losses over all processes, the time, metrics.jsonl and what trackers log."""

import time
from collections import defaultdict
from collections.abc import Mapping
from pathlib import Path

import torch
from accelerate import Accelerator

from agentgym.files import append_json_line, replace_file, to_json, writing
from agentgym.folders import make_folder
from agentgym.training.losses import Losses
from agentgym.training.run_folder import read_metrics
from agentgym.training.trackers import PROJECT, finish, starting

PARTS = ("language", "masked_image", "action")


class MetricAccumulator:
    """Sums over batches, from which means come."""

    def __init__(self) -> None:
        self._samples: list[int] = []
        self._numbers: list[torch.Tensor] = []

    def add(self, losses: Losses, samples: int) -> None:
        """Takes the losses of a batch of that many samples. They stay on their device until `values`."""
        self._samples.append(samples)
        self._numbers.append(losses.numbers())

    def values(self) -> torch.Tensor:
        """All sums as one float64[numbers] on the host, to be added to those of other processes."""
        samples = torch.tensor(self._samples, dtype=torch.float64)
        if not self._numbers:
            return torch.zeros(3 + 2 * len(PARTS), dtype=torch.float64)
        numbers = torch.stack(self._numbers).cpu().double()
        numbers[:, 0] *= samples
        return torch.cat([samples.sum()[None], numbers.sum(0)])

    @property
    def targets(self) -> int:
        """How many action tokens were predicted."""
        return int(self.values()[-1])

    @staticmethod
    def means(values: torch.Tensor) -> dict[str, float]:
        """What the sums [numbers] mean: the loss per sample, each part per term, and the share of correct actions."""
        samples, total, correct, *parts = values.tolist()
        sums, counts = parts[: len(PARTS)], parts[len(PARTS) :]
        by_part = {f"loss/{name}": sum_ / count for name, sum_, count in zip(PARTS, sums, counts, strict=True) if count}
        return {"loss/total": total / samples, **by_part, "accuracy/action": correct / max(1, counts[-1])}


class StepTimer:
    """The time that updates take, by part; evaluation and checkpoints are not part of an update."""

    def __init__(self) -> None:
        self.seconds: defaultdict[str, float] = defaultdict(float)
        self._started = 0.0

    def start(self) -> None:
        """The clock of an update starts."""
        self._started = time.perf_counter()

    def lap(self, part: str) -> None:
        """The time since the last lap went into that part."""
        now = time.perf_counter()
        self.seconds[part] += now - self._started
        self._started = now

    def rates(self, targets: int) -> dict[str, float]:
        """Targets a second, and each part's share of the time."""
        whole = sum(self.seconds.values())
        shares = {f"time/{part}": seconds / whole for part, seconds in self.seconds.items()}
        return {"targets_per_second": targets / whole, **shares}


class MetricLogger:
    """The curves of a run: metrics.jsonl, and what the accelerator's trackers log.

    Resuming from update `first` drops what was written beyond it, so that a resumed journal has no value twice.
    Trackers keep what they have logged, so they get only the values that they have not had.
    """

    def __init__(self, accelerator: Accelerator, path: Path, first: int) -> None:
        make_folder(path)
        self._accelerator, self._file = accelerator, path / "metrics.jsonl"
        before = read_metrics(path)
        self._logged = {(line["update"], name) for line in before for name in line}
        replace_file(self._file, "".join(to_json(line) + "\n" for line in before if line["update"] <= first))
        with starting(accelerator.log_with, path):
            accelerator.init_trackers(PROJECT)

    def write(self, update: int, values: Mapping[str, float]) -> None:
        """Writes values of an update."""
        append_json_line(self._file, {"update": update, **values})
        fresh = {name: value for name, value in values.items() if (update, name) not in self._logged}
        if fresh:
            with writing(self._file.parent):
                self._accelerator.log(fresh, step=update)

    def close(self) -> None:
        """Flushes and closes the trackers."""
        finish(self._accelerator.trackers)
