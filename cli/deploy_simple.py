"""`elastic deploy --simple`: from an empty account to a page on one small instance, without a domain name."""

from __future__ import annotations

import os
import shlex
import ssl
import time
import urllib.request
from collections.abc import Mapping
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path

import click
from rich.console import Console
from rich.text import Text

from ami.program import DEFAULT_BUNDLE, image_archive
from aws.account import Account, Identity, subnets_offering
from aws.clients import Clients
from aws.images import Images
from aws.models import ModelStore
from aws.stack_resources import STACK_TAG
from aws.stacks import Stack, StackState
from aws.state import StateStore
from aws.tokens import TokenStore
from cli.architectures import TYPES_PARAMETER, architecture_of, check_image, template_default, workers_architecture
from cli.image import build_image
from cli.session import command_name, short_path, waiting
from core.errors import ArgumentError, CloudError
from core.fleet_costs import format_usd
from core.packaging import Archive
from core.paths import REPOSITORY_ROOT, state_folder
from core.prices import load_prices
from core.settings import split_list
from infra import simple, template
from infra.certificate import Certificate
from infra.deployment import StackActions, StackSpec
from infra.program import program_archive

# Amazon's own service that answers with the address that a request comes from.
ADDRESS_SERVICE = "https://checkip.amazonaws.com"
ADDRESS_SECONDS = 5.0
# An instance installs Debian's packages and the program: two to five minutes on comparable machines.
READY_SECONDS = 900.0
POLL_SECONDS = 5.0
DEFAULT_MACHINE_TYPE = "t3.micro"

console = Console()


@dataclass(frozen=True, slots=True)
class Options:
    """The options of the command."""

    stack_name: str
    parameters: Mapping[str, str]
    allow: str | None
    instance_profile: str
    image_id: str
    yes: bool
    dry_run: bool
    wait: bool


def run(clients: Clients, options: Options, actions: StackActions) -> None:
    """Deploys, and prints how to reach the page, what it costs and how to remove it."""
    stack = Stack(clients["cloudformation"], options.stack_name)
    account, before = Account(clients), stack.state()
    identity = account.identity()
    parameters = _parameters(account, options, before)
    if before is None and not options.dry_run:
        _announce(identity, options, parameters)
        if not options.yes:
            click.confirm("Create it?", abort=True)
        # Nothing exists that the changes could destroy, so that one question is enough.
        actions = replace(actions, confirm=lambda change_set: True)
    architecture = workers_architecture(account, _worker_types(parameters, before))
    if before is not None and not options.dry_run and simple.is_simple(before):
        store = StateStore(clients["s3"], before.outputs["StateBucket"])
        parameters |= simple.renewal(store, before.outputs["Address"], datetime.now(UTC))
    archive = image_archive(REPOSITORY_ROOT, DEFAULT_BUNDLE)
    spec = StackSpec(template.simple_text(), parameters, program_archive(REPOSITORY_ROOT), STACK_TAG)

    def build(bucket: str, profile: str) -> str:
        if before is not None and not options.yes:
            click.confirm("The workers' image has to be built, for about a cent.  Build it?", abort=True)
        subnet = _first_subnet(parameters, before)
        return build_image(clients, bucket, profile, architecture=architecture, subnet=subnet).image_id

    image_id = _image(clients, options, before, archive, architecture)
    state = simple.deploy(stack, spec, actions, simple.ImageChoice(image_id, build))
    if state is None:
        click.echo("Nothing was changed.")
        return
    certificate = _finish(clients, options, state)
    if options.wait:
        url = state.outputs["Url"]
        with waiting(f"Waiting until {url} answers"):
            wait_until_ready(f"{url}/healthz", certificate)
        console.print(Text(f"{url} answers."))


def _finish(clients: Clients, options: Options, state: StackState) -> Certificate:
    """Stores certificate, model and token, and prints how to go on."""
    store = StateStore(clients["s3"], state.outputs["StateBucket"])
    certificate = simple.certificate_of(store, state.outputs["Address"], datetime.now(UTC))
    file = state_folder(os.environ) / "aws" / f"{options.stack_name}.pem"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(certificate.public_pem)
    model = simple.store_model(ModelStore(store), REPOSITORY_ROOT / DEFAULT_BUNDLE, time.time())
    # Printed at once: the token cannot be shown again.
    _report(options, state, certificate, file, model, simple.first_token(TokenStore(store), "owner", time.time()))
    return certificate


def own_address(service: str | None = None) -> str:
    """Return the address that this machine is seen with on the internet.

    Raises:
        ArgumentError: it cannot be found.
    """
    service = service or ADDRESS_SERVICE
    try:
        with urllib.request.urlopen(service, timeout=ADDRESS_SECONDS) as response:  # noqa: S310 - a constant
            return simple.client_cidr(response.read(64).decode("ascii", "replace"))
    except (OSError, ArgumentError) as error:
        raise ArgumentError(
            f"the address that AWS sees this machine with cannot be found ({service}: {error}): give the addresses "
            "that may reach the page, such as --allow 198.51.100.7 or --allow 198.51.100.0/24"
        ) from error


def wait_until_ready(url: str, certificate: Certificate, timeout_seconds: float = READY_SECONDS) -> None:
    """Waits until the web tier answers with this certificate.

    Raises:
        CloudError: it does not in time.
    """
    context = ssl.create_default_context(cadata=certificate.public_pem.decode())
    deadline = time.monotonic() + timeout_seconds
    while True:
        try:
            with urllib.request.urlopen(url, timeout=POLL_SECONDS, context=context) as response:  # noqa: S310
                if response.status == 200:
                    return
        except OSError as error:
            if time.monotonic() > deadline:
                raise CloudError(
                    f"{url} has not answered in {timeout_seconds:g} s ({error}): the instance's console output has "
                    "the reason, `aws ec2 get-console-output --latest --instance-id …`; is this machine among the "
                    "addresses of --allow?"
                ) from error
        time.sleep(POLL_SECONDS)


