"""``python -m ami.provision``: make this machine an instance of the app tier.  Run by ``ami/provision.sh``, as root.

Every step is idempotent: it changes only what differs from `ami.image_spec`, so a second run changes nothing.
Prints a line for each step and, last, how many steps changed something.
"""

from __future__ import annotations

import argparse
import compileall
import hashlib
import os
import pwd
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterable
from pathlib import Path

from crontab import CronTab

from ami import image_spec
from ami.layout import HOME, PROGRAM, PYTHON, SITE_PACKAGES, STATE_DIRECTORY, USER, VENV
from ami.program import DEFAULT_BUNDLE, program_files
from core.packaging import Tree
from core.paths import REPOSITORY_ROOT

_STAMP = VENV / ".installed-from"
_NO_QUESTIONS = {"DEBIAN_FRONTEND": "noninteractive"}


def main(arguments: list[str] | None = None) -> int:
    """Provisions this machine; returns the exit status."""
    parser = argparse.ArgumentParser(prog="python -m ami.provision", description=__doc__.splitlines()[0])
    parser.add_argument("--bundle", default=DEFAULT_BUNDLE, help="folder of the model bundle (default: %(default)s)")
    options = parser.parse_args(arguments)
    if os.geteuid() != 0:
        print("provisioning needs root", file=sys.stderr)
        return 1
    steps: tuple[tuple[str, Callable[[], bool]], ...] = (
        ("Debian packages", lambda: install_debian_packages(image_spec.DEBIAN_PACKAGES)),
        ("user", lambda: create_user(USER)),
        ("directories", lambda: any_of(create_directory(entry.path) for entry in image_spec.directories())),
        ("Python packages", lambda: install_python_packages(REPOSITORY_ROOT / "app_tier" / "requirements.txt")),
        ("program and model", lambda: install_program(program_files(REPOSITORY_ROOT, options.bundle))),
        ("configuration", lambda: any_of(write(entry.path, entry.text) for entry in image_spec.files(options.bundle))),
        ("units", lambda: any_of(link(entry.path, entry.target) for entry in image_spec.links())),
        ("crontab", lambda: write_crontab(CronTab(user=USER), image_spec.crontab())),
    )
    changed = 0
    for name, step in steps:
        has_changed = step()
        changed += has_changed
        print(f"{name}: {'changed' if has_changed else 'unchanged'}", flush=True)
    print(f"{changed} changed", flush=True)
    return 0


def any_of(changes: Iterable[bool]) -> bool:
    """Whether any change was made; all of them are carried out first."""
    return any(list(changes))


def install_debian_packages(names: Iterable[str]) -> bool:
    """Installs the missing packages, and keeps neither archives nor package lists."""
    missing = [name for name in names if not _is_installed(name)]
    if missing:
        _run("apt-get", "update", "-qq")
        _run("apt-get", "install", "-qq", "--no-install-recommends", *missing)
        _run("apt-get", "clean")
        for path in Path("/var/lib/apt/lists").glob("*_*"):
            path.unlink()
    return bool(missing)


def create_user(name: str) -> bool:
    """Creates a system user without password and login shell."""
    try:
        pwd.getpwnam(name)
    except KeyError:
        _run("useradd", "--system", "--user-group", "--home-dir", str(STATE_DIRECTORY), "--shell", _NOLOGIN, name)
        return True
    return False


_NOLOGIN = "/usr/sbin/nologin"


def create_directory(path: Path) -> bool:
    """Creates a directory owned by the worker's user."""
    if path.is_dir() and path.owner() == USER:
        return False
    path.mkdir(parents=True, exist_ok=True)
    shutil.chown(path, USER, USER)
    return True


