"""`elastic deploy`, `elastic status` and `elastic destroy`: create, show and delete the stack on AWS."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Sequence
from typing import Any

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from aws.clients import Clients
from aws.fleet import Fleet
from aws.images import Images
from aws.presigned_files import PresignedFileStore
from aws.stack_resources import STACK_TAG, Alarm, StackResources
from aws.stacks import ChangeSet, Event, Stack, StackError, StackState
from aws.state import StateStore
from cli.architectures import check_worker_image
from cli.fleet import NoStatusError, read_status
from cli.options import quiet
from cli.session import progress_console, use_aws
from cli.tables import print_table
from core.errors import ArgumentError, CloudError, DecodeError
from core.paths import REPOSITORY_ROOT
from core.sizes import format_bytes
from infra import deployment, teardown, template
from infra.deployment import StackActions, StackSpec
from infra.outputs import settings_of
from infra.program import program_archive
from infra.simple import is_simple
from infra.teardown import DeletionPlan, deletion_plan

DEFAULT_NAME = "elastic"
# Changes that may destroy something are shown first.
_SEVERITY = {"Remove": 0, "True": 1, "Conditional": 2}
_STYLES = {"Add": "green", "Modify": "yellow", "Remove": "red"}

console = Console()
_stack_name = click.option("--stack-name", default=DEFAULT_NAME, show_default=True, help="The stack's name.")


class _Parameter(click.ParamType[tuple[str, str]]):
    """A stack parameter on the command line, ``KEY=VALUE``."""

    name = "KEY=VALUE"

    def convert(self, value: str, param: click.Parameter | None, context: click.Context | None) -> tuple[str, str]:
        key, separator, text = value.partition("=")
        if not separator or not key:
            self.fail(f"{value!r} is not KEY=VALUE", param, context)
        return key, text


parameter_options = click.option(
    "--parameter", "parameters", type=_Parameter(), multiple=True, help="A parameter of the template; repeatable."
)


@click.command()
@_stack_name
@parameter_options
@click.option("--yes", is_flag=True, help="Execute the changes without asking.")
@click.option("--dry-run", is_flag=True, help="Show the changes, but execute nothing.")
@click.option("--simple", is_flag=True, help="One small instance, without a domain, a certificate and a load balancer.")
@click.option(
    "--allow",
    metavar="CIDR",
    help="With --simple: the addresses that may reach the page.  [default: the one that this machine is seen with]",
)
@click.option(
    "--instance-profile",
    default="",
    metavar="NAME",
    help="With --simple: an existing instance profile; no IAM role is made then.",
)
@click.option("--image", "image_id", default="", metavar="AMI", help="With --simple: the workers' image.")
@click.option("--no-wait", is_flag=True, help="With --simple: do not wait until the page answers.")
@quiet
def deploy(
    stack_name: str,
    parameters: tuple[tuple[str, str], ...],
    yes: bool,
    dry_run: bool,
    simple: bool,
    allow: str | None,
    instance_profile: str,
    image_id: str,
    no_wait: bool,
) -> None:
    """Create or update the stack on AWS.

    Shows the changes, asks for confirmation, executes them and reports the stack's events.  Parameters that are not
    given keep their values.  docs/how-to/deploy-to-aws.md explains them, and the deployment with --simple.
    """
    if not simple and (allow or instance_profile or image_id or no_wait):
        raise ArgumentError("--allow, --instance-profile, --image and --no-wait belong to --simple")
    use_aws()
    clients = Clients()
    actions = stack_actions(clients, stack_name, yes=yes, dry_run=dry_run)
    if simple:
        from cli import deploy_simple

        options = deploy_simple.Options(
            stack_name, dict(parameters), allow, instance_profile, image_id, yes=yes, dry_run=dry_run, wait=not no_wait
        )
        deploy_simple.run(clients, options, actions)
        return
    stack = Stack(clients["cloudformation"], stack_name)
    if (before := stack.state()) is not None and is_simple(before):
        raise ArgumentError(f"the stack {stack_name} is a simple one: add --simple, or another --stack-name")
    check_worker_image(clients, dict(parameters), before)
    archive = program_archive(REPOSITORY_ROOT)
    spec = StackSpec(template.text(), dict(parameters), archive, STACK_TAG)
    state = deployment.deploy(stack, spec, actions)
    if state is None:
        click.echo("Nothing was changed.")
        return
    print_table(console, outputs_of(state))


def stack_actions(clients: Clients, stack_name: str, *, yes: bool, dry_run: bool) -> StackActions:
    """The actions of a deployment: on a terminal, and on S3 and EC2."""
    resources = StackResources(clients, stack_name)

    def confirm(change_set: ChangeSet) -> bool:
        print_table(console, table_of(change_set))
        return not dry_run and (yes or click.confirm(f"Execute these {len(change_set.changes)} changes?"))

    def upload(bucket: str, key: str, body: bytes) -> None:
        if not dry_run:
            progress_console(stderr=False).print(f"Uploading the program, {format_bytes(len(body))}.", highlight=False)
            PresignedFileStore(clients["s3"], bucket).put(key, body)

    def use_template(name: str, version: int) -> None:
        if not dry_run:
            resources.use_template_version(name, version)

    return StackActions(confirm, print_event, upload, use_template)


@click.command()
@_stack_name
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option("--env", is_flag=True, help="Print the settings for other commands, as shell `export` lines, and end.")
def status(stack_name: str, as_json: bool, env: bool) -> None:
    """Show the stack on AWS: its state, outputs, alarms and fleet.

    `eval "$(elastic status --env)"` lets `elastic fleet`, `watch`, `dlq`, `token` and `image` work on it.
    """
    use_aws()
    clients = Clients()
    state = existing(Stack(clients["cloudformation"], stack_name))
    if env:
        for variable, value in settings_of(state.outputs).items():
            click.echo(f"export {variable}={value}")
        return
    if as_json:
        click.echo(json.dumps(_status_fields(state, stack_name, clients)))
        return
    console.print(Text(f"{stack_name}: {state.status} {state.reason}".rstrip()))
    console.print(Text(drift_of(state, stack_name)))
    if "StateBucket" not in state.outputs:
        return
    print_table(console, outputs_of(state))
    console.print(Text(fleet_of(StateStore(clients["s3"], state.outputs["StateBucket"]))))
    console.print(Text(alarms_of(StackResources(clients, stack_name).alarms())))


@click.command()
@_stack_name
@click.option("--yes", is_flag=True, help="Delete without asking.")
@click.option(
    "--images/--keep-images",
    "with_images",
    default=None,
    help="Delete the machine images and their snapshots, too, or keep them.  [default: delete those of a simple stack]",
)
@quiet
def destroy(stack_name: str, yes: bool, with_images: bool | None) -> None:
    """Delete the stack on AWS, with all photos and results.

    Machine images that another stack launches from are kept in any case.  Nothing else that costs money remains.  Ends
    with status 1 if resources of the stack remain, and lists them.
    """
    use_aws()
    clients = Clients()
    stack, resources = Stack(clients["cloudformation"], stack_name), StackResources(clients, stack_name)
    state = existing(stack)
    fleet = Fleet(clients["ec2"], f"{stack_name}-worker", stack_name)
    images = Images(clients["ec2"], clients["ssm"])
    images_to_delete = []
    if is_simple(state) if with_images is None else with_images:
        needed = images.in_use_elsewhere(f"{stack_name}-worker")
        images_to_delete = [image for image in images.list() if image.image_id not in needed]
    console.print(Text(describe_deletion(stack_name, deletion_plan(stack, fleet), len(images_to_delete))))
    if not yes and click.prompt(f"Type the stack's name to delete it ({state.stack_id})") != stack_name:
        raise StackError("that is not the stack's name; nothing was deleted")
    remaining = teardown.destroy(
        stack,
        resources,
        fleet,
        lambda step: progress_console(stderr=False).print(Text(f"{step} …")),
        on_event=print_event,
    )
    for image in images_to_delete:
        images.delete(image)
        console.print(Text(f"deleted {image.image_id} {image.name}"))
    if remaining:
        raise StackError(f"these resources still carry the stack's tag: {', '.join(remaining)}")
    console.print("No resource with the stack's tag remains.")


def _status_fields(state: StackState, stack_name: str, clients: Clients) -> dict[str, Any]:
    fleet = None
    if bucket := state.outputs.get("StateBucket"):
        with contextlib.suppress(NoStatusError, DecodeError, CloudError):
            fleet = json.loads(read_status(StateStore(clients["s3"], bucket)).encode())
    return {
        "name": stack_name,
        "status": state.status,
        "reason": state.reason,
        "drift": state.drift,
        "outputs": dict(state.outputs),
        "alarms": [
            {"name": alarm.name, "state": alarm.state, "description": alarm.description}
            for alarm in StackResources(clients, stack_name).alarms()
        ],
        "fleet": fleet,
    }


def existing(stack: Stack) -> StackState:
    """The stack's state.

    Raises:
        StackError: there is no such stack.
    """
    state = stack.state()
    if state is None:
        raise StackError(f"there is no stack {stack.name} in this account and region")
    return state


def table_of(change_set: ChangeSet) -> Table:
    """A table of the changes, those that remove or replace a resource first."""
    table = Table("action", "resource", "type", "replaced")
    for change in sorted(
        change_set.changes,
        key=lambda change: (
            min(_SEVERITY.get(change.action, 3), _SEVERITY.get(change.replacement, 3)),
            change.logical_id,
        ),
    ):
        row = (Text(change.action, _STYLES.get(change.action, "")), change.logical_id, change.resource_type)
        table.add_row(*row, Text(change.replacement, "red" if change.replacement == "True" else ""))
    return table


def outputs_of(state: StackState) -> Table:
    """A table of the stack's outputs."""
    table = Table("output", "value")
    for name, value in sorted(state.outputs.items()):
        table.add_row(Text(name), Text(value))
    return table


