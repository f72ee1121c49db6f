"""``python -m web_tier``: serves under gunicorn; takes its flags, such as ``--bind 127.0.0.1:8000``."""

from __future__ import annotations

import os
import sys

if __name__ == "__main__":
    command = [sys.executable, "-m", "gunicorn", "--config", "python:web_tier.gunicorn_config", *sys.argv[1:]]
    os.execv(sys.executable, command)  # noqa: S606 - there is no shell
