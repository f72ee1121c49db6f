"""Make a Debian root file system in a folder, and inspect its files."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import time
from collections.abc import Iterable
from pathlib import Path

from core.errors import ElasticError

SUITE = "bookworm"
MIRROR_VARIABLE = "IMAGE_MIRROR"
DEFAULT_MIRROR = "http://deb.debian.org/debian"
# The smallest variant, so that everything that provisioning needs counts as added; with systemd, for its units.
_DEBOOTSTRAP = ("debootstrap", "--variant=minbase", "--include=systemd-sysv")
_CACHE_SECONDS = 14 * 24 * 3600


class MissingError(ElasticError):
    """The machine lacks something that the test needs."""


def require_tools() -> None:
    """Installs debootstrap if it is missing.

    Raises:
        MissingError: this user is not root, or there is no apt.
    """
    if os.geteuid() != 0:
        raise MissingError("a root file system can only be made by root: run `sudo make test-image`")
    if shutil.which("debootstrap") is None:
        if shutil.which("apt-get") is None:
            raise MissingError("debootstrap is missing, and there is no apt-get to install it with")
        for command in (("apt-get", "update", "-qq"), ("apt-get", "install", "-qq", "debootstrap")):
            subprocess.run(command, check=True, stdout=subprocess.DEVNULL)


def mirror() -> str:
    """The Debian archive of this machine's apt; the environment variable `MIRROR_VARIABLE` overrides it."""
    folder = Path("/etc/apt")
    lists = [folder / "sources.list", *sorted(folder.glob("sources.list.d/*"))]
    found = mirrors_of(path.read_text("utf-8") for path in lists if path.is_file())
    return os.environ.get(MIRROR_VARIABLE) or next(iter(found), DEFAULT_MIRROR)


def mirrors_of(texts: Iterable[str]) -> list[str]:
    """The addresses that offer `SUITE` in lists of sources, of the one-line and of the deb822 form."""
    one_line = re.compile(rf"^deb (?:\[.*?\] )?(http\S+) {SUITE} ", re.MULTILINE)
    found: list[str] = []
    for text in texts:
        found += one_line.findall(text)
        for stanza in text.split("\n\n"):
            fields = dict(re.findall(r"^(\w+): (.*)$", stanza, re.MULTILINE))
            if SUITE in fields.get("Suites", "").split():
                found += [uri for uri in fields.get("URIs", "").split() if uri.startswith("http")]
    return found


def fresh_root(folder: Path) -> Path:
    """Makes a root file system with debootstrap in `folder`/root, cached in `folder`/base.tar."""
    root, cache = folder / "root", folder / "base.tar"
    remove(root)
    root.mkdir(parents=True)
    if not cache.is_file() or time.time() - cache.stat().st_mtime > _CACHE_SECONDS:
        with (folder / "debootstrap.log").open("w") as log:
            command = (*_DEBOOTSTRAP, SUITE, str(root), mirror())
            if subprocess.run(command, stdout=log, stderr=log, check=False).returncode != 0:
                raise MissingError(f"debootstrap failed; see {folder}/debootstrap.log")
        # apt's downloads and package lists are not part of a provisioned machine.
        shutil.rmtree(root / "var/cache/apt/archives")
        (root / "var/cache/apt/archives/partial").mkdir(parents=True)
        for path in (root / "var/lib/apt/lists").glob("*_*"):
            path.unlink()
        partial = cache.with_suffix(".partial")
        subprocess.run(("tar", "-C", root, "--numeric-owner", "-cf", partial, "."), check=True)
        partial.rename(cache)
    else:
        subprocess.run(("tar", "-C", root, "--numeric-owner", "-xpf", cache), check=True)
    return root


def remove(root: Path) -> None:
    """Deletes a root file system; refuses while anything is mounted in it."""
    mounted = [line.split()[1] for line in Path("/proc/mounts").read_text().splitlines()]
    if inside := [point for point in mounted if point.startswith(f"{root}/")]:
        raise ElasticError(f"{inside[0]} is still mounted")
    if root.exists():
        shutil.rmtree(root)


def size_bytes(root: Path) -> int:
    """The disk usage of the files."""
    answer = subprocess.run(("du", "-sx", "--block-size=1", root), check=True, capture_output=True, text=True)
    return int(answer.stdout.split()[0])


def files_of(root: Path) -> dict[str, tuple[int, ...]]:
    """Mode, owner, size and modification time of each file and link."""
    found: dict[str, tuple[int, ...]] = {}
    for path in root.rglob("*"):
        if not path.is_dir() or path.is_symlink():
            status = path.lstat()
            found[str(path)] = (status.st_mode, status.st_uid, status.st_size, status.st_mtime_ns)
    return found


def forget_cached(root: Path) -> None:
    """Drops the files from the kernel's page cache, as on a machine that has just booted."""
    os.sync()
    for path in root.rglob("*"):
        if path.is_file() and not path.is_symlink():
            descriptor = os.open(path, os.O_RDONLY)
            try:
                os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
            finally:
                os.close(descriptor)
