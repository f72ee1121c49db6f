"""`elastic up` as a process: joined from a bare shell, beside another stack, with a controller that is killed."""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import psutil
import pytest

from api_client.client import ApiClient
from core.paths import REPOSITORY_ROOT, state_folder
from core.stack_registry import RegisteredStack, running_stacks
from tests.waiting import PATIENCE_SECONDS, wait_until

pytestmark = pytest.mark.acceptance

# As of a shell that nothing was exported in.
BARE = {"PATH": os.environ["PATH"], "HOME": os.environ.get("HOME", "/")}
REGISTRY = state_folder({}) / "stacks"


def start(*arguments: str, **options: str) -> subprocess.Popen[bytes]:
    """Starts a module of this program in a bare environment."""
    environment = {**BARE, "EIC_IMAGENET_WEIGHTS_URL": "off", **options}
    return subprocess.Popen(
        [sys.executable, "-m", *arguments],
        cwd=REPOSITORY_ROOT,
        env=environment,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


@contextlib.contextmanager
def up(*arguments: str) -> Iterator[tuple[subprocess.Popen[bytes], RegisteredStack]]:
    """`elastic up` at free ports, until the end of the block."""
    process = start("cli", "up", "--port", "0", "--cloud-port", "0", "--max-size", "2", *arguments)
    try:
        wait_until(lambda: of_process(process) is not None, "the stack was never registered")
        stack = of_process(process)
        assert stack is not None
        yield process, stack
    finally:
        process.terminate()
        process.wait(PATIENCE_SECONDS)


def of_process(process: subprocess.Popen[bytes]) -> RegisteredStack | None:
    assert process.poll() is None, "elastic up has ended"
    return next((stack for stack in running_stacks(REGISTRY) if stack.pid == process.pid), None)


@pytest.fixture(autouse=True)
def _no_other_stack() -> None:
    if running_stacks(REGISTRY):
        pytest.skip("another local stack runs on this machine")


def test_the_controller_script_joins_the_stack_from_a_bare_shell(make_images: Callable[..., list[Path]]) -> None:
    with up("--no-controller") as (_, stack):
        api = ApiClient(stack.web_url)
        batch_id = api.create_batch()
        api.upload(batch_id, make_images(5), lambda count: None)
        controller = start("controller")
        try:
            answers = list(api.follow(batch_id, 5, PATIENCE_SECONDS))
        finally:
            controller.terminate()
            controller.wait(PATIENCE_SECONDS)
        assert len(answers) == 5 and controller.returncode == 0
        # What it exports suffices for any process, also where several stacks run.
        exported = dict(
            line.removeprefix("export ").split("=", 1)
            for line in subprocess.run(
                [sys.executable, "-m", "cli", "stacks", "--env"],
                cwd=REPOSITORY_ROOT, env=BARE, capture_output=True, text=True, check=True,
            ).stdout.splitlines()
        )  # fmt: skip
        assert exported["AWS_ENDPOINT_URL"] == stack.endpoint_url
        assert exported.keys() == stack.environment.keys() and "AWS_SECRET_ACCESS_KEY" in exported


def test_two_stacks_live_side_by_side_and_a_killed_controller_comes_back(
    make_images: Callable[..., list[Path]],
) -> None:
    with up() as (_, first):
        with up() as (_, second):
            assert first.port != second.port and first.log_directory != second.log_directory
            assert [stack.port for stack in running_stacks(REGISTRY)] == sorted((first.port, second.port))
            command = [sys.executable, "-m", "cli", "--stack", str(second.port), "fleet", "--once", "--json"]
            done = subprocess.run(command, cwd=REPOSITORY_ROOT, env=BARE, capture_output=True, text=True, check=True)
            assert second.web_url in done.stderr and json.loads(done.stdout)
            ambiguous = subprocess.run([*command[:3], "fleet", "--once"], cwd=REPOSITORY_ROOT, env=BARE, stderr=-1)
            assert ambiguous.returncode == 2 and b"2 local stacks run" in ambiguous.stderr
        # The first one goes on when the second has ended.
        assert [stack.port for stack in running_stacks(REGISTRY)] == [first.port]
        [controller] = controllers(first)
        controller.send_signal(signal.SIGKILL)
        wait_until(lambda: any(c.pid != controller.pid for c in controllers(first)), "no other controller came")
        api = ApiClient(first.web_url)
        batch_id = api.create_batch()
        api.upload(batch_id, make_images(5), lambda count: None)
        assert len(list(api.follow(batch_id, 5, PATIENCE_SECONDS))) == 5
    assert running_stacks(REGISTRY) == []


def controllers(stack: RegisteredStack) -> list[psutil.Process]:
    """The running controllers that `elastic up` has started."""
    found = []
    for process in psutil.Process(stack.pid).children():
        with contextlib.suppress(psutil.NoSuchProcess):
            if process.cmdline()[-2:] == ["-m", "controller"]:
                found.append(process)
    return found