def _parameters(account: Account, options: Options, before: StackState | None) -> dict[str, str]:
    """The parameters that are given; for a new stack also those that are found."""
    given = dict(options.parameters)
    if options.instance_profile:
        given[simple.PROFILE_PARAMETER] = options.instance_profile
    if options.allow is not None:
        given[simple.CLIENT_PARAMETER] = simple.client_cidr(options.allow)
    if before is not None and simple.is_simple(before):
        return given
    cidr = given.get(simple.CLIENT_PARAMETER) or own_address()
    if ("VpcId" in given) != ("SubnetIds" in given):
        raise ArgumentError("the parameters VpcId and SubnetIds belong together")
    vpc_id, subnet_ids = given.get("VpcId", ""), split_list(given.get("SubnetIds", ""))
    if not vpc_id:
        vpc_id = account.default_vpc() or ""
        if not vpc_id:
            raise ArgumentError(
                "this region has no default VPC: `aws ec2 create-default-vpc` makes one, or name another with "
                "--parameter VpcId=vpc-… and its public subnets with --parameter SubnetIds=subnet-…,subnet-…"
            )
        machine_type = given.get("MachineInstanceType", DEFAULT_MACHINE_TYPE)
        subnets = account.subnets(vpc_id)
        # The instance is launched in the first one.
        offering = subnets_offering(subnets, account.zones_with(machine_type))
        ordered = [*offering, *(subnet for subnet in subnets if subnet not in offering)]
        subnet_ids = tuple(subnet.subnet_id for subnet in ordered)
        if not subnet_ids:
            raise ArgumentError(f"the default VPC {vpc_id} has no subnets: name others with --parameter SubnetIds=…")
    return simple.parameters_of(given, cidr, options.instance_profile, vpc_id, subnet_ids)


def _first_subnet(parameters: Mapping[str, str], before: StackState | None) -> str:
    known = parameters.get("SubnetIds") or (before.parameters.get("SubnetIds", "") if before else "")
    return next(iter(split_list(known)), "")


def _worker_types(parameters: Mapping[str, str], before: StackState | None) -> tuple[str, ...]:
    """The workers' types: as given, else the stack's, else the template's."""
    known = parameters.get(TYPES_PARAMETER) or (before.parameters.get(TYPES_PARAMETER) if before else None)
    return split_list(known or template_default(TYPES_PARAMETER))


def _image(clients: Clients, options: Options, before: StackState | None, archive: Archive, architecture: str) -> str:
    """The id of the image to use; empty if it has to be built."""
    images = Images(clients["ec2"], clients["ssm"])
    if options.image_id:
        check_image(images.describe(options.image_id), architecture)
        return options.image_id
    fitting = [image for image in images.list() if architecture_of(image) == architecture]
    if (found := simple.usable_image(fitting, archive.sha256)) is not None:
        return found.image_id
    # A dry run builds none: what exists is shown instead.
    return before.parameters.get(simple.IMAGE_PARAMETER, "") if options.dry_run and before is not None else ""


def _announce(identity: Identity, options: Options, parameters: Mapping[str, str]) -> None:
    cidr = parameters[simple.CLIENT_PARAMETER]
    lines = [
        f"This creates the stack {options.stack_name} in the account {identity.account} ({identity.arn}):",
        f"  one {parameters.get('MachineInstanceType', DEFAULT_MACHINE_TYPE)} with the page and the controller, "
        f"reached over HTTPS from {cidr} only",
        "  three buckets, two queues, and workers while there are photos",
        f"  {_costs()}",
    ]
    if cidr == simple.EVERYONE:
        lines.append("  Everyone can reach the page; without a token it shows nothing.")
    console.print(Text("\n".join(lines)), soft_wrap=True)


def _costs() -> str:
    prices = load_prices()
    standing = format_usd(sum(prices.simple_standing.values()))
    worker_type = str(prices.stack["worker_instance_type"])
    worker, spot = prices.worker_usd_per_hour([worker_type]), prices.spot_worker_usd_per_hour(worker_type)
    return (
        f"about {standing} an hour while idle, and for each worker {format_usd(worker)} an hour on demand, some "
        f"{format_usd(spot)} as spot "
        f"({prices.region}, {prices.date:%Y-%m-%d})"
    )


def _report(
    options: Options, state: StackState, certificate: Certificate, file: Path, model: str, token: str | None
) -> None:
    url, command, name = state.outputs["Url"], command_name(), options.stack_name
    path = shlex.quote(short_path(file))
    kept = f"as created before; `{command} token create` makes another"
    rows = {
        "Page": url,
        "Fingerprint": f"SHA-256 {certificate.fingerprint}",
        "": "The browser warns of the certificate, which the program itself has made: compare the fingerprint there.",
        "Certificate": f"{path}, until {certificate.not_after:%Y-%m-%d}",
        "Token": token or kept,
        "Model": model,
        "Costs": _costs(),
        "Label photos": f"REQUESTS_CA_BUNDLE={path} ELASTIC_TOKEN={token or '…'} {command} classify --url {url} PHOTOS",
        "Remove all": f"{command} destroy --stack-name {name}",
    }
    for title, text in rows.items():
        console.print(Text.assemble((f"{title:13}", "bold"), text), soft_wrap=True)
