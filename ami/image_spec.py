"""The image's desired contents: packages, files, links and crontab entries, as plain values.  No I/O here.

Everything is in place when the image is made: at boot nothing is downloaded, compiled or generated.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ami.layout import (
    ENVIRONMENT_FILE,
    LOCK_FILE,
    LOG_DIRECTORY,
    LOGROTATE_FILE,
    PROGRAM,
    RUN_DIRECTORY,
    SITE_PACKAGES,
    STATE_DIRECTORY,
    SUPERVISOR,
    USER,
    WORKER_LOG,
)

# cron starts the worker; flock is part of util-linux.
DEBIAN_PACKAGES = ("python3", "python3-venv", "cron", "logrotate", "util-linux")

# Packages of the program that a worker and its supervisor import.
PROGRAM_PACKAGES = ("core", "aws", "app_tier", "ami")

# The services whose clients a worker uses; botocore carries the data of four hundred.
AWS_SERVICES = ("cloudwatch", "s3", "sqs")
# Files of the wheels that no worker imports, as patterns under site-packages; sizes as measured on x86_64.
UNUSED_FILES = (
    "ai_edge_litert/libLiteRtWebGpuAccelerator.so",  # 18 MiB: there is no GPU
    "ai_edge_litert/libLiteRt.so",  # 8 MiB: the API that compiles models; the interpreter has a library of its own
    "ai_edge_litert/tools",  # 9 MiB
    "ai_edge_litert/vendor*",  # 3 MiB: compilers for phones
    "ai_edge_litert/schema_py_generated.py",
    "numpy/**/tests",  # 10 MiB
    "numpy/f2py",
    "numpy/_core/lib",
    "numpy/_core/include",
    "numpy/random/lib",
    "numpy/**/*.pyi",
    "boto3/examples",
)

# Timers and services that would compete with a booting worker for the processor, or that have no use on it.
MASKED_UNITS = (
    "apt-daily.service",
    "apt-daily.timer",
    "apt-daily-upgrade.service",
    "apt-daily-upgrade.timer",
    "dpkg-db-backup.timer",
    "e2scrub_all.timer",
    "e2scrub_reap.service",
    "fstrim.timer",
    "logrotate.timer",  # the crontab does it
    "man-db.timer",
    "ssh.service",
    "ssh.socket",
    "systemd-networkd-wait-online.service",
    "unattended-upgrades.service",
)

_SYSTEMD = Path("/etc/systemd/system")
_LOG_BYTES = "10M"
_LOGS_KEPT = 2


@dataclass(frozen=True, slots=True)
class FileSpec:
    """A file owned by root and readable by all users."""

    path: Path
    text: str


@dataclass(frozen=True, slots=True)
class LinkSpec:
    """A symbolic link."""

    path: Path
    target: str


@dataclass(frozen=True, slots=True)
class DirectorySpec:
    """A directory owned by the worker's user."""

    path: Path


@dataclass(frozen=True, slots=True)
class CrontabEntry:
    """One line of the worker's crontab, identified by its `comment`."""

    when: str
    command: str
    comment: str


def crontab() -> tuple[CrontabEntry, ...]:
    """The crontab's entries: start the supervisor at boot and every minute, rotate the log every hour.

    flock exits at once while a worker runs, so that at most one runs at a time.
    """
    start = f"/usr/bin/flock --nonblock {LOCK_FILE} {SUPERVISOR} start >> {WORKER_LOG} 2>&1"
    rotate = f"/usr/sbin/logrotate --state {STATE_DIRECTORY}/logrotate.state {LOGROTATE_FILE} >> {WORKER_LOG} 2>&1"
    return (
        CrontabEntry("@reboot", start, "elastic: start at boot"),
        CrontabEntry("* * * * *", start, "elastic: start again what has ended"),
        CrontabEntry("7 * * * *", rotate, "elastic: bound the log"),
    )


