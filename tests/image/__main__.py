"""``python -m tests.image``: make the image's root file system, boot it and check it; print a table.

Exits with status 0 only if every check passes.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import re
import shlex
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from ami.layout import ENVIRONMENT_FILE, HOME, LOG_DIRECTORY, RUN_DIRECTORY, USER, WORKER_LOG
from ami.program import DEFAULT_BUNDLE, image_archive
from aws.metadata import ENDPOINT_VARIABLE
from aws.queue import MAX_MESSAGES_PER_REQUEST
from core.errors import ElasticError
from core.paths import REPOSITORY_ROOT
from core.sizes import format_bytes
from local_cloud.sample_photos import make_crops
from tests.image import root as roots
from tests.image.cloud import Cloud, running_cloud
from tests.image.machine import Machine, counting_workers, provision, run_in

MAX_ADDED_BYTES = 350 * 1024 * 1024
MAX_BOOT_SECONDS = 5.0
# cron starts the supervisor once a minute; the worker's start takes some more time.
MAX_RESTART_SECONDS = 62.0
MAX_STOP_SECONDS = 10.0
BOOTS = 3
PHOTOS = 60
REDELIVERED = 3
INSTANCE_ID = "i-00000000000000001"
TIMEOUT_SECONDS = 30.0
# How much of the worker's log is printed with a failed check.
LOG_CHARACTERS = 4000


class ImageTest:
    """The checks, in their order; `rows` gets what was checked, the finding, and whether it passed."""

    def __init__(self, folder: Path, photos: list[Path], console: Console) -> None:
        self.rows: list[tuple[str, str, bool]] = []
        self.figures: dict[str, Any] = {}
        self._folder = folder
        self._photos = photos
        self._console = console
        self._root = folder / "root"
        self._interrupted_prefix = ""

    def run(self) -> None:
        """Runs all checks."""
        self._make()
        with running_cloud(self._folder / "log") as cloud:
            # The only setting that an instance on EC2 does not have: the address of its metadata service.
            settings = self._inside(ENVIRONMENT_FILE)
            endpoint = cloud.metadata.endpoint(INSTANCE_ID)
            settings.write_text(f"{settings.read_text()}{ENDPOINT_VARIABLE}={endpoint}\n")
            cloud.metadata.set_user_data(INSTANCE_ID, cloud.user_data())
            self._verify_units()
            self._boot(cloud)
            with self._machine() as machine, counting_workers(machine) as most:
                self._work(cloud)
                self._start_again(machine)
                self._kill(cloud, machine)
                self._stop(cloud, machine)
                self._rotate(machine)
                self._check("most workers at a time", str(most[0]), most[0] == 1)
            cloud.metadata.set_user_data(INSTANCE_ID, cloud.user_data(idle_shutdown_seconds="1"))
            with self._machine() as machine:
                self._idle(cloud, machine)
        self._check("left mounted or running", *self._leftovers())

    # --- making ----------------------------------------------------------------------------------

    def _make(self) -> None:
        # Made once, so that both runs have the same files, even if they are edited meanwhile.
        archive = image_archive(REPOSITORY_ROOT, DEFAULT_BUNDLE)
        with self._step("root file system"):
            roots.fresh_root(self._folder)
        base_bytes = roots.size_bytes(self._root)
        with self._step("provisioning"):
            provision(self._root, archive, DEFAULT_BUNDLE)
        before = roots.files_of(self._root)
        added_bytes = roots.size_bytes(self._root) - base_bytes
        with self._step("provisioning again"):
            output = provision(self._root, archive, DEFAULT_BUNDLE)
        touched = {name for name, _ in before.items() ^ roots.files_of(self._root).items()}
        (changed,) = re.findall(r"^(\d+) changed$", output, re.MULTILINE)
        self._check("steps changed by the second run", changed, changed == "0")
        self._check("files changed by the second run", ", ".join(sorted(touched)[:3]) or "0", not touched)
        self.figures |= {"base_bytes": base_bytes, "added_bytes": added_bytes}
        sizes = f"{format_bytes(added_bytes)} ({added_bytes} bytes) over {format_bytes(base_bytes)}"
        self._check("image adds", sizes, added_bytes <= MAX_ADDED_BYTES)
        strays = [path for pattern in ("pip", "pip.conf", "*.whl") for path in self._inside(HOME).rglob(pattern)]
        outside = (self._root / name for name in ("root/.cache", "root/.config", "etc/pip.conf"))
        strays += [path for path in outside if path.exists()]
        self._check("left of pip", ", ".join(map(str, strays)) or "nothing", not strays)

    def _verify_units(self) -> None:
        units = sorted(path.name for path in self._inside(Path("/etc/systemd/system")).glob("elastic-*"))
        output = run_in(self._root, ("systemd-analyze", "verify", "--man=no", *units))
        ours = [line for line in output.splitlines() if "elastic" in line]
        self._check("systemd accepts", ", ".join(ours or units), not ours)

    # --- booting ---------------------------------------------------------------------------------

    def _boot(self, cloud: Cloud) -> None:
        """Boots several times, with cold file caches and one photo in the queue."""
        seconds = []
        for _ in range(BOOTS):
            prefix = cloud.upload(self._photos[:1])
            roots.forget_cached(self._root)
            with self._machine() as machine:
                cloud.wait_for_answers(prefix, 1, TIMEOUT_SECONDS)
                seconds.append(round(time.monotonic() - machine.booted_at, 2))
            # A dead worker's last receive request could still take the next worker's job.
            time.sleep(cloud.settings.receive_wait_seconds + 0.5)
        self.figures["boot_to_first_result_seconds"] = seconds
        values = ", ".join(f"{value:.2f}" for value in seconds)
        self._check("boot to first result", f"{values} s", max(seconds) <= MAX_BOOT_SECONDS)

    def _work(self, cloud: Cloud) -> None:
        answers = cloud.wait_for_answers(cloud.upload(self._photos), len(self._photos), TIMEOUT_SECONDS)
        good = sum("error:" not in line for line in answers)
        self._check("photos answered", f"{good} of {len(self._photos)}", good == len(self._photos))

    def _start_again(self, machine: Machine) -> None:
        """Runs cron's start command again, with the supervisor running and killed: no second worker must start."""
        (worker,) = machine.workers()
        start = self._crontab(machine)[0]
        for _ in range(5):
            machine.run(("sh", "-c", start), USER)
        for supervisor in machine.processes("ami.worker_supervisor"):
            supervisor.kill()
        for _ in range(5):
            machine.run(("sh", "-c", start), USER)
        left = [process.pid for process in machine.workers()]
        finding = "all 10 refused" if left == [worker.pid] else f"{len(left)} workers"
        self._check("starts beside a running worker", finding, left == [worker.pid])

    def _kill(self, cloud: Cloud, machine: Machine) -> None:
        (worker,) = machine.workers()
        worker.send_signal(signal.SIGKILL)
        killed = time.monotonic()
        time.sleep(cloud.settings.receive_wait_seconds + 0.5)  # as above
        cloud.wait_for_answers(cloud.upload(self._photos[:1]), 1, MAX_RESTART_SECONDS + TIMEOUT_SECONDS)
        seconds = round(time.monotonic() - killed, 1)
        self.figures["answers_after_kill_seconds"] = seconds
        self._check("answers again after SIGKILL", f"{seconds} s", seconds <= MAX_RESTART_SECONDS)

    def _stop(self, cloud: Cloud, machine: Machine) -> None:
        """Stops the worker while it has jobs, as systemd does at shutdown."""
        unit = self._inside(Path("/etc/systemd/system/elastic-drain.service")).read_text()
        (command,) = re.findall(r"^ExecStop=(.*)$", unit, re.MULTILINE)
        self._interrupted_prefix = cloud.upload(self._photos * 3)
        self._until(lambda: cloud.queue.backlog().in_flight > 0)
        started = time.monotonic()
        stopped = machine.run(shlex.split(command), USER)
        seconds = round(time.monotonic() - started, 2)
        self.figures["stop_seconds"] = seconds
        left, backlog = len(machine.workers()), cloud.queue.backlog()
        ended = stopped.returncode == 0 and left == 0 and seconds <= MAX_STOP_SECONDS
        self._check("stops on termination", f"{seconds} s, {left} left", ended)
        # Jobs of a receive request that was answered after the end become visible after the visibility timeout.
        given_back = backlog.in_flight <= MAX_MESSAGES_PER_REQUEST and backlog.visible > 0
        self._check("jobs given back", f"{backlog.visible} wait, {backlog.in_flight} in flight", given_back)
        # A job that is delivered again is decoded in a process of its own.
        cloud.queue.receive(REDELIVERED, wait_seconds=0)
        again = machine.run(("sh", "-c", self._crontab(machine)[1]), USER)
        self._check("no start after that", f"status {again.returncode}", not machine.workers())

    def _rotate(self, machine: Machine) -> None:
        log = self._inside(WORKER_LOG)
        for _ in range(4):
            with log.open("ab") as file:
                file.write(b"x" * (11 * 1024 * 1024))
            machine.run(("sh", "-c", self._crontab(machine)[2]), USER)
        files = sorted(path.name for path in self._inside(LOG_DIRECTORY).iterdir())
        bounded = log.stat().st_size < 2**20 and files == ["worker.log", "worker.log.1", "worker.log.2"]
        self._check("log after 4 rotations", ", ".join(files), bounded)

    def _idle(self, cloud: Cloud, machine: Machine) -> None:
        """Answers what the stopped worker left, some of it for the second time, in a process of its own."""
        marker = ("test", "-e", str(RUN_DIRECTORY / "idle"))
        # These jobs, and those of the stopped worker's last receive request, are in flight until their visibility
        # timeout.
        visibility_timeout_seconds = cloud.settings.visibility_timeout_seconds
        self._until(lambda: machine.run(marker).returncode == 0, TIMEOUT_SECONDS + visibility_timeout_seconds)
        idle = machine.run(marker).returncode == 0
        self._check("leaves its marker when idle", "yes" if idle else "no", idle)
        backlog = cloud.queue.backlog()
        answers = cloud.answers(self._interrupted_prefix)
        good = sum("error:" not in line for line in answers)
        finding = f"{good} of {PHOTOS * 3}, {backlog.total} jobs left"
        self._check("answers of interrupted jobs", finding, good == PHOTOS * 3 and backlog.total == 0)

    # --- helpers ---------------------------------------------------------------------------------

    def _machine(self) -> Machine:
        return Machine(self._root, self._folder / "log" / "machine.log")

    def _inside(self, path: Path) -> Path:
        return self._root / path.relative_to("/")

    def _crontab(self, machine: Machine) -> list[str]:
        """The commands in the user's crontab."""
        table = machine.run(("crontab", "-l", "-u", USER)).stdout
        return re.findall(r"^(?:@reboot|\S+ \S+ \S+ \S+ \S+) (.*?) #.*$", table, re.MULTILINE)

    def _leftovers(self) -> tuple[str, bool]:
        mounts = sum(f" {self._root}/" in line for line in Path("/proc/mounts").read_text().splitlines())
        workers = len(Machine(self._root, self._folder / "log").workers())
        return f"{mounts} mounts, {workers} workers", mounts + workers == 0

    def _until(self, condition: Callable[[], bool], timeout_seconds: float = TIMEOUT_SECONDS) -> None:
        deadline = time.monotonic() + timeout_seconds
        while not condition() and time.monotonic() < deadline:
            time.sleep(0.02)

    def _check(self, what: str, finding: str, passed: bool) -> None:
        self.rows.append((what, finding, passed))
        if not passed and self._inside(WORKER_LOG).exists():
            self._console.print(self._inside(WORKER_LOG).read_text()[-LOG_CHARACTERS:], markup=False, highlight=False)
        self._console.print(f"{what}: {finding}", style=None if passed else "red", highlight=False, soft_wrap=True)

    @contextlib.contextmanager
    def _step(self, what: str) -> Any:
        started = time.monotonic()
        with self._console.status(f"{what} …"):
            yield
        seconds = round(time.monotonic() - started, 1)
        self.figures[f"{what.replace(' ', '_')}_seconds"] = seconds
        self.rows.append((what, f"{seconds} s", True))


def main() -> int:
    """Runs the test; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.image", description=__doc__.splitlines()[0])
    parser.add_argument(
        "--folder", type=Path, default=REPOSITORY_ROOT / "var" / "image", help="folder of the root file system"
    )
    parser.add_argument("--json", type=Path, help="write the figures to this file")
    options = parser.parse_args()
    console = Console(stderr=True)
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))
    try:
        roots.require_tools()
        options.folder.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryDirectory() as folder:
            test = ImageTest(options.folder.resolve(), make_crops(PHOTOS, 1, Path(folder)), console)
            test.run()
        roots.remove(options.folder.resolve() / "root")
    except ElasticError as error:
        console.print(str(error), style="red", markup=False, highlight=False)
        return 1
    table = Table("check", "found", "", title="The app tier's image", title_justify="left")
    for what, finding, ok in test.rows:
        table.add_row(what, finding, "ok" if ok else "[red]not ok")
    Console().print(table)
    passed = all(ok for _, _, ok in test.rows)
    if options.json is not None:
        options.json.write_text(json.dumps({"passed": passed, **test.figures}) + "\n", "utf-8")
    return 0 if passed else 1


if __name__ == "__main__":
    sys.exit(main())
