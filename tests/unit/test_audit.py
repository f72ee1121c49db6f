"""The audit of the locks: what its report says about advisories, exceptions, and a database that is away."""

from __future__ import annotations

import re
from typing import Any

import pytest

from core.paths import REPOSITORY_ROOT
from tests.audit.__main__ import EXCEPTIONS, LOCKS, UNREACHABLE, Findings

ADVISORY = {"id": "PYSEC-2026-1", "aliases": ["CVE-2026-2"], "fix_versions": ["2.0"]}
CLEAN = {"name": "clean", "version": "1.0", "vulns": []}
HIT = {"name": "hit", "version": "1.0", "vulns": [ADVISORY]}
AWAY = {"name": "away", "skip_reason": "not found"}


@pytest.mark.parametrize(
    ("packages", "exceptions", "sentences", "status"),
    [
        ([CLEAN], {}, ["1 packages audited, none with an advisory"], 0),
        ([CLEAN, HIT], {}, ["a.lock: hit 1.0: PYSEC-2026-1, fixed in 2.0"], 1),
        ([CLEAN, HIT], {"CVE-2026-2": "not called"}, ["2 packages audited, none with an advisory"], 0),
        ([CLEAN], {"CVE-2026-2": "not called"}, ["the exception CVE-2026-2 concerns no lock any more"], 1),
        ([CLEAN, AWAY], {}, ["a.lock: away was not audited: not found"], 1),
        ([AWAY, AWAY], {"CVE-2026-2": "not called"}, [UNREACHABLE], 0),
        ([], {}, [UNREACHABLE], 0),
    ],
)
def test_the_verdict(
    packages: list[dict[str, Any]], exceptions: dict[str, str], sentences: list[str], status: int
) -> None:
    findings = Findings()
    findings.add("a.lock", {"dependencies": packages}, exceptions)
    assert findings.verdict(exceptions) == (sentences, status)


def test_every_lock_is_audited_and_every_exception_has_a_reason() -> None:
    found = {
        str(path.relative_to(REPOSITORY_ROOT))
        for pattern in ("*.lock", "*/requirements*.txt", "*/*/requirements*.txt", "infra/checkov.txt")
        for path in REPOSITORY_ROOT.glob(pattern)
        if "--hash=sha256:" in path.read_text("utf-8") and path.relative_to(REPOSITORY_ROOT).parts[0] != "var"
    }
    assert found == set(LOCKS)
    assert all(len(reason.split()) > 3 for reason in EXCEPTIONS.values())


def test_the_audit_and_the_scan_of_the_stack_run_in_ci() -> None:
    parts = (REPOSITORY_ROOT / ".ci" / "run").read_text("utf-8")
    workflow = (REPOSITORY_ROOT / ".github" / "workflows" / "ci.yml").read_text("utf-8")
    (listed,) = re.findall(r"^parts=\((.*)\)$", parts, re.M)
    for part in listed.split():
        assert f"part_{part}()" in parts and re.search(rf"part: \[?{part}\b", workflow)
    assert "audit" in listed.split() and "stack" in listed.split()
    makefile = (REPOSITORY_ROOT / "Makefile").read_text("utf-8")
    assert "checkov --config-file infra/checkov.yaml" in makefile.partition("\ntest-stack:")[2].partition("\n\n")[0]
