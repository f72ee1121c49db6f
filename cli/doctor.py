"""`elastic doctor`: look for what would stop a deployment, before anything is made."""

from __future__ import annotations

import json
from dataclasses import asdict

import click
from rich.console import Console
from rich.text import Text

from ami.bake import BASE_PARAMETER, DEFAULT_ARCHITECTURE
from aws.account import Account
from aws.builders import resolve_image
from aws.clients import Clients
from cli.architectures import workers_architecture
from cli.deploy import parameter_options
from cli.session import use_aws
from core.errors import ArgumentError, CloudError
from core.settings import split_list
from infra import preflight, template
from infra.simple import PROFILE_PARAMETER

_MARKS = {preflight.OK: ("ok", "green"), preflight.WARNING: ("warning", "yellow"), preflight.STOP: ("STOP", "red")}

console = Console()


@click.command()
@click.option("--aws", is_flag=True, help="Look at the AWS account, for `elastic deploy --simple`.")
@click.option("--instance-profile", default="", metavar="NAME", help="As for `elastic deploy`.")
@parameter_options
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def doctor(aws: bool, instance_profile: str, parameters: tuple[tuple[str, str], ...], as_json: bool) -> None:
    """Look for what would stop a deployment, before anything is made.

    Asks who the credentials belong to, what they may do, and for quotas, addresses and instance types.  Nothing is
    changed.  Ends with status 1 if something stops the deployment.
    """
    if not aws:
        raise ArgumentError("`elastic doctor --aws` looks at the AWS account; there is nothing else to look at")
    use_aws()
    clients = Clients()
    given = dict(parameters) | ({PROFILE_PARAMETER: instance_profile} if instance_profile else {})
    found = preflight.examine(Account(clients), plan_of(clients, given))
    if as_json:
        click.echo(json.dumps([asdict(finding) for finding in found]))
    else:
        for finding in found:
            mark, style = _MARKS[finding.level]
            setting = f"  → {finding.setting}" if finding.setting else ""
            line = Text.assemble((f"{mark:8}", style), f"{finding.sentence}", (setting, "bold"))
            console.print(line, soft_wrap=True)
    stops = sum(finding.level == preflight.STOP for finding in found)
    if not as_json:
        console.print("Nothing stops the deployment." if not stops else f"{stops} of these stop the deployment.")
    raise SystemExit(1 if stops else 0)


def plan_of(clients: Clients, given: dict[str, str]) -> preflight.Plan:
    """The plan of `elastic deploy --simple` with these parameters.

    Raises:
        ArgumentError: a parameter has a value that cannot be used.
    """
    simple = template.simple()
    defaults = {name: str(entry.get("Default", "")) for name, entry in simple["Parameters"].items()}
    worker_types = split_list({**defaults, **given}["InstanceTypes"])
    try:
        architecture = workers_architecture(Account(clients), worker_types)
    except CloudError:
        architecture = DEFAULT_ARCHITECTURE  # a type that the region lacks is a finding
    machine = given.get("BaseImageId") or defaults["BaseImageId"]
    images = _base_image(clients, machine), _base_image(clients, BASE_PARAMETER.format(architecture=architecture))
    try:
        return preflight.Plan.of(given, defaults, images, template.role_actions(simple))
    except ValueError as error:
        raise ArgumentError(f"--parameter MaxWorkers: {error}") from error


def _base_image(clients: Clients, base: str) -> str:
    """The id of a base image, by itself or by the parameter that holds it; empty if it is not found."""
    try:
        return resolve_image(clients["ssm"], base)
    except CloudError:
        return ""
