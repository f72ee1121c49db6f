"""`elastic image …`: build, list and prune the app tier's machine images."""

from __future__ import annotations

import importlib.metadata
import json
import os
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

from ami.bake import (
    ARCHITECTURES,
    BASE_PARAMETER,
    DEFAULT_ARCHITECTURE,
    BuildPlan,
    bake,
    image_name,
    image_tags,
    prunable,
)
from ami.program import DEFAULT_BUNDLE, image_archive
from aws.builders import Builders
from aws.clients import Clients
from aws.images import Images, MachineImage
from aws.presigned_files import PresignedFileStore
from aws.releases import ReleaseStore
from aws.state import StateStore
from cli.options import quiet
from cli.session import progress_console, use_aws
from cli.tables import print_table
from core.bundle_manifest import read_manifest
from core.errors import BundleError, NotFoundError
from core.paths import REPOSITORY_ROOT
from core.releases import ReleaseRecord
from core.settings import Settings

_INSTANCE_TYPES = {"amd64": "t3.small", "arm64": "t4g.small"}

console = Console()


@click.group()
def image() -> None:
    """Manage the app tier's machine images on AWS: build, list, prune."""


@image.command()
@click.option(
    "--instance-profile", required=True, help="The builder's instance profile; it must allow Systems Manager."
)
@click.option(
    "--architecture",
    type=click.Choice(ARCHITECTURES),
    default=DEFAULT_ARCHITECTURE,
    show_default=True,
    help="Its processor: arm64 is Graviton.",
)
@click.option("--base", help="The base image's id, or the parameter that holds it.  [default: the latest Debian 12]")
@click.option("--instance-type", help="The builder's type.  [default: t4g.small, on amd64 t3.small]")
@click.option("--subnet", default="", help="The builder's subnet, with access to the internet.  [default: EC2's]")
@click.option("--security-group", "security_groups", multiple=True, help="The builder's security group; repeatable.")
@click.option("--bundle", default=DEFAULT_BUNDLE, show_default=True, help="The model bundle's folder.")
@click.option("--json", "as_json", is_flag=True, help="Print the image as JSON.")
@quiet
def build(
    instance_profile: str,
    architecture: str,
    base: str | None,
    instance_type: str | None,
    subnet: str,
    security_groups: tuple[str, ...],
    bundle: str,
    as_json: bool,
) -> None:
    """Build an image: launch a builder, provision and check it, create an image from it, clean up."""
    use_aws()
    baked = build_image(
        Clients(),
        Settings.from_environment(os.environ).state_bucket,
        instance_profile,
        architecture=architecture,
        base=base,
        instance_type=instance_type,
        subnet=subnet,
        security_groups=security_groups,
        bundle=bundle,
    )
    click.echo(json.dumps(_fields(baked)) if as_json else baked.image_id)


def build_image(
    clients: Clients,
    bucket: str,
    instance_profile: str,
    *,
    architecture: str = DEFAULT_ARCHITECTURE,
    base: str | None = None,
    instance_type: str | None = None,
    subnet: str = "",
    security_groups: tuple[str, ...] = (),
    bundle: str = DEFAULT_BUNDLE,
) -> MachineImage:
    """Builds an image and shows each step; the arguments are the options of `elastic image build`.

    Args:
        bucket: from which the builder fetches the program.
    """
    archive = image_archive(REPOSITORY_ROOT, bundle)
    version, commit = importlib.metadata.version("elastic-image-classifier"), commit_of(REPOSITORY_ROOT)
    plan = BuildPlan(
        name=image_name(version, commit, datetime.now(UTC)),
        base=base or BASE_PARAMETER.format(architecture=architecture),
        instance_type=instance_type or _INSTANCE_TYPES[architecture],
        instance_profile=instance_profile,
        architecture=architecture,
        bundle=bundle,
        tags=image_tags(version, commit, model_of(REPOSITORY_ROOT / bundle), architecture, archive),
        subnet_id=subnet,
        security_group_ids=security_groups,
    )
    errors = progress_console()
    with errors.status("") as status:

        def report(step: str) -> None:
            errors.print(f"{step} …", highlight=False)
            status.update(f"{step} …")

        return bake(
            plan,
            archive,
            Builders(clients["ec2"], clients["ssm"]),
            Images(clients["ec2"], clients["ssm"]),
            PresignedFileStore(clients["s3"], bucket),
            report,
        )