def install_python_packages(requirements: Path) -> bool:
    """Creates the worker's environment from wheels with known hashes, without pip and without unused files."""
    # The list of unused files is part of the digest: another list makes another installation.
    recipe = repr((requirements.read_text("utf-8"), sys.version, image_spec.UNUSED_FILES, image_spec.AWS_SERVICES))
    digest = hashlib.sha256(recipe.encode()).hexdigest()
    if _STAMP.is_file() and _STAMP.read_text() == digest:
        return False
    shutil.rmtree(VENV, ignore_errors=True)
    HOME.mkdir(parents=True, exist_ok=True)
    _run("/usr/bin/python3", "-m", "venv", "--without-pip", str(VENV))
    pip = (sys.executable, "-m", "pip", "--python", str(PYTHON), "install", "--quiet", "--no-cache-dir")
    # --no-deps: some packages depend on more than their importable parts need; the list names what is needed.
    checked = ("--require-hashes", "--only-binary", ":all:", "--no-deps", "--no-compile")
    _run(*pip, *checked, "--requirement", str(requirements))
    for path in unused_paths(SITE_PACKAGES):
        shutil.rmtree(path) if path.is_dir() else path.unlink()
    _compile(SITE_PACKAGES)
    _STAMP.write_text(digest)
    return True


def unused_paths(site_packages: Path) -> list[Path]:
    """The installed files and folders that no worker imports; none of them lies below another one."""
    found = {path for pattern in image_spec.UNUSED_FILES for path in site_packages.glob(pattern)}
    services = (site_packages / "botocore" / "data", site_packages / "boto3" / "data")
    found |= {
        path
        for folder in services
        if folder.is_dir()
        for path in folder.iterdir()
        if path.is_dir() and path.name not in image_spec.AWS_SERVICES
    }
    return sorted(path for path in found if not found & set(path.parents))


def install_program(tree: Tree) -> bool:
    """Makes the program's folder hold exactly `tree` and its byte code."""
    stale = stale_files(PROGRAM, tree)
    for path in stale:
        path.unlink()
    changed = bool(stale) + sum(
        [write_bytes(PROGRAM / name, source.read_bytes()) for name, source in sorted(tree.items())]
    )
    if changed:
        _compile(PROGRAM)
    return bool(changed)


def stale_files(folder: Path, tree: Tree) -> list[Path]:
    """Files in `folder` that are neither in `tree` nor byte code of a file in it."""
    sources = {folder / name for name in tree}
    return [
        path for path in folder.rglob("*") if path.is_file() and path not in sources and not _source_of(path) & sources
    ]


def _source_of(path: Path) -> set[Path]:
    if path.parent.name != "__pycache__":
        return set()
    return {path.parent.parent / f"{path.name.partition('.')[0]}.py"}


def write(path: Path, text: str) -> bool:
    """Makes `path` a regular file with this text, owned by root."""
    return write_bytes(path, text.encode())


def write_bytes(path: Path, content: bytes) -> bool:
    """Makes `path` a regular file with this content, owned by root."""
    if path.is_file() and not path.is_symlink() and path.read_bytes() == content:
        return False
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    path.write_bytes(content)
    path.chmod(0o644)
    return True


def link(path: Path, target: str) -> bool:
    """Makes `path` a symbolic link to `target`."""
    if path.is_symlink() and str(path.readlink()) == target:
        return False
    path.parent.mkdir(parents=True, exist_ok=True)
    path.unlink(missing_ok=True)
    path.symlink_to(target)
    return True


def write_crontab(table: CronTab, entries: Iterable[image_spec.CrontabEntry]) -> bool:
    """Makes `table` hold exactly `entries`."""
    before = table.render()
    table.remove_all()
    table.env.clear()
    for entry in entries:
        table.new(command=entry.command, comment=entry.comment).setall(entry.when)
    if table.render() == before:
        return False
    table.write()
    return True


def _is_installed(package: str) -> bool:
    query = ("dpkg-query", "--show", "--showformat", "${Status}", package)
    answer = subprocess.run(query, capture_output=True, text=True, check=False)
    return answer.stdout == "install ok installed"


def _compile(folder: Path) -> None:
    """Writes the byte code of all modules: the worker has no permission to, and would compile them at every start."""
    compileall.compile_dir(folder, quiet=2, workers=0)


def _run(*command: str) -> None:
    subprocess.run(command, check=True, env={**os.environ, **_NO_QUESTIONS})


if __name__ == "__main__":
    sys.exit(main())
