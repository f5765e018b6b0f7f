"""What a policy server counts and times, in the text format of Prometheus."""

from typing import Any

TIMES = (0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5, 1.0, 5.0)  # seconds: the bounds of the buckets


class Metrics:
    """Counts and latencies, as Prometheus reads them."""

    def __init__(self) -> None:
        from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram

        self.registry = CollectorRegistry()
        counts, times = (1, 2, 4, 8, 16, 32, 64, 128, 256, 1024), TIMES

        def named(kind: Any, name: str, meaning: str, **settings: Any) -> Any:
            return kind(name, meaning, namespace="agentgym", registry=self.registry, **settings)

        self._calls = named(Counter, "calls", "Calls to predict that were answered.")
        self._actions = named(Counter, "actions", "Actions that were chosen.")
        self.refused = named(Counter, "refused", "Messages that were answered with an error.")
        self.clients = named(Gauge, "clients", "Clients that are connected.")
        self._latency = named(Histogram, "latency_seconds", "From a call's arrival to its answer.", buckets=times)
        self._batch_time = named(Histogram, "batch_seconds", "Of the policy for one batch.", buckets=times)
        self._batch_rows = named(Histogram, "batch_rows", "Environments in one batch.", buckets=counts)

    def call(self, rows: int, seconds: float) -> None:
        """A call was answered."""
        self._calls.inc()
        self._actions.inc(rows)
        self._latency.observe(seconds)

    def batch(self, rows: int, seconds: float) -> None:
        """A batch was computed."""
        self._batch_rows.observe(rows)
        self._batch_time.observe(seconds)

    def text(self) -> bytes:
        """All of it in Prometheus' text format."""
        from prometheus_client import generate_latest

        return generate_latest(self.registry)
