"""`elastic deploy`, `elastic status` and `elastic destroy`: the stack on AWS."""

from __future__ import annotations

from collections.abc import Sequence

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
from cli.fleet import NoStatusError, read_status
from core.errors import CloudError, DecodeError
from core.paths import REPOSITORY_ROOT
from infra import template
from infra.deployment import StackActions, StackSpec
from infra.deployment import deploy as bring_about
from infra.outputs import settings_of
from infra.program import program_archive
from infra.teardown import DeletionPlan, deletion_plan
from infra.teardown import destroy as tear_down

DEFAULT_NAME = "elastic"
# Shown first: what an update may destroy.
_SEVERITY = {"Remove": 0, "True": 1, "Conditional": 2}
_STYLES = {"Add": "green", "Modify": "yellow", "Remove": "red"}

console = Console()
_stack_name = click.option("--stack-name", default=DEFAULT_NAME, show_default=True, help="The stack's name.")


class _Parameter(click.ParamType[tuple[str, str]]):
    """``Key=Value``."""

    name = "KEY=VALUE"

    def convert(self, value: str, param: click.Parameter | None, context: click.Context | None) -> tuple[str, str]:
        key, separator, text = value.partition("=")
        if not separator or not key:
            self.fail(f"{value!r} is not KEY=VALUE", param, context)
        return key, text


@click.command()
@_stack_name
@click.option("--parameter", "parameters", type=_Parameter(), multiple=True, help="One of stack.yaml's; repeatable.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--dry-run", is_flag=True, help="Show the changes and change nothing.")
def deploy(stack_name: str, parameters: tuple[tuple[str, str], ...], yes: bool, dry_run: bool) -> None:
    """Create or update the stack on AWS: show what would change, ask, do it, tell how it goes.

    Parameters that are not given keep their values.  docs/how-to/deploy-to-aws.md explains them.
    """
    clients = Clients()
    estate = StackResources(clients, stack_name)

    def confirm(change_set: ChangeSet) -> bool:
        console.print(table_of(change_set))
        return not dry_run and (yes or click.confirm(f"Carry out these {len(change_set.changes)} changes?"))

    def upload(bucket: str, key: str, body: bytes) -> None:
        if not dry_run:
            console.print(f"Storing the program, {len(body) / 1024:.0f} KiB.", highlight=False)
            PresignedFileStore(clients["s3"], bucket).put(key, body)

    def use_template(name: str, version: int) -> None:
        if not dry_run:
            estate.use_template_version(name, version)

    archive = program_archive(REPOSITORY_ROOT)
    spec = StackSpec(template.text(), dict(parameters), archive, STACK_TAG)
    state = bring_about(
        Stack(clients["cloudformation"], stack_name), spec, StackActions(confirm, tell, upload, use_template)
    )
    if state is None:
        click.echo("Nothing was changed.")
        return
    console.print(outputs_of(state))


@click.command()
@_stack_name
@click.option("--env", is_flag=True, help="Print only the settings with which other commands work on this stack.")
def status(stack_name: str, env: bool) -> None:
    """Show the stack on AWS: its state, addresses, alarms and fleet.

    `eval "$(elastic status --env)"` lets `elastic fleet`, `watch`, `dlq`, `token` and `image` work on it.
    """
    clients = Clients()
    state = existing(Stack(clients["cloudformation"], stack_name))
    if env:
        for variable, value in settings_of(state.outputs).items():
            click.echo(f"export {variable}={value}")
        return
    console.print(Text(f"{stack_name}: {state.status} {state.reason}".rstrip()))
    console.print(Text(drift_of(state, stack_name)))
    if "StateBucket" not in state.outputs:
        return
    console.print(outputs_of(state))
    console.print(Text(fleet_of(StateStore(clients["s3"], state.outputs["StateBucket"]))))
    console.print(Text(alarms_of(StackResources(clients, stack_name).alarms())))


