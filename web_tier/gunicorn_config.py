"""Gunicorn's settings for the web tier; flags on its command line override them.

Each process holds its own caches and thread pools, so a few processes with many threads serve better than
the reverse: nearly all of a request's time is spent waiting for the client, for S3 or for the app tier.
"""

from __future__ import annotations

import gc
import os
import shutil
import tempfile
import threading
from pathlib import Path
from typing import Any

from core.errors import SettingsError
from core.settings import Settings
from web_tier.header_worker import HeaderWaitingWorker, connections_within, raised_descriptor_limit
from web_tier.observability.gunicorn_log import OneLineLogger
from web_tier.observability.metrics import DIRECTORY_VARIABLE
from web_tier.security.bind_address import check_addresses
from web_tier.services import EXTENSION

wsgi_app = "web_tier.wsgi:app"
bind = "127.0.0.1:8000"
worker_class = HeaderWaitingWorker
workers = 2
# An event stream and a request that waits for its result occupy a thread each: `web_tier.MAX_VIEWERS` and
# `MAX_WAITING` of them at most, which leaves 64 for uploads and everything else even where one process serves all
# clients.  Threads are started as they are needed; docs/adr/0008-api.md states their cost.
threads = 512
# Most connections only wait for a header, which costs a descriptor each; a request needs more, for its files and S3.
worker_connections = connections_within(raised_descriptor_limit(), threads)

# A worker process reports from its main loop, not from the threads: a long upload does not get it killed.
timeout = 60
# An upload that is under way when the server stops may finish.
graceful_timeout = 20
# Longer than the page's poll interval, so that a browser keeps its connection to a process with a warm cache.
keepalive = 15

logger_class = OneLineLogger
# The application logs requests itself, without polling.
accesslog = None
loglevel = "warning"
# Heartbeat files in memory: a slow disk must not look like a stuck worker.
_MEMORY = Path("/dev/shm")  # noqa: S108
worker_tmp_dir = str(_MEMORY) if _MEMORY.is_dir() else None
# Gunicorn's management socket in the home folder is not used.
control_socket_disable = True

# The processes share their metrics through files in memory; see `web_tier.observability.metrics`.
if not os.environ.get(DIRECTORY_VARIABLE):
    os.environ[DIRECTORY_VARIABLE] = tempfile.mkdtemp(prefix="eic-metrics-", dir=worker_tmp_dir)
_METRICS_OWNER = os.getpid()


def when_ready(server: Any) -> None:
    """Checks the addresses of the listening sockets, inherited ones included, then loads the application.

    Loaded before the processes fork, the application is in memory once.  (With `preload_app`, gunicorn would load it
    before the sockets exist.)  New code therefore needs a restart, not a reload.
    """
    settings = Settings.from_environment(os.environ)
    # With `reuse_port`, workers open the sockets themselves.
    addresses = [listener.sock.getsockname() for listener in server.LISTENERS] or server.cfg.address
    try:
        check_addresses(addresses, settings.authentication)
    except SettingsError as error:
        # Gunicorn prints a RuntimeError's message and exits.
        raise RuntimeError(str(error)) from None
    gc.disable()  # nothing that is loaded is garbage, and looking for it takes a tenth of the time
    server.app.wsgi()
    gc.enable()
    # The collector writes into every object that it visits, which would give each process a copy of its memory pages.
    gc.collect()
    gc.freeze()


def post_worker_init(worker: Any) -> None:
    """Starts what runs beside the requests of a process.

    Ends event streams and waiting requests as soon as the process shall stop, so that a reload is not held up.
    """
    services, stop = worker.wsgi.extensions[EXTENSION], threading.Event()
    services.start(stop)

    def close_on_stop() -> None:
        while worker.alive:
            threading.Event().wait(0.5)
        stop.set()
        services.close()

    threading.Thread(target=close_on_stop, name="close", daemon=True).start()


def child_exit(server: Any, worker: Any) -> None:
    """Removes an ended process's gauges from the metrics."""
    from prometheus_client import multiprocess

    multiprocess.mark_process_dead(worker.pid)  # type: ignore[no-untyped-call]


def on_exit(server: Any) -> None:
    """Removes the metrics' files."""
    if os.getpid() == _METRICS_OWNER:
        shutil.rmtree(os.environ[DIRECTORY_VARIABLE], ignore_errors=True)