def print_event(event: Event) -> None:
    """Prints an event of the stack."""
    style = "red" if "FAILED" in event.status else "green" if event.status.endswith("COMPLETE") else "dim"
    reason = f"  {event.reason}" if event.reason else ""
    progress_console(stderr=False).print(Text(f"{event.status:32} {event.logical_id}{reason}", style))


def drift_of(state: StackState, stack_name: str) -> str:
    """The result of CloudFormation's last drift detection, in a sentence."""
    if state.drift == "DRIFTED":
        return "Drift: resources were changed outside CloudFormation; its console shows which."
    if state.drift == "IN_SYNC":
        return "Drift: none at the last detection."
    return f"Drift: not checked; `aws cloudformation detect-stack-drift --stack-name {stack_name}` checks."


def fleet_of(store: StateStore) -> str:
    """The fleet's status in one line, and what the controller remarks, one a line."""
    try:
        found = read_status(store)
    except (NoStatusError, DecodeError, CloudError) as error:
        return f"Fleet: {error}"
    last = found.history[-1] if found.history else None
    numbers = (
        "no history" if last is None else f"{last.running} running, {last.booting} booting, {last.visible} jobs waiting"
    )
    line = f"Fleet: {numbers}; {found.answered} images answered since counting began"
    return "\n".join((line, *(remark.sentence for remark in found.remarks)))


def alarms_of(alarms: Sequence[Alarm]) -> str:
    """The alarms in the state ALARM, one a line."""
    raised = [alarm for alarm in alarms if alarm.state == "ALARM"]
    if not raised:
        return f"Alarms: {len(alarms)}, none in the ALARM state."
    return "\n".join(f"ALARM {alarm.name}: {alarm.description}" for alarm in raised)


def describe_deletion(stack_name: str, plan: DeletionPlan, images: int) -> str:
    """A list of what is deleted with the stack, for the operator to confirm."""
    lines = [f"This deletes the stack {stack_name} for good:"]
    lines += [f"  everything in the bucket {bucket}" for bucket in plan.buckets]
    lines += [f"  {len(plan.workers)} workers, the web tier, the controller, queues, logs, alarms and network"]
    lines += [f"  {images} machine images" if images else "  no machine image; --images deletes them, too"]
    return "\n".join(lines)
