"""``python -m tests.container``: build the Dockerfile's images, run them and check them; print a table.

The web tier, the controller and a worker run in containers of their own against the embedded cloud, and label a photo;
then the image with the whole program does.  Exits with status 0 only if every check passes.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path

import psutil
import requests
from rich.console import Console
from rich.table import Table

from api_client.client import ApiClient
from api_client.responses import ApiError
from core.errors import ElasticError
from core.paths import REPOSITORY_ROOT
from core.sizes import format_bytes
from local_cloud.processes import spawn, stop_all
from local_cloud.sample_photos import make_crops
from local_cloud.stack import LocalStack
from tests.container.builder import Builder
from tests.image import root as roots

TARGETS = ("web", "controller", "worker", "local")
USER_ID = 10001
START_SECONDS = 120.0
# The target with the whole program has the packages with the demo's photos.
MAX_BYTES = {"web": 320 * 2**20, "controller": 320 * 2**20, "worker": 450 * 2**20, "local": 1400 * 2**20}
TIER_PORT, LOCAL_PORT = 8000, 8080


class ContainerTest:
    """The checks, in their order; `rows` gets what was checked, the finding, and whether it passed."""

    def __init__(self, builder: Builder, folder: Path, photo: Path, console: Console) -> None:
        self.rows: list[tuple[str, str, bool]] = []
        self._builder = builder
        self._folder = folder
        self._photo = photo
        self._console = console
        self._images: dict[str, str] = {}
        self._container = ""
        self._process: subprocess.Popen[str] | None = None

    def run(self, targets: Sequence[str] = TARGETS) -> None:
        """Runs all checks of these targets."""
        self._console.print("Making the base …")
        self._builder.make_base()
        for target in targets:
            started = time.monotonic()
            self._console.print(f"Building {target} …")
            self._images[target] = self._builder.build(target)
            self._check(f"{target}: built", f"{time.monotonic() - started:.0f} s", True)
            self._inspect(target)
        if {"web", "controller", "worker"} <= set(targets):
            self._tiers()
        if "local" in targets:
            self._local()

    def _inspect(self, target: str) -> None:
        configuration = self._builder.configuration(self._images[target])
        self._check(f"{target}: user", str(configuration["User"]), configuration["User"] == str(USER_ID))
        with self._builder.container(self._images[target]) as container, self._builder.mounted(container) as root:
            size = roots.size_bytes(root)
            self._check(f"{target}: size", format_bytes(size), size <= MAX_BYTES[target])
            home = root / "opt/elastic"
            foreign = [
                str(path) for path in home.rglob("*") if path.lstat().st_uid != 0 or path.lstat().st_mode & 0o022
            ]
            # Links have all rights, whatever they point to.
            foreign = [path for path in foreign if not Path(path).is_symlink()]
            self._check(f"{target}: files that its user can change", ", ".join(foreign[:3]) or "none", not foreign)
            strays = [
                str(path) for name in ("pip.conf", "*.pem", ".git", "var") for path in home.glob(f"program/{name}")
            ]
            strays += [
                str(path)
                for path in (root / "etc/pip.conf", root / "root/.cache/pip")
                if path.is_file() and path.stat().st_size
            ]
            self._check(f"{target}: left of the build", ", ".join(strays) or "nothing", not strays)

    def _tiers(self) -> None:
        """Labels a photo by the web tier's and the worker's images, while the controller's looks on."""
        with contextlib.ExitStack() as stack:
            # Its controller and its workers would do the work of the images.
            cloud = stack.enter_context(LocalStack({"authentication": "off"}, controller=False))
            variables = {
                name: value
                for name, value in cloud.environment.items()
                if name.startswith(("AWS_", "EIC_"))
                and name not in ("EIC_MODEL_BUNDLE", "EIC_MODEL_CACHE", "EIC_AUTHENTICATION")
            }
            token = _token(cloud.environment)
            url = f"http://127.0.0.1:{TIER_PORT}"
            stack.enter_context(self._running("web", variables))
            self._check_health("web", url)
            stack.enter_context(self._running("worker", variables))
            self._check("web and worker: a photo", *self._label(url, token))
            with self._running("controller", variables) as log:
                self._check("controller: publishes the fleet's status", *_wait_for_status(cloud.web_url, log))

    def _local(self) -> None:
        """Labels a photo by the image with the whole program."""
        url = f"http://127.0.0.1:{LOCAL_PORT}"
        home = {"HOME": "/var/lib/elastic"}
        with self._running("local", home):
            self._check_health("local", url)
            create = ("elastic", "token", "create", "--owner", "test")
            token = self._until_printed(create, home)
            self._check("local: a token", "made" if token else "none", bool(token))
            if token:
                found = next((word for word in token if word.startswith("eic_")), "")
                self._check("local: a photo", *self._label(url, found))

    def _until_printed(self, command: Sequence[str], variables: Mapping[str, str]) -> list[str]:
        """The words that a command prints, repeated until it succeeds: stacks are registered when started."""
        deadline = time.monotonic() + START_SECONDS
        while True:
            done = subprocess.run(
                self._builder.command(self._container, command, variables), capture_output=True, text=True, check=False
            )
            if done.returncode == 0 or time.monotonic() > deadline:
                return done.stdout.split()
            time.sleep(1)

    @contextlib.contextmanager
    def _running(self, target: str, variables: Mapping[str, str]) -> Iterator[Path]:
        """Runs an image's command in a container until the end of the block; yields its log."""
        configuration = self._builder.configuration(self._images[target])
        log = self._folder / f"{target}.log"
        log.unlink(missing_ok=True)
        with self._builder.container(self._images[target]) as container:
            self._container = container
            command = self._builder.command(container, configuration["Cmd"], variables)
            process = self._process = spawn(command, dict(os.environ), log, REPOSITORY_ROOT)
            try:
                yield log
                users = {
                    each.uids().real
                    for each in psutil.Process(process.pid).children(recursive=True)
                    if "buildah" not in each.name()
                }
                self._check(f"{target}: runs as", ", ".join(map(str, users)), users == {USER_ID})
            finally:
                # buildah passes no signals on: the program's own process gets it, as from an engine.
                for child in psutil.Process(process.pid).children(recursive=True):
                    with contextlib.suppress(psutil.Error):
                        if child.uids().real == USER_ID:
                            child.send_signal(signal.SIGTERM)
                with contextlib.suppress(subprocess.TimeoutExpired):
                    process.wait(30)
                stop_all([process], 5)

    def _check_health(self, target: str, url: str) -> None:
        """Waits for the page, then runs the image's own health check inside."""
        deadline = time.monotonic() + START_SECONDS
        while time.monotonic() < deadline and self._process is not None and self._process.poll() is None:
            with contextlib.suppress(requests.RequestException):
                if requests.get(f"{url}/healthz", timeout=2).ok:
                    break
            time.sleep(0.2)
        check: Sequence[str] = self._builder.configuration(self._images[target])["Healthcheck"]["Test"][1:]
        done = subprocess.run(
            self._builder.command(self._container, check, {}), capture_output=True, text=True, check=False
        )
        self._check(f"{target}: its health check", done.stderr[-200:] or "healthy", done.returncode == 0)

    def _label(self, url: str, token: str) -> tuple[str, bool]:
        try:
            with ApiClient(url, token) as api:
                result = api.classify_image(self._photo)
        except ApiError as error:
            return str(error), False
        return str(result.label), result.label is not None

    def _check(self, what: str, finding: str, passed: bool) -> None:
        self.rows.append((what, finding, passed))


