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
from web_tier.observability.metrics import DIRECTORY_VARIABLE
from web_tier.security.bind_address import check_addresses
from web_tier.services import EXTENSION

wsgi_app = "web_tier.wsgi:app"
bind = "127.0.0.1:8000"
worker_class = "gthread"
workers = 2
# A viewer of events and a request that waits for its answer keep a thread each: `web_tier.MAX_VIEWERS` and
# `MAX_WAITING` of them at most, which leaves 64 for uploads and all else even where one process gets everybody.
# Threads are started as they are needed; docs/adr/0008-api.md says what they cost.
threads = 512

# A worker reports from its main loop, not from the threads: a long upload is no reason to kill it.
timeout = 60
# An upload that is under way when the server stops may finish.
graceful_timeout = 20
# Longer than the page's poll interval, so that a browser keeps its connection and with it a warm cache.
keepalive = 15

# Requests are logged by the application, polling left out.
accesslog = None
loglevel = "warning"
# Heartbeat files in memory: a slow disk must not look like a stuck worker.
_MEMORY = Path("/dev/shm")  # noqa: S108
worker_tmp_dir = str(_MEMORY) if _MEMORY.is_dir() else None
# Nobody drives a running server through gunicorn's management socket in the home folder.
control_socket_disable = True

# The processes' metrics meet in files, in memory, too; see `web_tier.observability.metrics`.
if not os.environ.get(DIRECTORY_VARIABLE):
    os.environ[DIRECTORY_VARIABLE] = tempfile.mkdtemp(prefix="eic-metrics-", dir=worker_tmp_dir)
_METRICS_OWNER = os.getpid()


def when_ready(server: Any) -> None:
    """Refuses to serve other machines without authentication, however the sockets came here; loads the application.

    Loaded before the processes fork, it is in memory once.  (With `preload_app`, gunicorn would load it before there
    are sockets to look at.)  New code is for a restart.
    """
    settings = Settings.from_environment(os.environ)
    # With `reuse_port`, workers open the sockets themselves.
    addresses = [listener.sock.getsockname() for listener in server.LISTENERS] or server.cfg.address
    try:
        check_addresses(addresses, settings.authentication)
    except SettingsError as error:
        # Gunicorn prints a RuntimeError's sentence and ends.
        raise RuntimeError(str(error)) from None
    server.app.wsgi()
    # The collector writes into all objects that it looks at, which would give each process copies of its own.
    gc.collect()
    gc.freeze()


def post_worker_init(worker: Any) -> None:
    """Ends streams and waits as soon as the process is asked to stop: a reload must not wait for their lifetime."""

    def close_when_asked() -> None:
        while worker.alive:
            threading.Event().wait(0.5)
        worker.wsgi.extensions[EXTENSION].close()

    threading.Thread(target=close_when_asked, name="close", daemon=True).start()


def child_exit(server: Any, worker: Any) -> None:
    """Takes an ended process's gauges out of the metrics."""
    from prometheus_client import multiprocess

    multiprocess.mark_process_dead(worker.pid)  # type: ignore[no-untyped-call]


def on_exit(server: Any) -> None:
    """Removes the metrics' files."""
    if os.getpid() == _METRICS_OWNER:
        shutil.rmtree(os.environ[DIRECTORY_VARIABLE], ignore_errors=True)
