"""Keep the workers' image and their instance types on one processor architecture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from ami.bake import ARCHITECTURE_TAG, DEFAULT_ARCHITECTURE
from aws.account import Account
from aws.clients import Clients
from aws.images import Images, MachineImage
from aws.stacks import StackState
from core.errors import ArgumentError
from core.settings import split_list
from infra import template
from infra.simple import IMAGE_PARAMETER

TYPES_PARAMETER = "InstanceTypes"

# Debian's names for EC2's.
_DEBIAN = {"x86_64": "amd64", "arm64": "arm64"}


def workers_architecture(account: Account, instance_types: Sequence[str]) -> str:
    """Debian's name of the architecture that these instance types have in common.

    Raises:
        ArgumentError: they have none; one image cannot run on all of them.
        CloudError: EC2 does not describe the types.
    """
    found = [{_DEBIAN[name] for name in account.architectures(each) if name in _DEBIAN} for each in instance_types]
    common = set.intersection(*found) if found else {DEFAULT_ARCHITECTURE}
    if not common:
        each = ", ".join(
            f"{name}: {'/'.join(sorted(has)) or 'none'}" for name, has in zip(instance_types, found, strict=True)
        )
        raise ArgumentError(f"InstanceTypes: one image cannot run on processors of several architectures ({each})")
    return DEFAULT_ARCHITECTURE if DEFAULT_ARCHITECTURE in common else min(common)


def check_worker_image(clients: Clients, parameters: Mapping[str, str], before: StackState | None) -> None:
    """Check that the image of a stack fits its workers' types, where either of the two parameters is given.

    Args:
        parameters: those that are given; the stack `before`, or the template, has the others.

    Raises:
        ArgumentError: it does not fit.
        CloudError: EC2 does not describe the image or the types.
    """
    if not parameters.keys() & {IMAGE_PARAMETER, TYPES_PARAMETER}:
        return
    known = {TYPES_PARAMETER: template_default(TYPES_PARAMETER), **(before.parameters if before else {}), **parameters}
    if image_id := known.get(IMAGE_PARAMETER):
        image = Images(clients["ec2"], clients["ssm"]).describe(image_id)
        check_image(image, workers_architecture(Account(clients), split_list(known[TYPES_PARAMETER])))


def template_default(parameter: str) -> str:
    """The default of a parameter of both templates."""
    return str(template.simple()["Parameters"][parameter]["Default"])


def architecture_of(image: MachineImage) -> str:
    """The architecture of an image of this program; those without the tag are from before there was one."""
    return image.tags.get(ARCHITECTURE_TAG, "amd64")


def check_image(image: MachineImage, architecture: str) -> None:
    """Check that an image fits the workers' types; foreign images, which have no tag, are not judged.

    Raises:
        ArgumentError: it does not.
    """
    tagged = image.tags.get(ARCHITECTURE_TAG)
    if tagged is not None and tagged != architecture:
        raise ArgumentError(
            f"{image.image_id} is an image for {tagged}, and InstanceTypes are {architecture}: build one with "
            f"`elastic image build --architecture {architecture}`, or choose other types with "
            "--parameter InstanceTypes=…"
        )
