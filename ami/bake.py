"""Build the machine image on AWS: launch a builder instance, provision, check and seal it, create an image from it.

The builder and the uploaded archive are removed in any case, an unfinished image after a failure.
"""

from __future__ import annotations

import contextlib
import logging
import shlex
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Protocol

from aws.builders import Builder
from aws.images import MachineImage
from core.errors import ElasticError
from core.packaging import Archive

log = logging.getLogger(__name__)

# Debian publishes its images' ids under these names: https://wiki.debian.org/Cloud/AmazonEC2Image
BASE_PARAMETER = "/aws/service/debian/release/12/latest/{architecture}"
ARCHITECTURES = ("arm64", "amd64")
# That of Graviton, whose instances cost less.
DEFAULT_ARCHITECTURE = "arm64"
ARCHITECTURE_TAG = "architecture"
ARCHIVE_PREFIX = "images/"
# The builder fetches the archive minutes after its URL was signed.
ARCHIVE_URL_SECONDS = 3600

READY_SECONDS = 300.0
PROVISION_SECONDS = 900.0
SEAL_SECONDS = 180.0
CREATE_SECONDS = 1800.0
_FOLDER = "/var/tmp/elastic"  # noqa: S108 - the builder has no other users
_SEAL = "/run/elastic-seal.sh"


@dataclass(frozen=True, slots=True)
class BuildPlan:
    """The builder instance to launch, and the name and tags of the image made from it."""

    name: str
    base: str
    instance_type: str
    instance_profile: str
    architecture: str
    bundle: str
    tags: Mapping[str, str]
    subnet_id: str = ""
    security_group_ids: tuple[str, ...] = ()

    @property
    def archive_key(self) -> str:
        """The archive's key in the bucket from which the builder fetches it."""
        return f"{ARCHIVE_PREFIX}{self.name}.tar.gz"


class BuilderService(Protocol):
    """The calls of EC2 and Systems Manager that baking needs; `aws.builders.Builders` implements them."""

    def resolve(self, base: str) -> str: ...
    def launch(self, builder: Builder, name: str) -> str: ...
    def terminate(self, instance_id: str) -> None: ...
    def run(self, instance_id: str, script: Sequence[str], ready_seconds: float, timeout_seconds: float) -> str: ...
    def wait_until_stopped(self, instance_id: str, timeout_seconds: float) -> None: ...


class ImageService(Protocol):
    """The calls of EC2 that baking needs; `aws.images.Images` implements them."""

    def create(self, instance_id: str, name: str, tags: Mapping[str, str]) -> str: ...
    def wait_until_available(self, image_id: str, timeout_seconds: float) -> MachineImage: ...
    def label_snapshots(self, image: MachineImage) -> None: ...
    def describe(self, image_id: str) -> MachineImage: ...
    def delete(self, image: MachineImage) -> None: ...


class ArchiveStore(Protocol):
    """Stores the archive for the builder; `aws.presigned_files.PresignedFileStore` implements it."""

    def put(self, key: str, body: bytes) -> None: ...
    def url(self, key: str, valid_seconds: int) -> str: ...
    def delete(self, key: str) -> None: ...


def image_name(version: str, commit: str, now: datetime) -> str:
    """``elastic-app-tier-<version>-<commit>-<UTC time>``: unique, and sorts by version."""
    return f"elastic-app-tier-{version}-{commit}-{now:%Y%m%d%H%M%S}"


def image_tags(version: str, commit: str, model: str, architecture: str, archive: Archive) -> dict[str, str]:
    """The tags of an image: the program's version and commit, the model, the processor, and the archive's hash."""
    return {
        "version": version,
        "commit": commit,
        "model": model,
        ARCHITECTURE_TAG: architecture,
        "sha256": archive.sha256,
    }


def agent_script(architecture: str) -> str:
    """User data that installs Systems Manager's agent, which Debian's images lack.

    The agent comes from AWS's own bucket in the builder's region.  Python fetches it: cloud-init needs Python, so it
    is installed.
    """
    return f"""\
#!/bin/sh
set -eu
cat > /run/fetch-agent.py <<'END'
import urllib.request as http
service = "http://169.254.169.254/latest/"
ask = http.Request(service + "api/token", method="PUT", headers={{"X-aws-ec2-metadata-token-ttl-seconds": "60"}})
token = http.urlopen(ask, timeout=10).read().decode()
ask = http.Request(service + "meta-data/placement/region", headers={{"X-aws-ec2-metadata-token": token}})
region = http.urlopen(ask, timeout=10).read().decode()
source = f"https://s3.{{region}}.amazonaws.com/amazon-ssm-{{region}}/latest/debian_{architecture}/amazon-ssm-agent.deb"
http.urlretrieve(source, "/run/agent.deb")
END
python3 /run/fetch-agent.py
dpkg --install /run/agent.deb
"""


