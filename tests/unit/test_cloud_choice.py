"""Which cloud a process talks to: an endpoint, a local stack or AWS, and never AWS by accident."""

from __future__ import annotations

import os
import subprocess
import sys
import textwrap
from pathlib import Path

import pytest
from click.testing import CliRunner

import cli
from core import stack_registry
from core.cloud_choice import choose_cloud, connect
from core.errors import NotConnectedError, SettingsError
from core.paths import REPOSITORY_ROOT, state_folder
from core.stack_registry import RegisteredStack, registered, registry_folder, running_stacks

ENDPOINT = "http://127.0.0.1:4566"


def stack(port: int) -> RegisteredStack:
    environment = {"AWS_ENDPOINT_URL": f"http://127.0.0.1:{port + 1}", "EIC_QUEUE_NAME": f"jobs-{port}"}
    address = f"http://127.0.0.1:{port}"
    return RegisteredStack(port, os.getpid(), 1000.0, address, environment["AWS_ENDPOINT_URL"], "log", environment)


@pytest.fixture
def folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(stack_registry, "state_folder", lambda environment: tmp_path)
    return registry_folder(os.environ)


@pytest.mark.parametrize(
    ("environment", "running", "chosen"),
    [
        ({"AWS_ENDPOINT_URL": ENDPOINT, "AWS_PROFILE": "x", "EIC_LOCAL_STACK": "80"}, [80], ""),
        ({}, [80], "Joining the local stack at http://127.0.0.1:80."),
        ({"AWS_PROFILE": "x", "AWS_REGION": "eu-central-1"}, [80], "Joining the local stack at http://127.0.0.1:80."),
        ({"EIC_LOCAL_STACK": "81"}, [80, 81], "Joining the local stack at http://127.0.0.1:81."),
        ({"EIC_CLOUD": "aws"}, [80], "Using AWS (the default profile)."),
        ({"EIC_CLOUD": "aws", "AWS_PROFILE": "x"}, [80, 81], "Using AWS (AWS_PROFILE=x)."),
        ({"AWS_PROFILE": "x", "AWS_REGION": "r"}, [], "Using AWS (AWS_PROFILE=x, AWS_REGION=r)."),
        ({"AWS_DEFAULT_REGION": "r"}, [], "Using AWS (AWS_DEFAULT_REGION=r)."),
        # A key is no name, and stays out of logs.
        ({"AWS_ACCESS_KEY_ID": "AKIA1"}, [], "Using AWS (AWS_ACCESS_KEY_ID)."),
    ],
)
def test_the_cloud_is_chosen_in_order(environment: dict[str, str], running: list[int], chosen: str) -> None:
    assert choose_cloud(environment, [stack(port) for port in running]).sentence == chosen


@pytest.mark.parametrize(
    ("environment", "running", "sentence"),
    [
        ({}, [], "there is no cloud to talk to: `elastic up` starts a local stack; `elastic --aws"),
        ({"AWS_PROFILE": ""}, [], "there is no cloud"),
        (
            {},
            [80, 81],
            "2 local stacks run: choose one with `elastic --stack PORT …` or EIC_LOCAL_STACK; running: 80, 81",
        ),
        ({"EIC_LOCAL_STACK": "82"}, [80, 81], "no local stack runs at port 82; running: 80, 81"),
        ({"EIC_LOCAL_STACK": "82", "AWS_PROFILE": "x"}, [], "no local stack runs at port 82; none runs"),
    ],
)
def test_without_a_choice_nothing_is_tried(environment: dict[str, str], running: list[int], sentence: str) -> None:
    with pytest.raises(NotConnectedError, match=sentence):
        choose_cloud(environment, [stack(port) for port in running])


def test_an_unknown_cloud_is_refused() -> None:
    with pytest.raises(SettingsError, match="EIC_CLOUD must be auto or aws"):
        choose_cloud({"EIC_CLOUD": "azure"}, [])


def test_a_process_gets_the_variables_of_the_stack(folder: Path) -> None:
    with registered(stack(80), folder):
        environment = {"EIC_QUEUE_NAME": "other", "PATH": "/bin"}
        connect(environment)
        assert environment == {**stack(80).environment, "PATH": "/bin"}


def test_stacks_end_in_any_order(folder: Path) -> None:
    for first in (80, 81):
        with registered(stack(161 - first), folder):
            with registered(stack(first), folder):
                assert [entry.port for entry in running_stacks(folder)] == [80, 81]
            assert running_stacks(folder) == [stack(161 - first)]
        assert running_stacks(folder) == []
    assert list(folder.iterdir()) == []