@click.command()
@_stack_name
@click.option("--yes", is_flag=True, help="Do not ask.")
@click.option("--images", "with_images", is_flag=True, help="Delete the machine images and their snapshots, too.")
def destroy(stack_name: str, yes: bool, with_images: bool) -> None:
    """Remove the stack from AWS with all photos and results, and everything that costs.

    Ends with status 1 if something is left, and says what.
    """
    clients = Clients()
    stack, estate = Stack(clients["cloudformation"], stack_name), StackResources(clients, stack_name)
    state = existing(stack)
    fleet = Fleet(clients["ec2"], f"{stack_name}-worker", stack_name)
    images = Images(clients["ec2"], clients["ssm"])
    doomed = images.list() if with_images else []
    console.print(Text(told(stack_name, deletion_plan(stack, fleet), len(doomed))))
    if not yes and click.prompt(f"Type the stack's name ({state.stack_id}) to go on") != stack_name:
        raise StackError("that is not the stack's name; nothing was removed")
    left = tear_down(stack, estate, fleet, lambda sentence: console.print(Text(f"{sentence} …")), tell)
    for image in doomed:
        images.delete(image)
        console.print(Text(f"deleted {image.image_id} {image.name}"))
    if left:
        raise StackError(f"these still carry the stack's tag: {', '.join(left)}")
    console.print("Nothing that carries the stack's tag is left.")


def existing(stack: Stack) -> StackState:
    """The stack as it is.

    Raises:
        StackError: there is none.
    """
    state = stack.state()
    if state is None:
        raise StackError(f"there is no stack {stack.name} in this account and region")
    return state


def table_of(change_set: ChangeSet) -> Table:
    """A row for each change, those that lose something first."""
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
    """A row for each output."""
    table = Table("output", "value")
    for name, value in sorted(state.outputs.items()):
        table.add_row(Text(name), Text(value))
    return table


def tell(event: Event) -> None:
    """Prints an event."""
    style = "red" if "FAILED" in event.status else "green" if event.status.endswith("COMPLETE") else "dim"
    reason = f"  {event.reason}" if event.reason else ""
    console.print(Text(f"{event.status:32} {event.logical_id}{reason}", style))


def drift_of(state: StackState, stack_name: str) -> str:
    """Whether somebody has changed the stack's resources by hand, as far as is known."""
    if state.drift == "DRIFTED":
        return "Drift: somebody has changed resources by hand; CloudFormation's console says which."
    if state.drift == "IN_SYNC":
        return "Drift: none when CloudFormation looked last."
    return f"Drift: not looked for; `aws cloudformation detect-stack-drift --stack-name {stack_name}` does."


def fleet_of(store: StateStore) -> str:
    """The fleet in one line."""
    try:
        found = read_status(store)
    except (NoStatusError, DecodeError, CloudError) as error:
        return f"Fleet: {error}"
    last = found.history[-1] if found.history else None
    numbers = (
        "no history" if last is None else f"{last.running} running, {last.booting} booting, {last.visible} jobs wait"
    )
    return f"Fleet: {numbers}; {found.answered} images answered since the count began"


def alarms_of(alarms: Sequence[Alarm]) -> str:
    """The alarms that ring, in lines."""
    ringing = [alarm for alarm in alarms if alarm.state == "ALARM"]
    if not ringing:
        return f"Alarms: {len(alarms)}, none rings."
    return "\n".join(f"ALARM {alarm.name}: {alarm.description}" for alarm in ringing)


def told(stack_name: str, lost: DeletionPlan, images: int) -> str:
    """What will be lost."""
    lines = [f"This removes the stack {stack_name} for good:"]
    lines += [f"  everything in the bucket {bucket}" for bucket in lost.buckets]
    lines += [f"  {len(lost.workers)} workers, the web tier, the controller, queues, logs, alarms and network"]
    lines += [f"  {images} machine images" if images else "  Machine images stay; --images deletes them, too."]
    return "\n".join(lines)
