"""`elastic token …`: manage access tokens for a web tier with ``EIC_AUTHENTICATION=tokens``."""

from __future__ import annotations

import json
import time
from datetime import UTC, datetime
from typing import Any

import click
from rich.console import Console
from rich.table import Table
from rich.text import Text

from aws.clients import Clients
from aws.state import StateStore
from aws.tokens import TokenStore
from cli.session import connect_to_cloud
from cli.tables import print_table
from core.errors import ArgumentError
from core.tokens import SCOPES, AccessToken, new_token

console = Console()


@click.group()
def token() -> None:
    """Manage access tokens for the web tier: create, list, revoke."""


@token.command()
@click.option("--owner", required=True, help="The owner whose batches the token gives access to.")
@click.option(
    "--scope",
    "scopes",
    type=click.Choice(SCOPES),
    multiple=True,
    default=("upload", "read"),
    show_default=True,
    help="What the token permits; repeatable.",
)
@click.option("--name", default="", help="A note on the token's purpose.")
@click.option(
    "--expires-days",
    type=click.FloatRange(min=0, min_open=True),
    help="Days until the token expires.  [default: never]",
)
@click.option(
    "--images-per-day", type=click.IntRange(min=0), default=0, show_default=True, help="Most images a day; 0: no limit."
)
def create(owner: str, scopes: tuple[str, ...], name: str, expires_days: float | None, images_per_day: int) -> None:
    """Create a token and print it once: only its hash is stored."""
    text, record = new_token(
        owner, scopes, time.time(), name=name, expires_days=expires_days, images_per_day=images_per_day
    )
    _store().add(record)
    click.echo(text)
    click.echo("Store the token safely: it cannot be shown again.", err=True)


@token.command("list")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def list_tokens(as_json: bool) -> None:
    """Show all tokens, without their secrets."""
    records = sorted(_store().all(), key=lambda record: record.created_at)
    if as_json:
        click.echo(json.dumps([_fields(record) for record in records]))
        return
    table = Table("id", "owner", "scopes", "name", "created", "expires", "images a day")
    for record in records:
        expires = "never" if record.expires_at is None else _day(record.expires_at)
        if not record.is_valid(time.time()):
            expires = f"expired {expires}"
        limit = f"{record.images_per_day:,}" if record.images_per_day else "any"
        row = (record.token_id, record.owner, ", ".join(record.scopes), record.name, _day(record.created_at), expires)
        table.add_row(*(Text(text) for text in (*row, limit)))
    print_table(console, table)


@token.command()
@click.argument("token_id")
def revoke(token_id: str) -> None:
    """Revoke a token by its id; within seconds it is refused, and its sessions end."""
    # The whole token is accepted, too.
    parts = token_id.split("_")
    if not _store().revoke(parts[1] if len(parts) > 2 else token_id):
        raise ArgumentError("there is no token with this id")
    click.echo("Revoked.")


def _store() -> TokenStore:
    settings = connect_to_cloud()
    return TokenStore(StateStore(Clients()["s3"], settings.state_bucket))


def _fields(record: AccessToken) -> dict[str, Any]:
    return {
        "id": record.token_id,
        "owner": record.owner,
        "scopes": list(record.scopes),
        "name": record.name,
        "created_at": record.created_at,
        "expires_at": record.expires_at,
        "images_per_day": record.images_per_day,
        "valid": record.is_valid(time.time()),
    }


def _day(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%d")
