"""``python -m ami.hashes FILE…``: write the wheels' hashes into requirements files with pinned versions.

Downloads each wheel for the instances' processors and Debian 12's Python; keeps comments and order.  Run it after a
version was changed.
"""

from __future__ import annotations

import hashlib
import re
import subprocess
import sys
import tempfile
from pathlib import Path

PROCESSORS = ("x86_64", "aarch64")
PYTHON_VERSION = "3.11"
# Debian 12 has glibc 2.36.
_GLIBC_MINORS = range(17, 37)
_PIN = re.compile(r"([A-Za-z0-9._-]+)==([^\s\\]+)")


def main(arguments: list[str]) -> int:
    """Rewrites the files; returns the exit status."""
    for name in arguments:
        path = Path(name)
        text = path.read_text("utf-8")
        path.write_text(with_hashes(text, {pin: wheel_hashes(pin) for pin in pins(text)}), "utf-8")
    return 0


def pins(text: str) -> list[str]:
    """The lines ``name==version`` of a list, without their hashes."""
    return [match.group() for line in text.splitlines() if (match := _PIN.match(line))]


def with_hashes(text: str, hashes: dict[str, list[str]]) -> str:
    """The list with these hashes instead of those that it has."""
    lines = []
    for line in text.splitlines():
        if match := _PIN.match(line):
            lines.append(
                " \\\n".join([match.group(), *(f"    --hash=sha256:{value}" for value in hashes[match.group()])])
            )
        elif not line.startswith("    --hash="):
            lines.append(line)
    return "\n".join(lines) + "\n"


def wheel_hashes(pin: str) -> list[str]:
    """The SHA-256 of each wheel that an instance may install for `pin`, sorted.

    Raises:
        CalledProcessError: pip found none.
    """
    found = set()
    for processor in PROCESSORS:
        platforms = [f"--platform=manylinux_2_{minor}_{processor}" for minor in _GLIBC_MINORS]
        chosen = ["--only-binary=:all:", f"--python-version={PYTHON_VERSION}", "--implementation=cp"]
        with tempfile.TemporaryDirectory() as folder:
            download = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", folder]
            subprocess.run([*download, *chosen, *platforms, f"--platform=manylinux2014_{processor}", pin], check=True)
            found |= {hashlib.sha256(path.read_bytes()).hexdigest() for path in Path(folder).glob("*.whl")}
    return sorted(found)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
