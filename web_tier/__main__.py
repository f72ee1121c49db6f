"""``python -m web_tier``: serves under gunicorn; takes its flags, such as ``--bind 127.0.0.1:8000``."""

from __future__ import annotations

import os
import sys

from core.cloud_choice import connect
from core.errors import ElasticError

if __name__ == "__main__":
    try:
        if sentence := connect(os.environ).sentence:
            print(sentence, file=sys.stderr)
    except ElasticError as error:
        print(error, file=sys.stderr)
        sys.exit(error.exit_status)
    command = [sys.executable, "-m", "gunicorn", "--config", "python:web_tier.gunicorn_config", *sys.argv[1:]]
    os.execv(sys.executable, command)  # noqa: S606 - there is no shell