def _token(environment: Mapping[str, str]) -> str:
    """A token for the web tier, made by the command."""
    command = (sys.executable, "-m", "cli", "token", "create", "--owner", "test")
    text = subprocess.run(
        command, env=dict(environment), cwd=REPOSITORY_ROOT, capture_output=True, text=True, check=True
    )
    return next(word for word in text.stdout.split() if word.startswith("eic_"))


def _wait_for_status(url: str, log: Path) -> tuple[str, bool]:
    """Waits until a web tier has a status of the fleet to show."""
    deadline = time.monotonic() + START_SECONDS
    while time.monotonic() < deadline:
        with contextlib.suppress(requests.RequestException):
            if (response := requests.get(f"{url}/api/v1/fleet", timeout=5)).ok:
                return f"{len(response.json().get('instances', []))} instances", True
        time.sleep(0.2)
    return log.read_text("utf-8")[-300:], False


def require_tools() -> None:
    """Installs buildah if it is missing.

    Raises:
        ElasticError: this user is not root, a port is in use, or there is no apt.
    """
    roots.require_tools()
    if shutil.which("buildah") is None:
        for command in (
            ("apt-get", "update", "-qq"),
            ("apt-get", "install", "-qq", "--no-install-recommends", "buildah"),
        ):
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    for port in (TIER_PORT, LOCAL_PORT):
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                raise ElasticError(f"port {port} is in use, at which an image's program listens")


def main() -> int:
    """Runs the test; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m tests.container", description=__doc__.splitlines()[0])
    parser.add_argument("--keep", action="store_true", help="do not delete the images afterwards")
    parser.add_argument("--target", action="append", choices=TARGETS, help="test these targets only; repeatable")
    options = parser.parse_args()
    console = Console()
    folder = REPOSITORY_ROOT / "var" / "container"
    folder.mkdir(parents=True, exist_ok=True)
    builder = Builder(folder)
    try:
        require_tools()
        with tempfile.TemporaryDirectory() as photos:
            test = ContainerTest(builder, folder, make_crops(1, 1, Path(photos))[0], console)
            test.run(options.target or TARGETS)
    except ElasticError as error:
        console.print(f"Error: {error}", style="red", markup=False)
        return 1
    finally:
        if not options.keep:
            builder.remove()
    table = Table("check", "finding", "")
    for what, finding, passed in test.rows:
        table.add_row(what, finding, "ok" if passed else "FAILED")
    console.print(table)
    return 0 if all(passed for _, _, passed in test.rows) else 1


if __name__ == "__main__":
    sys.exit(main())