def directories() -> tuple[DirectorySpec, ...]:
    """The directories that the worker's user may write to, beside the one that systemd-tmpfiles creates at boot."""
    return (DirectorySpec(LOG_DIRECTORY), DirectorySpec(STATE_DIRECTORY))


def files(model_bundle: str) -> tuple[FileSpec, ...]:
    """The configuration files.

    Args:
        model_bundle: the bundle's folder in the program.
    """
    return (
        FileSpec(
            ENVIRONMENT_FILE, _ENVIRONMENT.format(model_bundle=PROGRAM / model_bundle, model_cache=STATE_DIRECTORY)
        ),
        FileSpec(LOGROTATE_FILE, _LOGROTATE),
        FileSpec(SITE_PACKAGES / "elastic.pth", f"{PROGRAM}\n"),
        FileSpec(Path("/etc/tmpfiles.d/elastic.conf"), f"d {RUN_DIRECTORY} 0755 {USER} {USER} -\n"),
        FileSpec(_SYSTEMD / "elastic-drain.service", _DRAIN),
        FileSpec(_SYSTEMD / "elastic-idle.path", _IDLE_PATH),
        FileSpec(_SYSTEMD / "elastic-idle.service", _IDLE_SERVICE),
        # cloud-init takes seconds of every boot; an instance needs only a network address, which networkd gets.
        FileSpec(Path("/etc/cloud/cloud-init.disabled"), "The worker's supervisor reads the user data itself.\n"),
        FileSpec(Path("/etc/systemd/network/80-elastic.network"), _NETWORK),
    )


def links() -> tuple[LinkSpec, ...]:
    """The links that mask and enable units, as `systemctl` makes them; they need no running systemd."""
    wants = _SYSTEMD / "multi-user.target.wants"
    return (
        *(LinkSpec(_SYSTEMD / unit, "/dev/null") for unit in MASKED_UNITS),
        LinkSpec(wants / "elastic-drain.service", f"{_SYSTEMD}/elastic-drain.service"),
        LinkSpec(wants / "elastic-idle.path", f"{_SYSTEMD}/elastic-idle.path"),
        LinkSpec(wants / "systemd-networkd.service", "/lib/systemd/system/systemd-networkd.service"),
    )


_ENVIRONMENT = """\
# Settings of the worker, EIC_… and AWS_… variables, a line each.  Such lines in an instance's user data come first.
EIC_MODEL_BUNDLE={model_bundle}
EIC_MODEL_CACHE={model_cache}
"""

# The worker keeps the file open, so it is copied and truncated in place.
_LOGROTATE = f"""\
{WORKER_LOG} {{
    size {_LOG_BYTES}
    rotate {_LOGS_KEPT}
    copytruncate
    missingok
    notifempty
}}
"""

# At shutdown systemd stops cron without its children (KillMode=process), then the network, and only then sends SIGTERM
# to the remaining processes: too late for a worker to release its jobs.  Units are stopped in reverse order of their
# start, so this one, which starts after the network, stops the worker while there is still a network.
_DRAIN = f"""\
[Unit]
Description=Stop the worker while there is a network
After=network.target nss-lookup.target systemd-networkd.service systemd-resolved.service cron.service

[Service]
Type=oneshot
RemainAfterExit=yes
User={USER}
ExecStart=/bin/true
ExecStop={SUPERVISOR} stop
TimeoutStopSec=20

[Install]
WantedBy=multi-user.target
"""

# A worker's user may not power the machine off; its supervisor leaves a marker, on which systemd does.
_IDLE_PATH = f"""\
[Unit]
Description=The worker has left because there was nothing to do

[Path]
PathExists={RUN_DIRECTORY}/idle

[Install]
WantedBy=multi-user.target
"""

_IDLE_SERVICE = """\
[Unit]
Description=Switch an idle machine off

[Service]
Type=oneshot
ExecStart=/bin/systemctl poweroff
"""

_NETWORK = """\
[Match]
Type=ether
Name=en* eth*

[Network]
DHCP=yes
"""
