"""``python -m local_cloud.emulator --port N``: run moto's server as the embedded AWS.

It serves S3, SQS, EC2 and moto's other services on the loopback interface; all data is in memory and is lost when the
process ends.  It prints its endpoint, one line, when it accepts requests.
"""

# ruff: noqa: E402 - what moto finds when it is imported is set before
from __future__ import annotations

import argparse
import functools
import gc
import os
import signal
from types import FrameType
from typing import TYPE_CHECKING, Any

import boto3

# Looking for garbage takes a fifth of the time to import moto's tables, and finds none.
gc.disable()

# moto reads its settings when it is imported.  Its catalogue of AMIs takes seconds to load and is not needed, nor are
# CORS headers, since no browser sends requests to the emulator.
os.environ.setdefault("MOTO_EC2_LOAD_DEFAULT_AMIS", "false")
os.environ.setdefault("MOTO_DISABLE_GLOBAL_CORS", "true")
# When it is imported, moto's EC2 reads botocore's endpoints by three sessions, each anew: 0.4 s more than by one.
boto3.Session = functools.cache(boto3.Session)

from moto.moto_server.werkzeug_app import DomainDispatcherApplication, create_backend_app
from moto.sqs.exceptions import ReceiptHandleIsInvalid
from moto.sqs.models import sqs_backends
from werkzeug.serving import BaseWSGIServer

from local_cloud import moto_caches, moto_cloudwatch, moto_ec2, moto_s3, moto_sqs
from local_cloud.faults import FaultInjector, FaultSpec
from local_cloud.http_server import HOST, create_http_server
from local_cloud.s3_object_requests import ObjectRequests

boto3.Session = boto3.Session.__wrapped__
gc.enable()

if TYPE_CHECKING:
    from _typeshed.wsgi import WSGIApplication


class _Dispatcher(DomainDispatcherApplication):
    """Selects the service of a request."""

    @functools.lru_cache(maxsize=256)  # noqa: B019 - there is one dispatcher, and it lives as long as the process
    def get_backend_for_host(self, host: str | None) -> Any:
        """Caches moto's method, which lists the folder of moto's package, 2 ms for each request."""
        return super().get_backend_for_host(host)


def create_server(
    port: int, *, listener: int | None = None, plain_queues: bool = False, faults: FaultSpec | None = None
) -> BaseWSGIServer:
    """Creates a server bound to `port` of the loopback interface (0: a free one), with a thread for each connection.

    Args:
        listener: the descriptor of a listening socket that is used instead.
        plain_queues: keep moto's own SQS queues, for the benchmark that compares the two.
        faults: the faults to inject; see `local_cloud.faults`.

    Raises:
        SystemExit: the port is in use.
    """
    moto_caches.install()
    moto_cloudwatch.install()
    moto_ec2.install()
    moto_s3.install()
    if not plain_queues:
        moto_sqs.install()
    app: WSGIApplication = ObjectRequests(_Dispatcher(create_backend_app))
    if faults is not None:
        app = FaultInjector(app, faults, _redeliver)
    return create_http_server(app, port, listener)


def _redeliver(region: str, queue_url: str, receipt_handle: str) -> bool:
    """Makes a received message visible again; returns False if it has been deleted or delivered again already."""
    _endpoint, account, queue_name = queue_url.rsplit("/", 2)
    try:
        sqs_backends[account][region].change_message_visibility(queue_name, receipt_handle, 0)
    except ReceiptHandleIsInvalid:
        return False
    return True


def _stop(_signal_number: int, _frame: FrameType | None) -> None:
    # Exit without waiting for threads in long polls; all state is in memory.
    os._exit(0)


def main(arguments: list[str] | None = None) -> None:
    """Runs the server until SIGTERM or SIGINT."""
    parser = argparse.ArgumentParser(prog="python -m local_cloud.emulator", description="The embedded AWS.")
    parser.add_argument("--port", type=int, default=0, help="TCP port on 127.0.0.1; 0 (default): a free one")
    parser.add_argument("--listener", type=int, metavar="FD", help="an inherited listening socket, instead of a port")
    parser.add_argument("--plain-queues", action="store_true", help=argparse.SUPPRESS)  # for benchmarks.queue_backlog
    parser.add_argument(
        "--faults",
        type=FaultSpec.parse,
        metavar="SEED|JSON",
        help="inject faults: a seed, or a JSON object with fields of local_cloud.faults.FaultSpec (default: none)",
    )
    options = parser.parse_args(arguments)
    signal.signal(signal.SIGTERM, _stop)
    signal.signal(signal.SIGINT, _stop)
    server = create_server(
        options.port, listener=options.listener, plain_queues=options.plain_queues, faults=options.faults
    )
    gc.freeze()
    print(f"http://{HOST}:{server.port}", flush=True)
    server.serve_forever()


if __name__ == "__main__":
    main()
