"""Counters for Prometheus."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from secondsight.server.service import Service

_SECONDS: Final = (0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600)
_PER_TOKEN: Final = (0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5)


class _Gauges(Collector):
    """Reads what the service and the engine hold at the moment that somebody asks."""

    def __init__(self, service: Service) -> None:
        self._service = service

    def collect(self) -> Iterator[Metric]:
        """The gauges."""
        service = self._service
        load = service.backend.load() if service.backend is not None else None

        def gauge(name: str, text: str, value: float) -> Metric:
            return GaugeMetricFamily(f"secondsight_{name}", text, value=value)

        yield gauge("running", "Answers that have a place.", service.line.running)
        yield gauge("waiting", "Answers that wait for a place.", service.line.waiting)
        yield gauge("places", "Answers that are written at once.", service.line.places)
        yield gauge("open_pixels", "Pixels of the images that are open.", service.pixels.used)
        yield gauge("body_bytes", "Bytes of the bodies that are being read.", service.bodies.used)
        ready = service.backend is not None and service.backend.alive and not service.draining
        yield gauge("ready", "Whether requests are let in.", float(ready))
        if load is not None:
            yield gauge("engine_sequences", "Sequences in the running batch.", load.running)
            yield gauge("engine_rows", "Their rows: one for each view.", load.rows)


class Metrics:
    """What happened since the start.

    Labels are the names of registered methods, routes and statuses, so that no client can make
    their number grow.

    Args:
        service: Its line and engine are read when somebody asks.
    """

    def __init__(self, service: Service) -> None:
        self._registry = CollectorRegistry()
        self._registry.register(_Gauges(service))

        def counter(name: str, text: str, *labels: str) -> Counter:
            return Counter(f"secondsight_{name}", text, labels, registry=self._registry)

        def histogram(name: str, text: str, buckets: tuple[float, ...], *labels: str) -> Histogram:
            return Histogram(
                f"secondsight_{name}", text, labels, buckets=buckets, registry=self._registry
            )

        self.requests = counter("requests", "Requests.", "route", "method", "status")
        self.cancelled = counter("cancelled", "Requests whose client went away.", "method")
        self.prompt_tokens = counter("prompt_tokens", "Positions of prompts.", "method")
        self.tokens = counter("tokens", "Tokens written.", "method")
        self.images = counter("images", "Images taken.")
        self.seconds = histogram("request_seconds", "Whole requests.", _SECONDS, "method")
        self.first_token = histogram(
            "first_token_seconds", "From the request to its first token.", _SECONDS, "method"
        )
        self.per_token = histogram(
            "per_token_seconds", "Between tokens, mean of a request.", _PER_TOKEN, "method"
        )
        self.decode = histogram("image_decode_seconds", "Opening an image.", _SECONDS)
        observe: Callable[[float], None] = self.decode.observe
        service.decode_seconds = observe

    def text(self) -> bytes:
        """All of them in Prometheus' format."""
        return generate_latest(self._registry)