def test_a_killed_stack_is_forgotten_at_once(folder: Path) -> None:
    program = """
        import sys, time
        from pathlib import Path
        from core.stack_registry import RegisteredStack, registered
        with registered(RegisteredStack(80, 1, 0.0, "", "", "", {}), Path(sys.argv[1])):
            print("registered", flush=True)
            time.sleep(600)
    """
    process = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(program), str(folder)], cwd=REPOSITORY_ROOT, stdout=subprocess.PIPE
    )
    assert process.stdout is not None
    with process.stdout:
        assert process.stdout.readline() == b"registered\n"
        # Its pid is that of a process that runs for ever: only the lock says whether the stack runs.
        assert [entry.port for entry in running_stacks(folder)] == [80]
        process.kill()
        process.wait()
    assert running_stacks(folder) == [] and not list(folder.glob("*.json"))


@pytest.mark.parametrize("text", ["", "[]", "{", '{"port": 1}'])
def test_a_file_of_another_version_is_no_stack(folder: Path, text: str) -> None:
    with registered(stack(80), folder):
        (folder / "80.json").write_text(text)
        assert running_stacks(folder) == []


def test_state_is_kept_outside_a_checkout_that_is_read_only(monkeypatch: pytest.MonkeyPatch) -> None:
    assert state_folder({}) == REPOSITORY_ROOT / "var"
    monkeypatch.setattr(os, "access", lambda path, mode: False)
    assert state_folder({"XDG_STATE_HOME": "/x"}) == Path("/x/elastic-image-classifier")
    assert state_folder({"HOME": "/home/ada"}) == Path("/home/ada/.local/state/elastic-image-classifier")


# The commands

TO_CLOUD = [
    "watch", "fleet --once", "dlq list", "model list", "rollout status", "token list", "stacks --env",
]  # fmt: skip
TO_AWS = ["deploy --dry-run", "status", "destroy --yes", "image list", "image prune"]


def run(arguments: str, **environment: str) -> tuple[int, str]:
    """A command in a process of its own, with no environment but this; its status, and all that it prints."""
    variables = {"PATH": os.environ["PATH"], "HOME": "/nowhere", "AWS_EC2_METADATA_DISABLED": "true", **environment}
    done = subprocess.run(
        [sys.executable, "-m", *arguments.split()],
        cwd=REPOSITORY_ROOT,
        env=variables,
        capture_output=True,
        text=True,
        timeout=60,
    )
    return done.returncode, done.stdout + done.stderr


@pytest.mark.parametrize("arguments", [*TO_CLOUD, *TO_AWS])
def test_a_command_without_a_cloud_says_what_is_missing(
    arguments: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    result = CliRunner().invoke(cli.main, arguments.split())
    missing = "there is no cloud to talk to" if arguments in TO_CLOUD else "no region of AWS is set"
    assert result.exit_code == 2 and missing in result.output
    assert result.exception is None or isinstance(result.exception, SystemExit)


@pytest.mark.parametrize("arguments", ["fleet --once", "status"])
@pytest.mark.parametrize(
    ("variables", "sentence"),
    [
        ({"AWS_REGION": "eu-central-1"}, "no credentials for AWS are found"),
        ({"AWS_PROFILE": "absent"}, "AWS_PROFILE: The config profile (absent) could not be found"),
    ],
)
def test_aws_without_credentials_is_a_sentence(
    arguments: str, variables: dict[str, str], sentence: str, folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_EC2_METADATA_DISABLED", "true")
    for name, value in variables.items():
        monkeypatch.setenv(name, value)
    result = CliRunner().invoke(cli.main, arguments.split())
    assert result.exit_code == 2 and sentence in result.output


@pytest.mark.parametrize("module", ["controller", "web_tier", "cli controller"])
def test_a_tier_without_a_cloud_says_what_is_missing(module: str) -> None:
    # A port at which no stack runs, since one may run on this machine without it.
    status, printed = run(module, EIC_LOCAL_STACK="1")
    assert status == 2 and "no local stack runs at port 1" in printed and "Traceback" not in printed


def test_running_stacks_are_listed(folder: Path) -> None:
    with registered(stack(8080), folder), registered(stack(8081), folder):
        listed = CliRunner().invoke(cli.main, ["stacks"]).output
        assert "8080" in listed and "8081" in listed
        exported = CliRunner().invoke(cli.main, ["--stack", "8081", "stacks", "--env"]).output
    assert exported == "export AWS_ENDPOINT_URL=http://127.0.0.1:8082\nexport EIC_QUEUE_NAME=jobs-8081\n"
    assert "`elastic up` starts one" in CliRunner().invoke(cli.main, ["stacks"]).output
