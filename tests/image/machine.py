"""Run commands, and cron, in the root file system, in namespaces whose mounts and processes end with their leader."""

from __future__ import annotations

import contextlib
import os
import shlex
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from pathlib import Path
from types import TracebackType

import psutil

from core.errors import ElasticError
from core.packaging import Archive
from core.paths import REPOSITORY_ROOT
from local_cloud.processes import spawn

# A private mount namespace and a PID namespace: all processes in it end with its first one, that ends with unshare, and
# unshare ends with the process that started it (by SIGKILL, since it ignores SIGTERM).
_NAMESPACES = ("setpriv", "--pdeathsig", "KILL", "unshare", "--mount", "--pid", "--fork", "--kill-child")
_MOUNTS = 'mount -t proc proc "$0/proc" && mount -t tmpfs tmpfs "$0/run" && mount -t tmpfs tmpfs "$0/tmp"'
# Without it, a worker's locks with its child processes are refused.
_MOUNT_SHARED_MEMORY = 'mkdir -p "$0/dev/shm" && mount -t tmpfs -o mode=1777 tmpfs "$0/dev/shm"'
_PATH = "/usr/sbin:/usr/bin:/sbin:/bin"
# This machine's access to the package index, passed to pip but not stored in the image.
_PASSED_ON = ("http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY")
_PIP_OPTIONS = ("index-url", "extra-index-url", "trusted-host", "proxy", "timeout", "cert")
_BOOT_SECONDS = 10.0
_CERTIFICATES = "run/certificates.pem"


def provision(root: Path, archive: Archive, bundle: str) -> str:
    """Runs the ``ami/provision.sh`` of `archive`, unpacked in /run, in `root`; returns what it prints.

    Raises:
        ElasticError: it failed.
    """
    pip, certificates = pip_configuration()
    prepare = [
        _MOUNTS,
        'mkdir "$0/run/program" && tar -xz -C "$0/run/program"',
        # Name resolution needs this file; the mount is visible in this namespace only.
        'mount --bind /etc/resolv.conf "$0/etc/resolv.conf"',
        *([f'cp {shlex.quote(certificates)} "$0/{_CERTIFICATES}"'] if certificates else []),
        f'exec chroot "$0" sh /run/program/ami/provision.sh --bundle {shlex.quote(bundle)}',
    ]
    environment = {"PATH": _PATH, "LC_ALL": "C.UTF-8", **pip}
    environment |= {name: os.environ[name] for name in _PASSED_ON if name in os.environ}
    done = subprocess.run(
        (*_NAMESPACES, "sh", "-ec", "\n".join(prepare), root),
        input=archive.body,
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        check=False,
    )
    output = done.stdout.decode(errors="replace")
    if done.returncode:
        raise ElasticError(f"provisioning ended with status {done.returncode}:\n{output}")
    return output


def pip_configuration() -> tuple[dict[str, str], str]:
    """Variables that configure another pip with this one's package index, and the certificates that it trusts."""
    command = (sys.executable, "-m", "pip", "config", "list")
    lines = subprocess.run(command, check=True, capture_output=True, text=True).stdout.splitlines()
    found = {}
    for name, _, value in sorted(line.partition("=") for line in lines):  # `:env:` comes first and is overridden
        found[name.rpartition(".")[2]] = value.strip("'\"")
    passed_on = {name: _without_folders(found[name]) for name in _PIP_OPTIONS if name in found}
    certificates = passed_on.pop("cert", "")
    variables = {f"PIP_{name.upper().replace('-', '_')}": value for name, value in passed_on.items() if value}
    if certificates:
        variables["PIP_CERT"] = f"/{_CERTIFICATES}"
    return variables, certificates


def _without_folders(value: str) -> str:
    """Removes addresses of folders, which do not exist in the root file system."""
    return " ".join(word for word in value.split() if not word.startswith("file:"))


def run_in(root: Path, command: Sequence[str]) -> str:
    """Runs a command in `root` while no machine runs; returns its output, with any exit status."""
    script = f'{_MOUNTS}\nexec chroot "$0" {shlex.join(command)}'
    done = subprocess.run(
        (*_NAMESPACES, "sh", "-ec", script, root),
        env={"PATH": _PATH},
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        check=False,
    )
    return done.stdout


class Machine:
    """The booted root file system: cron, and the processes that it starts.  A context manager.

    Of systemd it does only what a worker needs: it mounts /proc, /run, /tmp and /dev/shm, and creates the files of
    tmpfiles.d.
    """

    def __init__(self, root: Path, log: Path) -> None:
        boot = (
            f"{_MOUNTS} && {_MOUNT_SHARED_MEMORY}\n"
            'chroot "$0" systemd-tmpfiles --create elastic.conf\nexec chroot "$0" cron -f'
        )
        self._root = root
        self._log = log
        self._command = (*_NAMESPACES, "sh", "-ec", boot, str(root))
        self._process: subprocess.Popen[str] | None = None
        self.booted_at = 0.0

    def __enter__(self) -> Machine:
        self.booted_at = time.monotonic()
        self._process = spawn(self._command, {"PATH": _PATH}, self._log, REPOSITORY_ROOT)
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        assert self._process is not None
        self._process.kill()
        self._process.wait()

    def run(self, command: Sequence[str], user: str | None = None) -> subprocess.CompletedProcess[str]:
        """Runs a command inside and waits for it."""
        leader = self._leader()
        switch = ("setpriv", "--reuid", user, "--regid", user, "--clear-groups") if user else ()
        enter = ("nsenter", "--target", str(leader), "--mount", "--pid", "--root", "--wd")
        return subprocess.run(
            (*enter, *switch, *command), env={"PATH": _PATH}, capture_output=True, text=True, check=False, timeout=120
        )

    def processes(self, module: str) -> list[psutil.Process]:
        """The processes inside that run a Python module; not their child processes."""
        found = []
        for process in psutil.process_iter():
            with contextlib.suppress(psutil.Error, OSError):
                line = process.cmdline()
                if line[1:3] == ["-m", module] and Path(f"/proc/{process.pid}/root").readlink() == self._root:
                    found.append(process)
        return found

    def workers(self) -> list[psutil.Process]:
        """All worker processes inside; there should be one."""
        return self.processes("app_tier")

    def _leader(self) -> int:
        """Waits until cron runs; returns its process id.

        Raises:
            ElasticError: cron does not run in time.
        """
        assert self._process is not None
        deadline = time.monotonic() + _BOOT_SECONDS
        while time.monotonic() < deadline:
            with contextlib.suppress(psutil.Error):
                for child in psutil.Process(self._process.pid).children():
                    if child.name() == "cron":
                        return int(child.pid)
            time.sleep(0.01)
        raise ElasticError(f"cron does not run; see {self._log}")


@contextlib.contextmanager
def counting_workers(machine: Machine, pause_seconds: float = 0.05) -> Iterator[list[int]]:
    """Counts the workers periodically; the list's only element is the most at a time."""
    most, stop = [0], threading.Event()

    def count() -> None:
        while not stop.wait(pause_seconds):
            most[0] = max(most[0], len(machine.workers()))

    thread = threading.Thread(target=count, daemon=True)
    thread.start()
    try:
        yield most
    finally:
        stop.set()
        thread.join()