@image.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def list_images(as_json: bool) -> None:
    """Show the project's images, newest first, and which of them new instances are launched from."""
    settings, images = Settings.from_environment(os.environ), _images()
    record = _releases(settings)
    found = images.list()
    in_use = record.current.image_id or images.in_use_by(settings.launch_template_name)
    if as_json:
        click.echo(json.dumps([{**_fields(entry), "in_use": entry.image_id == in_use} for entry in found]))
    elif not found:
        click.echo("No images.")
    else:
        print_table(console, table_of(found, in_use))


@image.command()
@click.option(
    "--keep", type=click.IntRange(min=0), default=3, show_default=True, help="How many of the newest to keep."
)
@click.option("--yes", is_flag=True, help="Delete without asking.")
def prune(keep: int, yes: bool) -> None:
    """Delete old images and their snapshots, except those that the launch template or a rollout uses."""
    settings, images = Settings.from_environment(os.environ), _images()
    in_use = images.in_use_by(settings.launch_template_name)
    needed = _releases(settings).image_ids
    to_delete = [entry for entry in prunable(images.list(), keep, in_use) if entry.image_id not in needed]
    if not to_delete:
        click.echo("Nothing to delete.")
        return
    print_table(console, table_of(to_delete, in_use))
    if not yes:
        click.confirm(f"Delete {len(to_delete)} images and their snapshots?", abort=True)
    for entry in to_delete:
        images.delete(entry)
        click.echo(f"deleted {entry.image_id} {entry.name}")


def table_of(images: list[MachineImage], in_use: str | None) -> Table:
    """A table of images."""
    table = Table(Column("image", no_wrap=True), Column("name", overflow="fold"), "created", "state", "model", "in use")
    for entry in images:
        created = f"{entry.created_at:%Y-%m-%d %H:%M}"
        used = "yes" if entry.image_id == in_use else ""
        row = (entry.image_id, entry.name, created, entry.state, entry.tags.get("model", ""), used)
        table.add_row(*(Text(text) for text in row))
    return table


def commit_of(root: Path) -> str:
    """The commit of a checkout, with ``-dirty`` if files differ from it; ``unknown`` outside a checkout."""
    command = ("git", "-C", str(root), "describe", "--always", "--dirty", "--exclude", "*")
    try:
        return subprocess.run(command, check=True, capture_output=True, text=True).stdout.strip()
    except (OSError, subprocess.CalledProcessError):
        return "unknown"


def model_of(bundle: Path) -> str:
    """The full name of the bundle in a folder.

    Raises:
        BundleError: the folder has no valid manifest.
    """
    try:
        manifest = read_manifest(bundle)
        return f"{manifest['name']}@{manifest['version']}"
    except (OSError, KeyError) as error:
        raise BundleError(f"{bundle} is not a model bundle: {error}") from error


def _releases(settings: Settings) -> ReleaseRecord:
    try:
        return ReleaseStore(StateStore(Clients()["s3"], settings.state_bucket)).read()
    except NotFoundError:  # images can be baked before there is a stack
        return ReleaseRecord()


def _images() -> Images:
    use_aws()
    clients = Clients()
    return Images(clients["ec2"], clients["ssm"])


def _fields(image: MachineImage) -> dict[str, Any]:
    return {
        "image_id": image.image_id,
        "name": image.name,
        "state": image.state,
        "created_at": image.created_at.isoformat(),
        "snapshot_ids": image.snapshot_ids,
        "tags": dict(image.tags),
    }
