"""The broker's numbers for Prometheus, on 127.0.0.1, from a thread of its own. No number tells of a single user."""

from __future__ import annotations

import contextlib
import logging
import os
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import Final
from wsgiref.simple_server import WSGIRequestHandler, WSGIServer, make_server

from prometheus_client import CollectorRegistry, ProcessCollector, make_wsgi_app
from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from broker.router import Router
from core.errors import BrokerFailed
from core.messages import Status

log = logging.getLogger("broker")

_HOST: Final = "127.0.0.1"


class Numbers(Collector):
    """What a router counts. ``failing`` says of each database whether it cannot be written now.

    It is asked in another thread than the router's: it reads single integers, and lengths, which never change halfway.
    """

    def __init__(self, router: Router, failing: Mapping[str, Callable[[], bool]]) -> None:
        self._router = router
        self._failing = failing

    def collect(self) -> Iterator[Metric]:
        """The numbers as they are now."""
        router, mailbox = self._router, self._router.post.mailbox
        yield _gauge("connections", "Clients that are logged in.", len(router.connections))
        yield _gauge("users_present", "Users who receive now.", router.directory.present)
        yield CounterMetricFamily(
            "securechat_copies", "Copies of messages taken from senders, one for each recipient.", value=router.routed
        )
        results = CounterMetricFamily(
            "securechat_results", "What became of copies, as their senders were told.", labels=["status"]
        )
        for status in Status:
            results.add_metric([status.name.lower()], router.counts[status])
        yield results
        yield _gauge("mail_waiting", "Copies that wait for profiles.", mailbox.count)
        yield _gauge("mail_waiting_bytes", "Bytes of the copies that wait for profiles.", mailbox.bytes)
        blobs = router.blobs
        yield _gauge("files", "Files that are kept.", blobs.count)
        yield _gauge("files_bytes", "Bytes of the files that are kept, as they will be when all are whole.", blobs.bytes)
        yield _gauge("files_unfinished", "Files that are kept and not whole yet.", blobs.unfinished)
        failing = GaugeMetricFamily(
            "securechat_storage_failing", "1 if this database cannot be written now, else 0.", labels=["database"]
        )
        for name, fails in self._failing.items():
            failing.add_metric([name], int(fails()))
        yield failing


def _gauge(name: str, what: str, value: int) -> Metric:
    return GaugeMetricFamily(f"securechat_{name}", what, value=value)


class _Handler(WSGIRequestHandler):
    timeout = 5.0  # one request at a time is answered: whoever connects and says nothing holds up the next one no longer

    def log_message(self, format: str, *args: object) -> None:  # noqa: A002 - the name that its caller uses
        """Log nothing."""


class _Server(WSGIServer):
    def handle_error(self, request: object, client_address: object) -> None:  # noqa: ARG002 - its caller's names
        """Whoever asked went away, or was too slow."""
        log.debug("A request for metrics came to nothing", exc_info=True)


@contextlib.contextmanager
def metrics_at(port: int, numbers: Numbers) -> Iterator[int]:
    """Give the numbers at a port of 127.0.0.1 (0: any), which is yielded. Raises BrokerFailed if it cannot be had."""
    registry = CollectorRegistry()
    registry.register(numbers)
    ProcessCollector(registry=registry)
    try:
        server = make_server(_HOST, port, make_wsgi_app(registry), server_class=_Server, handler_class=_Handler)
    except OSError as error:
        why = os.strerror(error.errno or 0)
        raise BrokerFailed(why=f"Port {port} of {_HOST} cannot be had for metrics: {why}; choose another.") from error
    with server:
        thread = threading.Thread(target=server.serve_forever, name="securechat-metrics", daemon=True)
        thread.start()
        try:
            yield server.server_port
        finally:
            server.shutdown()
            thread.join()
