"""Bakes the image on AWS: a builder is launched and provisioned, checked, sealed, made an image of, and terminated.

Whatever fails, the builder, the uploaded archive and a half-made image are removed.
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
ARCHITECTURES = ("amd64", "arm64")
ARCHIVE_PREFIX = "images/"
# The builder fetches the archive minutes after it was signed for.
ARCHIVE_URL_SECONDS = 3600

READY_SECONDS = 300.0
PROVISION_SECONDS = 900.0
SEAL_SECONDS = 180.0
CREATE_SECONDS = 1800.0
_FOLDER = "/var/tmp/elastic"  # noqa: S108 - on a builder that is nobody else's
_SEAL = "/run/elastic-seal.sh"


@dataclass(frozen=True, slots=True)
class BuildPlan:
    """What is to be baked."""

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
        """Where the builder finds the program."""
        return f"{ARCHIVE_PREFIX}{self.name}.tar.gz"


class BuilderService(Protocol):
    """What baking asks of EC2 and Systems Manager; `aws.builders.Builders` is one."""

    def resolve(self, base: str) -> str: ...
    def launch(self, builder: Builder, name: str) -> str: ...
    def terminate(self, instance_id: str) -> None: ...
    def run(self, instance_id: str, script: Sequence[str], ready_seconds: float, timeout_seconds: float) -> str: ...
    def wait_until_stopped(self, instance_id: str, timeout_seconds: float) -> None: ...


class ImageService(Protocol):
    """What baking asks of EC2; `aws.images.Images` is one."""

    def create(self, instance_id: str, name: str, tags: Mapping[str, str]) -> str: ...
    def wait_until_available(self, image_id: str, timeout_seconds: float) -> MachineImage: ...
    def label_snapshots(self, image: MachineImage) -> None: ...
    def describe(self, image_id: str) -> MachineImage: ...
    def delete(self, image: MachineImage) -> None: ...


class Artifacts(Protocol):
    """Where the archive lies meanwhile; `aws.presigned_files.PresignedFileStore` is one."""

    def put(self, key: str, body: bytes) -> None: ...
    def url(self, key: str, valid_seconds: int) -> str: ...
    def delete(self, key: str) -> None: ...


def image_name(version: str, commit: str, now: datetime) -> str:
    """``elastic-app-tier-<version>-<commit>-<UTC time>``: unique, and sorts by version."""
    return f"elastic-app-tier-{version}-{commit}-{now:%Y%m%d%H%M%S}"


def image_tags(version: str, commit: str, model: str, archive: Archive) -> dict[str, str]:
    """What an image says of itself."""
    return {"version": version, "commit": commit, "model": model, "sha256": archive.sha256}


def agent_script(architecture: str) -> str:
    """User data that installs Systems Manager's agent, which Debian's images lack.

    From AWS's own bucket in the builder's region, by Python, which is there: cloud-init runs on it.
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
    """Fetches the program and provisions: twice, since a second run that changes something tells of a mistake."""
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
    """Hands the builder over to `ami/seal.sh`, which removes the agent that runs this."""
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
    artifacts: Artifacts,
    tell: Callable[[str], None],
) -> MachineImage:
    """Bakes an image; `tell` hears what is being done.

    Raises:
        ElasticError: a step failed; what was made until then has been removed.
    """
    with contextlib.ExitStack() as cleaning:
        tell("uploading the program")
        # Registered first: an upload whose answer got lost is removed, too.
        cleaning.enter_context(_removing("the archive", lambda: artifacts.delete(plan.archive_key)))
        artifacts.put(plan.archive_key, archive.body)
        url = artifacts.url(plan.archive_key, ARCHIVE_URL_SECONDS)

        tell("launching a builder")
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

        tell(f"provisioning {instance_id} and checking that a worker can run there")
        builders.run(instance_id, provision_script(url, archive.sha256, plan.bundle), READY_SECONDS, PROVISION_SECONDS)

        tell("sealing it and switching it off")
        builders.run(instance_id, seal_script(), READY_SECONDS, SEAL_SECONDS)
        builders.wait_until_stopped(instance_id, SEAL_SECONDS)

        tell("making the image")
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
    """Removes something at the end.  Where that fails it says so, and the first error goes on."""
    try:
        yield
    finally:
        try:
            remove()
        except ElasticError as error:
            log.error("%s is left behind: %s", what, error)


def prunable(images: Sequence[MachineImage], keep: int, in_use: str | None) -> list[MachineImage]:
    """The images to delete: all but the `keep` newest and the one in use, newest first."""
    newest_first = sorted(images, key=lambda image: (image.created_at, image.name), reverse=True)
    return [image for image in newest_first[keep:] if image.image_id != in_use]
