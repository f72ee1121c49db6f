"""The command line: every command loads, its help works, and groups list it with the first sentence of its help."""

from __future__ import annotations

import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import click
import pytest
from click.testing import CliRunner
from rich.console import Console

from cli import main, options, session
from cli.lazy_group import LazyCommand, LazyGroup
from cli.training_run import stoppable
from core.paths import REPOSITORY_ROOT
from training.run_folder import RUN_FILE

HEAVY = ("tensorflow", "keras", "boto3", "flask", "moto", "numpy", "requests")


def lazy_commands(group: LazyGroup, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], LazyCommand]]:
    """Every lazy command with its path, those of nested groups included."""
    for name, lazy in group.lazy.items():
        yield (*path, name), lazy
        command = lazy.load()
        if isinstance(command, LazyGroup):
            yield from lazy_commands(command, (*path, name))


def all_commands(command: click.Command, path: tuple[str, ...] = ()) -> Iterator[tuple[tuple[str, ...], click.Command]]:
    """Every command with its path, groups included."""
    yield path, command
    if isinstance(command, click.Group):
        context = click.Context(command)
        for name in command.list_commands(context):
            child = command.get_command(context, name)
            assert child is not None
            yield from all_commands(child, (*path, name))


assert isinstance(main, LazyGroup)
LAZY = dict(lazy_commands(main))
COMMANDS = dict(all_commands(main))


def first_sentence(text: str) -> str:
    paragraph = " ".join(text.split("\n\n")[0].split())
    return re.split(r"(?<=\.)\s", paragraph)[0]


@pytest.mark.parametrize("path", LAZY, ids=" ".join)
def test_a_lazy_command_has_its_name_and_the_first_sentence_of_its_help(path: tuple[str, ...]) -> None:
    command = LAZY[path].load()
    assert command.name == path[-1]
    assert command.help is not None
    assert LAZY[path].short_help == first_sentence(command.help)


@pytest.mark.parametrize("path", COMMANDS, ids=lambda path: " ".join(path) or "elastic")
def test_every_command_and_option_explains_itself(path: tuple[str, ...]) -> None:
    shown = CliRunner().invoke(main, [*path, "--help"])
    assert shown.exit_code == 0, shown.output
    command = COMMANDS[path]
    assert command.help is not None and first_sentence(command.help).endswith(".")
    undescribed = [p.name for p in command.params if isinstance(p, click.Option) and not p.help and not p.hidden]
    assert not undescribed, f"options without a help text: {undescribed}"


def test_the_list_of_commands_imports_none_of_them() -> None:
    code = (
        "import sys, cli\n"
        "try:\n    cli.main(['--help'])\n"
        "except SystemExit as end:\n    assert not end.code\n"
        f"print('loaded:', *[name for name in {HEAVY} if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY_ROOT, capture_output=True, text=True, check=True)
    assert done.stdout.rstrip().endswith("loaded:")
    listed = " ".join(done.stdout.split())
    assert [name for name, command in main.lazy.items() if f" {name} {command.short_help}" not in listed] == []


def test_no_command_loads_the_emulator_or_a_framework_with_its_module() -> None:
    modules = sorted({lazy.target.partition(":")[0] for lazy in LAZY.values()})
    code = (
        "import importlib, sys\n"
        f"for module in {modules}:\n    importlib.import_module(module)\n"
        "print([name for name in ('moto', 'tensorflow', 'keras') if name in sys.modules])"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=REPOSITORY_ROOT, capture_output=True, text=True, check=True)
    assert done.stdout == "[]\n"


def test_the_package_runs_as_a_module() -> None:
    done = subprocess.run(
        [sys.executable, "-m", "cli", "--help"], cwd=REPOSITORY_ROOT, capture_output=True, text=True, check=True
    )
    assert done.stdout.startswith("Usage: elastic ")


# Those that say nothing while they work, and those whose progress is what they are asked for.
WITHOUT_PROGRESS = {
    "costs", "doctor", "stacks", "watch", "controller", "fleet", "dlq list", "dlq redrive", "dlq delete", "model list",
    "bulk list", "bulk status", "bulk cancel", "model shadow", "model view",
    "rollout status", "token create", "token list", "token revoke", "image list", "image prune", "status",
}  # fmt: skip


def leaves() -> Iterator[tuple[str, click.Command]]:
    for path, command in COMMANDS.items():
        # Benchmarks print each measurement as it is made.
        if not isinstance(command, click.Group) and path[0] != "bench":
            yield " ".join(path), command


def flags(command: click.Command) -> set[str]:
    return {name for parameter in command.params for name in parameter.opts}


def test_a_run_in_the_background_ends_on_sigterm(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """A shell lets background processes ignore SIGINT; SIGTERM was passed on as one, and ignored, too."""
    (tmp_path / RUN_FILE).touch()
    before = signal.signal(signal.SIGINT, signal.SIG_IGN)
    try:
        with pytest.raises(KeyboardInterrupt), stoppable(tmp_path, "elastic train", Console(width=500)):
            signal.raise_signal(signal.SIGTERM)
    finally:
        signal.signal(signal.SIGINT, before)
    assert f"Continue with: elastic train --resume {tmp_path}" in capsys.readouterr().out


def test_every_command_that_lists_has_json() -> None:
    listing = [
        (name, command)
        for name, command in leaves()
        if name.split()[-1] in ("list", "status", "stacks") or first_sentence(command.help or "").startswith("Show ")
    ]
    assert len(listing) > 7
    assert [name for name, command in listing if "--json" not in flags(command)] == []


def test_every_command_that_prints_progress_can_be_quiet() -> None:
    assert {name for name, command in leaves() if "--quiet" not in flags(command)} == WITHOUT_PROGRESS


def test_quiet_hides_progress_and_nothing_else(capsys: pytest.CaptureFixture[str]) -> None:
    @click.command()
    @options.quiet
    def work() -> None:
        with session.waiting("Working") as say:
            say("Still working")
        session.print_progress("half done")
        session.progress_console().print("nearly done")
        click.echo("the result")

    loud, quiet = (CliRunner().invoke(work, arguments) for arguments in ([], ["--quiet"]))
    assert loud.exit_code == quiet.exit_code == 0
    assert loud.stdout == "Working …\nStill working …\nthe result\n" and loud.stderr == "half done\nnearly done\n"
    assert quiet.output == "the result\n"
    # Of one command, not of the process.
    assert CliRunner().invoke(work, []).output == loud.output
