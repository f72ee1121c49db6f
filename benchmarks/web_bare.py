"""Baseline of the web benchmark: a bare Flask handler that stores the files of a form in S3.

It does no checks, makes no batch and no jobs, and stores one file after another; it has the same server, with the same
number of processes and threads, and the same S3 client.
"""

from __future__ import annotations

import contextlib
import socket
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import requests
from flask import Flask, request

from aws.clients import Clients
from core.errors import ElasticError
from core.paths import REPOSITORY_ROOT
from local_cloud.processes import spawn, stop_all
from local_cloud.stack import LocalStack
from web_tier.services import EXTENSION

_START_TIMEOUT_SECONDS = 30.0
_STOP_TIMEOUT_SECONDS = 25.0


def create_app(bucket: str, client: Any = None) -> Flask:
    """Creates the application; gunicorn calls this with the bucket's name.

    Args:
        client: an S3 client; by default a new one with a connection for each of the server's threads.
    """
    s3 = _client() if client is None else client
    app = Flask(__name__)
    # The web tier's server configuration closes this at shutdown.
    app.extensions[EXTENSION] = contextlib.ExitStack()

    @app.post("/")
    def store() -> dict[str, Any]:
        stored = []
        for file in request.files.getlist("images"):
            key = uuid.uuid4().hex
            s3.put_object(Bucket=bucket, Key=key, Body=file.read())
            stored.append({"name": file.filename, "key": key})
        return {"accepted": stored}

    return app


def _client() -> Any:
    # Imported late: the module configures the server that imports it.
    from web_tier.gunicorn_config import threads

    return Clients(max_connections=threads)["s3"]


@contextlib.contextmanager
def bare_server(stack: LocalStack, log_directory: Path) -> Iterator[str]:
    """Serves the bare handler as `stack` serves the web tier, with the same embedded cloud; yields its address.

    Raises:
        ElasticError: it does not answer in time.
    """
    log_path = log_directory / "web-bare.log"
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(128)
        command = [sys.executable, "-m", "gunicorn", "--config", "python:web_tier.gunicorn_config"]
        command += ["--bind", f"fd://{listener.fileno()}"]
        command += [f"benchmarks.web_bare:create_app({stack.settings.input_bucket!r})"]
        server = spawn(command, stack.environment, log_path, REPOSITORY_ROOT, pass_fds=(listener.fileno(),))
        address = f"http://127.0.0.1:{listener.getsockname()[1]}"
    try:
        deadline = time.monotonic() + _START_TIMEOUT_SECONDS
        while server.poll() is None and time.monotonic() < deadline:
            with contextlib.suppress(requests.RequestException):
                if requests.post(f"{address}/", timeout=2).ok:
                    break
            time.sleep(0.05)
        else:
            raise ElasticError(f"the bare handler did not start; see {log_path}")
        yield address
    finally:
        stop_all([server], _STOP_TIMEOUT_SECONDS)
