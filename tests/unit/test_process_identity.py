"""A process that has ended is known by its name, and no other is taken for it."""

from __future__ import annotations

import os
import re
import subprocess
import sys

import pytest

from core.paths import REPOSITORY_ROOT
from core.process_identity import has_ended, name_process

NAME = name_process("web-1")
pytestmark = pytest.mark.skipif(NAME == "web-1", reason="there is no /proc")


def test_this_process_runs() -> None:
    assert NAME.startswith("web-1@") and name_process("web-1") == NAME
    assert not has_ended(NAME)


def test_a_process_that_was_killed_has_ended_before_and_after_it_is_waited_for() -> None:
    program = "from core.process_identity import name_process; print(name_process('x'), flush=True); input()"
    command = [sys.executable, "-c", program]
    with subprocess.Popen(
        command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True, cwd=REPOSITORY_ROOT
    ) as process:
        assert process.stdout is not None
        name = process.stdout.readline().strip()
        assert not has_ended(name)
        process.kill()
        os.waitid(os.P_PID, process.pid, os.WEXITED | os.WNOWAIT)
        assert has_ended(name), "a zombie"
    assert has_ended(name)


def test_another_process_of_the_same_id_means_that_the_first_has_ended() -> None:
    assert has_ended(re.sub(r"[0-9]+$", "1", NAME))


@pytest.mark.parametrize(
    "name",
    [
        "",
        "host-17-ab12cd34",
        re.sub("@[0-9a-f]{12}", "@0123456789ab", NAME),
        re.sub(r"\.([0-9]+)\.", ".1.", NAME, count=1),
        NAME + "x",
    ],
    ids=["empty", "no identity", "another boot", "another namespace", "no name"],
)
def test_of_another_machine_or_without_an_identity_nothing_is_known(name: str) -> None:
    assert not has_ended(name)
