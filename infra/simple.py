"""The simple deployment: create its stack, build the workers' image where there is none, and what the stack needs.

Where there is no image yet, the stack is first created without workers and instance, so that the image can be built
with the stack's own bucket and instance profile, and then completed.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime
from pathlib import Path
from typing import Protocol

from aws.images import MachineImage
from aws.models import ModelVersion
from aws.stacks import REVIEW, StackError, StackState
from aws.state import StateObject
from core.bundle_manifest import read_manifest
from core.errors import ArgumentError
from core.tokens import AccessToken, new_token
from infra import deployment
from infra.certificate import Certificate, make_certificate, read_certificate
from infra.deployment import Stack, StackActions, StackSpec
from infra.stack_waiter import PollPolicy

# The certificate with its key, beside the program: the instance's role may read both, a worker's neither.
CERTIFICATE_KEY = "program/tls.pem"
IMAGE_PARAMETER, PROFILE_PARAMETER = "WorkerImageId", "InstanceProfile"
CLIENT_PARAMETER, CERTIFICATE_PARAMETER = "ClientCidr", "CertificateUntil"
# An output that no other stack of this program has.
BUILDER_OUTPUT = "BuilderProfile"
EVERYONE = "0.0.0.0/0"


class State(Protocol):
    """The methods of `aws.state.StateStore` that this module needs."""

    def get(self, key: str) -> StateObject | None: ...
    def put(self, key: str, body: bytes) -> str: ...


class Models(Protocol):
    """The methods of `aws.models.ModelStore` that this module needs."""

    def list(self) -> list[ModelVersion]: ...
    def add(self, folder: Path, now: float) -> ModelVersion: ...


class Tokens(Protocol):
    """The methods of `aws.tokens.TokenStore` that this module needs."""

    def all(self) -> Iterable[AccessToken]: ...
    def add(self, token: AccessToken) -> None: ...


def client_cidr(text: str) -> str:
    """Check the range of addresses that may reach the page; one address becomes a range.

    Raises:
        ArgumentError: it is no range of IPv4 addresses.
    """
    try:
        return str(ipaddress.IPv4Network(text.strip()))
    except ValueError as error:
        raise ArgumentError(
            f"--allow: {text!r} is no IPv4 address or range, such as 198.51.100.7 or 198.51.100.0/24: {error}"
        ) from None


def is_simple(state: StackState) -> bool:
    """Whether this is a stack of the simple deployment."""
    return BUILDER_OUTPUT in state.outputs


def usable_image(images: Sequence[MachineImage], sha256: str) -> MachineImage | None:
    """The newest available one of the images made of the archive with this digest: of this program and model."""
    return next((image for image in images if image.state == "available" and image.tags.get("sha256") == sha256), None)


@dataclass(frozen=True, slots=True)
class ImageChoice:
    """Where the workers' image comes from.

    Attributes:
        image_id: an existing image; empty: none.
        build: builds one, with a bucket and an instance profile; returns its id.
    """

    image_id: str
    build: Callable[[str, str], str]


def deploy(
    stack: Stack, spec: StackSpec, actions: StackActions, image: ImageChoice, polling: PollPolicy | None = None
) -> StackState | None:
    """Create or update the stack, and build the image if there is none; None if the changes were not confirmed.

    Raises:
        StackError: the stack belongs to the other kind of deployment, cannot be changed now, or failed.
    """
    before = stack.state()
    deployment.refuse_if_unusable(stack.name, before)
    exists = before is not None and before.status != REVIEW
    if before is not None and exists and not is_simple(before):
        raise StackError(
            f"the stack {stack.name} is not a simple one: leave out --simple, or give another --stack-name"
        )
    image_id = image.image_id
    if not image_id:
        built_from = before if exists else _deploy(stack, spec, "", actions, polling)
        if built_from is None:
            return None
        image_id = image.build(built_from.outputs["StateBucket"], built_from.outputs[BUILDER_OUTPUT])
    return _deploy(stack, spec, image_id, actions, polling)


def _deploy(
    stack: Stack, spec: StackSpec, image_id: str, actions: StackActions, polling: PollPolicy | None
) -> StackState | None:
    parameters = {**spec.parameters, IMAGE_PARAMETER: image_id}
    return deployment.deploy(stack, replace(spec, parameters=parameters), actions, polling)


def certificate_of(state: State, address: str, now: datetime) -> Certificate:
    """The certificate for an address: the stored one, or a new one, which is stored, before that one ends."""
    if (found := state.get(CERTIFICATE_KEY)) is not None:
        stored = read_certificate(found.body)
        if stored.serves(address, now):
            return stored
    made = make_certificate(address, now)
    state.put(CERTIFICATE_KEY, made.pem)
    return made


def renewal(state: State, address: str, now: datetime) -> dict[str, str]:
    """Replace a stored certificate that ends soon; return the parameter that makes the instance use the new one.

    User data fetches the certificate at an instance's first boot, so the instance has to be replaced.
    """
    before = state.get(CERTIFICATE_KEY)
    certificate = certificate_of(state, address, now)
    if before is None or before.body == certificate.pem:
        return {}
    return {CERTIFICATE_PARAMETER: f"{certificate.not_after:%Y-%m-%d}"}


def store_model(models: Models, bundle: Path, now: float) -> str:
    """Store the model bundle that the image holds, unless it is in the store; return its full name."""
    manifest = read_manifest(bundle)
    name = f"{manifest['name']}@{manifest['version']}"
    if name not in {version.full_name for version in models.list()}:
        models.add(bundle, now)
    return name


def first_token(tokens: Tokens, owner: str, now: float) -> str | None:
    """Create a token of this owner that may upload and read; None if the owner has a valid one."""
    if any(token.owner == owner and token.is_valid(now) for token in tokens.all()):
        return None
    text, record = new_token(owner, ("upload", "read"), now, name="elastic deploy --simple")
    tokens.add(record)
    return text


def parameters_of(
    given: Mapping[str, str], cidr: str, profile: str, vpc_id: str, subnet_ids: Sequence[str]
) -> dict[str, str]:
    """The stack's parameters: those that were found, and over them those that were given."""
    found = {CLIENT_PARAMETER: cidr, PROFILE_PARAMETER: profile, "VpcId": vpc_id, "SubnetIds": ",".join(subnet_ids)}
    return {**found, **given}
