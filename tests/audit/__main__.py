"""``python -m tests.audit PIP_AUDIT``: the exit status is 1 if a lock has a package with an advisory.

Where the advisories cannot be reached, it prints that nothing was audited, and the exit status is 0.

Args of the command: the path of the program ``pip-audit``.
"""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from core.paths import REPOSITORY_ROOT

LOCKS = (
    "requirements.lock",
    "requirements-run.lock",
    "ami/requirements.txt",
    "app_tier/requirements.txt",
    "infra/requirements.txt",
    "infra/checkov.txt",
    "docs/requirements.txt",
    "tests/openapi_client/requirements.txt",
    "tests/notebooks/requirements.txt",
    "training/requirements-gpu.txt",
    "tests/audit/requirements.txt",
    "tests/container/requirements.txt",
)
# Advisories that do not concern this program, by their id, each with the reason.  One that no lock has any more is an
# error, so that the list stays true.
EXCEPTIONS: Mapping[str, str] = {}
UNREACHABLE = "Skipped: the advisories cannot be reached from this machine, so that no lock was audited."
TIMEOUT_SECONDS = 600.0


@dataclass(slots=True)
class Findings:
    """What the locks have: problems in sentences, the exceptions that were met, and how many packages were compared."""

    problems: list[str] = field(default_factory=list)
    excepted: set[str] = field(default_factory=set)
    audited: int = 0
    skipped: list[str] = field(default_factory=list)

    def add(self, lock: str, report: Mapping[str, Any], exceptions: Mapping[str, str]) -> None:
        """Add the JSON report of pip-audit on one lock."""
        for package in report["dependencies"]:
            name = f"{package['name']} {package.get('version', '')}".strip()
            if "skip_reason" in package:
                self.skipped.append(f"{lock}: {name} was not audited: {package['skip_reason']}")
                continue
            self.audited += 1
            for advisory in package["vulns"]:
                ids = {advisory["id"], *advisory.get("aliases", ())}
                if met := ids & exceptions.keys():
                    self.excepted |= met
                else:
                    fixed = ", ".join(advisory.get("fix_versions", ())) or "no version"
                    self.problems.append(f"{lock}: {name}: {advisory['id']}, fixed in {fixed}")

    def verdict(self, exceptions: Mapping[str, str]) -> tuple[list[str], int]:
        """The sentences to print, and the exit status."""
        if not self.audited:
            return [UNREACHABLE], 0
        stale = [
            f"the exception {name} concerns no lock any more" for name in sorted(exceptions.keys() - self.excepted)
        ]
        sentences = [*self.problems, *self.skipped, *stale]
        return sentences or [f"{self.audited} packages audited, none with an advisory"], int(bool(sentences))


def main(program: str) -> int:
    """Audit all locks; return the exit status."""
    findings = Findings()
    for lock in LOCKS:
        command = (
            program,
            "--requirement",
            lock,
            "--require-hashes",
            "--disable-pip",
            "--format",
            "json",
            "--timeout",
            "20",
        )
        done = subprocess.run(
            command, cwd=REPOSITORY_ROOT, capture_output=True, text=True, timeout=TIMEOUT_SECONDS, check=False
        )
        if done.stdout.startswith("{"):
            findings.add(lock, json.loads(done.stdout), EXCEPTIONS)
        elif "ConnectionError" in done.stderr or "ConnectTimeout" in done.stderr or "ReadTimeout" in done.stderr:
            continue
        else:
            print(f"{lock} cannot be audited: {done.stderr.strip()[-500:]}", file=sys.stderr)
            return 1
    sentences, status = findings.verdict(EXCEPTIONS)
    print("\n".join(sentences), file=sys.stderr if status else sys.stdout)
    return status


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
