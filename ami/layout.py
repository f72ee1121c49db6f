"""Where things lie in the image, and whose they are; for those who make the image and for those who run in it."""

from __future__ import annotations

from pathlib import Path

USER = "elastic"
HOME = Path("/opt/elastic")
PROGRAM = HOME / "program"
VENV = HOME / "venv"
PYTHON = VENV / "bin" / "python"
# Under Debian 12's Python; a unit test holds it to pyproject.toml's.
SITE_PACKAGES = VENV / "lib" / "python3.11" / "site-packages"

# What an instance is to know beside its user data; a setting a line.
ENVIRONMENT_FILE = Path("/etc/elastic/worker.env")
LOGROTATE_FILE = Path("/etc/elastic/logrotate.conf")
LOG_DIRECTORY = Path("/var/log/elastic")
WORKER_LOG = LOG_DIRECTORY / "worker.log"
STATE_DIRECTORY = Path("/var/lib/elastic")
# In memory, and so empty at every boot.
RUN_DIRECTORY = Path("/run/elastic")
LOCK_FILE = RUN_DIRECTORY / "worker.lock"

KEEPER = f"{PYTHON} -m ami.worker_supervisor"
