"""Gunicorn's settings for the web tier; flags on its command line override them.

Each process holds its own caches and thread pools, so a few processes with many threads serve better than
the reverse: nearly all of a request's time is spent waiting for the client or for S3.
"""

from __future__ import annotations

from pathlib import Path

wsgi_app = "web_tier.wsgi:app"
bind = "127.0.0.1:8000"
worker_class = "gthread"
workers = 2
threads = 16

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
