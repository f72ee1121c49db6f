"""`elastic rollout …`: start, follow and abort rolling updates, which the controller carries out."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any, TypeVar

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from aws.clients import Clients
from aws.images import Images
from aws.models import ModelStore
from aws.releases import ReleaseStore
from aws.state import StateStore
from cli.fleet import read_status
from cli.options import quiet
from cli.session import connect_to_cloud, print_progress
from cli.tables import print_table
from core.errors import ArgumentError, ElasticError
from core.fleet_status import FleetStatus
from core.releases import Phase, ReleaseError, ReleaseRecord

POLL_SECONDS = 0.5
# Stands for the model in the machine image.
IMAGE_MODEL = "image"
# Stands for the image that the launch template names.
TEMPLATE_IMAGE = "template"
console = Console()

Command = TypeVar("Command", bound=Callable[..., Any])


def follow_option(command: Command) -> Command:
    """Adds the option ``--wait/--no-wait`` to a command."""
    help_text = "Wait until the rollout has ended."
    option = click.option("--wait/--no-wait", default=True, show_default=True, help=help_text)
    return option(command)


@click.group()
def rollout() -> None:
    """Manage rolling updates of the fleet: start, status, abort."""


@rollout.command()
@click.option("--image", "image_id", help=f"A machine image's id; `{TEMPLATE_IMAGE}`: the launch template's own.")
@click.option(
    "--model", "model", help=f"NAME@VERSION of the model store; `{IMAGE_MODEL}`: the model in the machine image."
)
@follow_option
@quiet
def start(image_id: str | None, model: str | None, wait: bool) -> None:
    """Roll the fleet over to an image, a model or both: new instances are launched first, then old ones drained."""
    if image_id is None and model is None:
        raise ArgumentError("there is nothing to roll out: give --image ami-…, --model NAME@VERSION or both")
    state = state_store()
    if model and model != IMAGE_MODEL:
        model = ModelStore(state).get(model).full_name
    if image_id and image_id != TEMPLATE_IMAGE:
        clients = Clients()
        image_id = Images(clients["ec2"], clients["ssm"]).describe(image_id).image_id
    chosen_image = {None: None, TEMPLATE_IMAGE: ""}.get(image_id, image_id)
    chosen_model = {None: None, IMAGE_MODEL: ""}.get(model, model)

    def target(record: ReleaseRecord) -> tuple[str, str]:
        base = record.current
        return (
            base.image_id if chosen_image is None else chosen_image,
            base.model if chosen_model is None else chosen_model,
        )

    releases = ReleaseStore(state)
    begin(releases, target)
    follow(releases, wait=wait)


@rollout.command()
@click.option("--json", "as_json", is_flag=True, help="Print the record as JSON.")
def status(as_json: bool) -> None:
    """Show the fleet's release, a rollout in progress, and how the latest rollouts ended."""
    state = state_store()
    record = ReleaseStore(state).read()
    if as_json:
        click.echo(record.encode())
        return
    for line in lines_of(record, fleet_status(state)):
        console.print(line, highlight=False, markup=False, soft_wrap=True)
    if record.past:
        print_table(console, table_of(record))


@rollout.command()
@follow_option
@quiet
def abort(wait: bool) -> None:
    """Abort the rollout in progress: the fleet returns to its previous release."""
    releases = ReleaseStore(state_store())
    releases.change(lambda record: record.returning("aborted", "aborted by `elastic rollout abort`", time.time()))
    follow(releases, wait=wait, fails=False)


def begin(releases: ReleaseStore, target: Callable[[ReleaseRecord], tuple[str, str]]) -> None:
    """Begins the rollout of the image and the model that `target` returns.

    Raises:
        ReleaseError: another rollout is in progress, or the fleet runs this release already.
    """
    record = releases.change(lambda record: record.begun(*target(record), now=time.time()))
    assert record.target is not None  # noqa: S101
    print_progress(f"begun: {record.target.title}")


def follow(releases: ReleaseStore, *, wait: bool, fails: bool = True) -> None:
    """Waits until the rollout has ended, and prints its steps.

    Args:
        wait: False: returns at once.
        fails: whether a rollout that was rolled back is an error.

    Raises:
        ReleaseError: the rollout was rolled back, and `fails`.
    """
    if not wait:
        print_progress("the controller carries the rollout out; `elastic rollout status` shows its progress")
        return
    printed = ""
    while (record := releases.read()).phase is not Phase.STEADY:
        if (reason := record.reason) and reason != printed:
            print_progress(reason)
            printed = reason
        time.sleep(POLL_SECONDS)
    outcome = record.past[-1]
    if outcome.result != "done" and fails:
        raise ReleaseError(f"{outcome.release.title} {outcome.result}: {outcome.reason}")
    click.echo(f"the fleet runs {record.current.title}")


def lines_of(record: ReleaseRecord, fleet: FleetStatus | None) -> list[str]:
    """The fleet's release, the rollout in progress and the instances by release, in lines."""
    lines = [f"The fleet runs {record.current.title}."]
    if record.phase is not Phase.STEADY and record.target is not None:
        lines.append(f"{record.phase.value.capitalize()}: {record.target.title}. {record.reason}")
    if fleet is not None and fleet.instances:
        counts: dict[int, int] = {}
        for instance in fleet.instances:
            counts[instance.release] = counts.get(instance.release, 0) + 1
        by_release = ", ".join(f"{count} of release {number}" for number, count in sorted(counts.items()))
        lines.append(f"Instances: {by_release}.")
        if fleet.rollout is not None and record.phase is not Phase.STEADY:
            lines.append(f"Now: {fleet.rollout.reason}.")
    return lines


def table_of(record: ReleaseRecord) -> Table:
    """A table of the latest rollouts and their results, newest first."""
    table = Table("ended", "release", "result", "why")
    for outcome in reversed(record.past):
        at = time.strftime("%Y-%m-%d %H:%M:%S", time.gmtime(outcome.at))
        table.add_row(*(Text(text) for text in (at, outcome.release.title, outcome.result, outcome.reason)))
    return table


def fleet_status(state: StateStore) -> FleetStatus | None:
    """The fleet status that the controller published last; None if there is none or it cannot be read."""
    try:
        return read_status(state)
    except ElasticError:
        return None


def state_store() -> StateStore:
    """The state bucket, of the running local stack unless the environment names another cloud."""
    settings = connect_to_cloud()
    return StateStore(Clients()["s3"], settings.state_bucket)
