"""`elastic model …`: manage the versions in the model store, and the one that the fleet uses."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

from aws.models import ModelError, ModelStore, ModelVersion, describe_bundle
from aws.releases import ReleaseStore
from aws.state import StateStore
from cli.lazy_group import LazyCommand, LazyGroup
from cli.options import quiet
from cli.rollout import begin, fleet_status, follow, follow_option, state_store
from cli.session import print_progress
from cli.tables import print_table
from core.errors import BundleError
from core.fleet_status import FleetStatus
from core.releases import Phase, ReleaseError, ReleaseRecord
from core.shadow import KEY as SHADOW_KEY
from core.shadow import Shadow
from core.sizes import format_bytes

console = Console()


@click.group(
    cls=LazyGroup,
    lazy={
        "build": LazyCommand("cli.model_build:build", "Build a model bundle of published weights."),
        "view": LazyCommand("cli.model_view:view", "Make a bundle that answers with some of a model's labels."),
    },
)
def model() -> None:
    """Manage model bundles: build, list, add, promote, roll back, compare."""


@model.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def list_models(as_json: bool) -> None:
    """Show every version, newest first: the accuracy in its model card, its size, and its state in the fleet."""
    state = state_store()
    versions, record, fleet = ModelStore(state).list(), ReleaseStore(state).read(), fleet_status(state)
    candidate = shadow_of(state)
    rows = [
        {
            **_fields(version),
            "state": state_of(version.full_name, record, candidate),
            "agreement": agreement_of(version.full_name, fleet),
        }
        for version in versions
    ]
    if as_json:
        click.echo(json.dumps(rows))
        return
    if not record.current.model:
        console.print("The fleet uses the model in its machine image.", highlight=False)
    if rows:
        print_table(console, table_of(rows))
    else:
        console.print("The model store is empty; add a bundle with `elastic model add FOLDER`.", highlight=False)


@model.command()
@click.argument("folder", type=click.Path(path_type=Path, file_okay=False))
@quiet
def add(folder: Path) -> None:
    """Check a bundle (its hashes, then its smoke test) and store it as an immutable version."""
    version = describe_bundle(folder, round(time.time(), 3))
    print_progress(check(folder))
    stored = ModelStore(state_store()).add(folder, version.added_at)
    click.echo(f"{stored.full_name} added, {format_bytes(stored.size_bytes)}")


@model.command()
@click.argument("version", metavar="NAME@VERSION")
@follow_option
@quiet
def promote(version: str, wait: bool) -> None:
    """Roll the fleet over to a version of the model store, without losing or delaying jobs."""
    state = state_store()
    chosen = find(ModelStore(state).list(), version)
    releases = ReleaseStore(state)
    begin(releases, lambda record: (record.goal.image_id, chosen.full_name))
    follow(releases, wait=wait)


@model.command()
@follow_option
@quiet
def rollback(wait: bool) -> None:
    """Roll the fleet back to the previous model."""
    releases = ReleaseStore(state_store())
    begin(releases, before)
    follow(releases, wait=wait)


@model.command()
@click.argument("version", metavar="NAME@VERSION|off")
@click.option(
    "--share",
    type=click.FloatRange(min=0, max=1, min_open=True),
    default=0.1,
    show_default=True,
    help="The share of the photos that the candidate also classifies.",
)
def shadow(version: str, share: float) -> None:
    """Let a candidate classify a share of the photos in the background, and count how often it agrees.

    The results that clients see still come from the current model.
    """
    state = state_store()
    if version == "off":
        state.put(SHADOW_KEY, Shadow().encode())
        click.echo("shadow mode is off")
        return
    chosen = find(ModelStore(state).list(), version)
    state.put(SHADOW_KEY, Shadow(chosen.full_name, share).encode())
    click.echo(
        f"{chosen.full_name} classifies {share:.0%} of the photos; `elastic model list` shows how often it agrees"
    )


def before(record: ReleaseRecord) -> tuple[str, str]:
    """The image and the model of the previous release.

    Raises:
        ReleaseError: there is no previous release.
    """
    if record.previous is None:
        raise ReleaseError("there is nothing to roll back to: the fleet has never used another model")
    return record.previous.image_id, record.previous.model


def check(folder: Path) -> str:
    """Runs the worker's smoke test on a bundle; returns the sentence that it prints.

    Raises:
        ModelError: the smoke test failed.
    """
    # Here, since it imports the interpreter, which other commands do not need.
    from app_tier.smoke_test import run_apart

    try:
        return run_apart(folder)
    except BundleError as error:
        raise ModelError(f"{folder} was not added: {error}") from error


def find(versions: list[ModelVersion], name: str) -> ModelVersion:
    """Finds a version by its full name, or by its version alone if only one model has it.

    Raises:
        ModelError: there is none, or more than one.
    """
    found = [version for version in versions if name in (version.full_name, version.version)]
    if len(found) == 1:
        return found[0]
    names = ", ".join(version.full_name for version in (found or versions)) or "nothing"
    raise ModelError(f"{name} names {len(found) or 'no'} versions; the model store has {names}")


def shadow_of(state: StateStore) -> Shadow:
    """The candidate in shadow mode, and its share."""
    found = state.get(SHADOW_KEY)
    return Shadow() if found is None else Shadow.decode(found.body)


def agreement_of(full_name: str, fleet: FleetStatus | None) -> dict[str, int] | None:
    """How often a candidate agreed with the current model; None if it was not compared."""
    shadow = None if fleet is None else fleet.shadow
    if shadow is None or shadow.model != full_name or not shadow.compared:
        return None
    return {"compared": shadow.compared, "agreed": shadow.agreed}


def state_of(full_name: str, record: ReleaseRecord, candidate: Shadow) -> str:
    """A model's state in the fleet: ``current``, ``previous``, ``candidate`` (in a rollout or in shadow mode) or ""."""
    if full_name == record.current.model:
        return "current"
    if record.phase is not Phase.STEADY and record.target is not None and full_name == record.target.model:
        return "candidate" if record.phase is Phase.ROLLING else "being rolled back"
    if full_name == candidate.model:
        return f"candidate, {candidate.share:.0%} of the photos"
    if record.previous is not None and full_name == record.previous.model:
        return "previous"
    return ""


def table_of(rows: list[dict[str, Any]]) -> Table:
    """A table of the versions."""
    table = Table(Column("model", no_wrap=True), "top-1", "size", "added", "state", "agrees")
    for row in rows:
        top1 = "–" if row["top1"] is None else f"{row['top1']:.3f}"
        added = time.strftime("%Y-%m-%d %H:%M", time.gmtime(row["added_at"]))
        seen = row["agreement"]
        agrees = f"{seen['agreed'] / seen['compared']:.3f} of {seen['compared']:,}" if seen else ""
        cells = (row["model"], top1, format_bytes(row["size_bytes"]), added, row["state"], agrees)
        table.add_row(*(Text(cell) for cell in cells))
    return table


def _fields(version: ModelVersion) -> dict[str, Any]:
    return {
        "model": version.full_name,
        "top1": version.top1,
        "size_bytes": version.size_bytes,
        "added_at": version.added_at,
        "sha256": version.digest,
    }
