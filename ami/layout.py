"""Paths and the user in the image, shared by provisioning and by the programs that run in the image."""

from __future__ import annotations

from pathlib import Path

USER = "elastic"
HOME = Path("/opt/elastic")
PROGRAM = HOME / "program"
VENV = HOME / "venv"
PYTHON = VENV / "bin" / "python"
# Debian 12's Python; a unit test compares the version with pyproject.toml's.
SITE_PACKAGES = VENV / "lib" / "python3.11" / "site-packages"

# Settings of an instance beside its user data, one a line.
ENVIRONMENT_FILE = Path("/etc/elastic/worker.env")
LOGROTATE_FILE = Path("/etc/elastic/logrotate.conf")
LOG_DIRECTORY = Path("/var/log/elastic")
WORKER_LOG = LOG_DIRECTORY / "worker.log"
STATE_DIRECTORY = Path("/var/lib/elastic")
# A tmpfs, and so empty at every boot.
RUN_DIRECTORY = Path("/run/elastic")
LOCK_FILE = RUN_DIRECTORY / "worker.lock"

SUPERVISOR = f"{PYTHON} -m ami.worker_supervisor"
