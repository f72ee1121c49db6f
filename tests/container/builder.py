"""Build images by buildah, without a container engine, and run programs in their root file systems.

The base is a root file system that debootstrap makes, in the place of the base image that the Dockerfile names: no
registry of images is needed.  Storage is a folder of its own.  Programs run by ``buildah run`` with its isolation by
chroot: as the image's user, in namespaces of its own except for the network, without the limits that an engine sets.
"""

from __future__ import annotations

import json
import shutil
import subprocess
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from core.errors import ElasticError
from core.paths import REPOSITORY_ROOT
from tests.image import root as roots
from tests.image.machine import pip_configuration

BASE = "localhost/debian:test"
_CERTIFICATES = "/run/certificates.pem"
_BUILD_SECONDS = 1800.0


class Builder:
    """Images below a folder.

    Args:
        folder: for the base, the images, and the log.
    """

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._storage = folder / "storage"
        self._buildah = ["buildah", "--root", str(self._storage), "--runroot", str(folder / "run")]

    def make_base(self) -> None:
        """Makes the base image of a debootstrap's root file system, which is cached."""
        root = roots.fresh_root(self._folder)
        container = self._run("from", "scratch")
        self._run("add", container, str(self._folder / "base.tar"), "/")
        self._run("commit", "--quiet", "--rm", container, BASE)
        roots.remove(root)

    def build(self, target: str) -> str:
        """Builds a target of the Dockerfile; returns the image's name."""
        name = f"localhost/elastic:{target}"
        options = ["--quiet", "--layers", "--isolation", "chroot", "--format", "docker", "--target", target]
        volumes = [f"--volume={path}:{inside}:ro" for path, inside in self._pip_files().items()]
        self._run("bud", *options, *volumes, "--build-arg", f"DEBIAN={BASE}", "--tag", name, str(REPOSITORY_ROOT))
        return name

    def configuration(self, image: str) -> dict[str, Any]:
        """The image's configuration: user, command, health check, variables."""
        found: dict[str, Any] = json.loads(self._run("inspect", "--type", "image", image))["Docker"]["config"]
        return found

    @contextmanager
    def container(self, image: str) -> Iterator[str]:
        """A container of an image; its name."""
        name = self._run("from", "--pull-never", image)
        try:
            yield name
        finally:
            self._run("rm", name)

    def command(self, container: str, command: Sequence[str], variables: Mapping[str, str]) -> list[str]:
        """The command that runs another one in a container, as the image's user."""
        given = [option for name, value in variables.items() for option in ("--env", f"{name}={value}")]
        return [*self._buildah, "run", "--isolation", "chroot", *given, container, "--", *command]

    @contextmanager
    def mounted(self, container: str) -> Iterator[Path]:
        """The root file system of a container."""
        try:
            yield Path(self._run("mount", container))
        finally:
            self._run("umount", container)

    def remove(self) -> None:
        """Deletes all images and containers."""
        subprocess.run([*self._buildah, "rm", "--all"], stdout=subprocess.DEVNULL, check=False)
        subprocess.run([*self._buildah, "rmi", "--all", "--force"], stdout=subprocess.DEVNULL, check=False)
        shutil.rmtree(self._storage, ignore_errors=True)

    def _pip_files(self) -> dict[Path, str]:
        """This machine's access to the package index, which is mounted while images are built, not stored in them."""
        variables, certificates = pip_configuration()
        lines = [
            f"{name.removeprefix('PIP_').lower().replace('_', '-')} = {value}" for name, value in variables.items()
        ]
        file = self._folder / "pip.conf"
        file.write_text("\n".join(["[global]", *lines, ""]), "utf-8")
        files = {file: "/etc/pip.conf"}
        return {**files, Path(certificates): _CERTIFICATES} if certificates else files

    def _run(self, *arguments: str) -> str:
        with (self._folder / "buildah.log").open("a") as log:
            log.write(f"$ buildah {' '.join(arguments)}\n")
            log.flush()
            done = subprocess.run(
                [*self._buildah, *arguments],
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
                check=False,
                timeout=_BUILD_SECONDS,
            )
            log.write(done.stdout)
        if done.returncode:
            raise ElasticError(f"buildah {arguments[0]} failed; see {self._folder}/buildah.log")
        return done.stdout.strip()