def provision_script(url: str, sha256: str, bundle: str) -> list[str]:
    """Commands that fetch the program and provision twice: a second run that changes something reveals a mistake."""
    fetch = "import sys, urllib.request as http; http.urlretrieve(sys.argv[1], sys.argv[2])"
    provision = f"sh {_FOLDER}/ami/provision.sh --bundle {shlex.quote(bundle)}"
    return [
        "set -eu",
        f"mkdir -p {_FOLDER}",
        f"python3 -c {shlex.quote(fetch)} {shlex.quote(url)} {_FOLDER}/program.tar.gz",
        f"echo '{sha256}  {_FOLDER}/program.tar.gz' | sha256sum --check --quiet",
        f"tar -xzf {_FOLDER}/program.tar.gz -C {_FOLDER}",
        provision,
        f"{provision} > {_FOLDER}/second",
        f"grep -qx '0 changed' {_FOLDER}/second || {{ cat {_FOLDER}/second >&2; exit 1; }}",
    ]


def seal_script() -> list[str]:
    """Commands that start `ami/seal.sh` in the background; it removes the agent that runs these commands."""
    return [
        "set -eu",
        f"cp {_FOLDER}/ami/seal.sh {_SEAL}",
        f"rm -rf {_FOLDER}",
        f"systemd-run --on-active=5 /bin/sh {_SEAL}",
    ]


def bake(
    plan: BuildPlan,
    archive: Archive,
    builders: BuilderService,
    images: ImageService,
    archives: ArchiveStore,
    report: Callable[[str], None],
) -> MachineImage:
    """Bakes an image.

    Args:
        report: called with a description of each step as it begins.

    Raises:
        ElasticError: a step failed; what was made until then has been removed.
    """
    with contextlib.ExitStack() as cleaning:
        report("uploading the program")
        # Registered first: an upload whose response was lost is removed, too.
        cleaning.enter_context(_removing("the archive", lambda: archives.delete(plan.archive_key)))
        archives.put(plan.archive_key, archive.body)
        url = archives.url(plan.archive_key, ARCHIVE_URL_SECONDS)

        report("launching a builder")
        builder = Builder(
            base_image_id=builders.resolve(plan.base),
            instance_type=plan.instance_type,
            instance_profile=plan.instance_profile,
            user_data=agent_script(plan.architecture),
            subnet_id=plan.subnet_id,
            security_group_ids=plan.security_group_ids,
        )
        instance_id = builders.launch(builder, plan.name)
        cleaning.enter_context(_removing(f"the builder {instance_id}", lambda: builders.terminate(instance_id)))

        report(f"provisioning {instance_id} and running the worker's smoke test there")
        builders.run(instance_id, provision_script(url, archive.sha256, plan.bundle), READY_SECONDS, PROVISION_SECONDS)

        report("sealing and stopping the builder")
        builders.run(instance_id, seal_script(), READY_SECONDS, SEAL_SECONDS)
        builders.wait_until_stopped(instance_id, SEAL_SECONDS)

        report("creating the image")
        image_id = images.create(instance_id, plan.name, plan.tags)
        try:
            image = images.wait_until_available(image_id, CREATE_SECONDS)
            images.label_snapshots(image)
            return image
        except BaseException:
            with _removing(f"the image {image_id}", lambda: images.delete(images.describe(image_id))):
                raise


@contextlib.contextmanager
def _removing(what: str, remove: Callable[[], None]) -> Iterator[None]:
    """Calls `remove` at the end of the block; a failure is logged and does not hide the block's own error."""
    try:
        yield
    finally:
        try:
            remove()
        except ElasticError as error:
            log.error("%s could not be removed: %s", what, error)


def prunable(images: Sequence[MachineImage], keep: int, in_use: str | None) -> list[MachineImage]:
    """The images to delete: all but the `keep` newest and the one in use, newest first."""
    newest_first = sorted(images, key=lambda image: (image.created_at, image.name), reverse=True)
    return [image for image in newest_first[keep:] if image.image_id != in_use]
