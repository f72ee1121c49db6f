"""`elastic fleet`: show the status that the controller publishes, live in a terminal."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Sequence
from datetime import datetime

import click
from rich.console import Console, Group, RenderableType
from rich.live import Live
from rich.table import Column, Table
from rich.text import Text

from aws.clients import Clients
from aws.state import StateStore
from cli.session import connect_to_cloud, console, stop_on_signals
from cli.tables import FittingTable
from core.errors import CloudError, DecodeError, ElasticError
from core.fleet_costs import fleet_costs, format_usd
from core.fleet_status import KEY, FleetStatus, Sample
from core.prices import load_prices

POLL_SECONDS = 1.0
# A status older than this was written by a controller that has stopped; several times the longest interval.
STALE_SECONDS = 30.0
# With its title and its maximum it fits 80 columns.
SPARKLINE_WIDTH = 52
MAX_DECISIONS_SHOWN = 8
_BARS = " ▁▂▃▄▅▆▇█"
_STATE_STYLES = {"booting": "yellow", "running": "green", "silent": "red"}


class NoStatusError(ElasticError):
    """No controller has published the fleet's status yet; start one with `elastic up` or `elastic controller`."""


@click.command()
@click.option("--once", is_flag=True, help="Show the status once and end.")
@click.option("--json", "as_json", is_flag=True, help="Print the status as JSON, once.")
def fleet(once: bool, as_json: bool) -> None:
    """Show the fleet live: backlog, history, instances, scaling decisions.

    Until Ctrl-C; with --once, with --json or without a terminal only once.
    """
    settings = connect_to_cloud()
    store = StateStore(Clients()["s3"], settings.state_bucket)
    if as_json:
        click.echo(read_status(store).encode())
    elif once or not console.is_terminal:
        console.print(render(read_status(store), time.time()), highlight=False)
    else:
        follow(store, console, stop_on_signals())


def read_status(store: StateStore) -> FleetStatus:
    """Reads the fleet status that the controller published last.

    Raises:
        NoStatusError: none has been published.
        DecodeError: it was published by another version of the controller.
        CloudError: the bucket cannot be read.
    """
    found = store.get(KEY)
    if found is None:
        raise NoStatusError()
    return FleetStatus.decode(found.body)


def follow(
    store: StateStore, console: Console, stop: threading.Event, wall_clock: Callable[[], float] = time.time
) -> None:
    """Shows the fleet until `stop` is set; after a failed read the last status stays on the screen.

    Raises:
        NoStatusError: no status has been published.
    """
    status = read_status(store)
    with Live(render(status, wall_clock()), console=console, auto_refresh=False, screen=console.is_terminal) as live:
        while not stop.wait(POLL_SECONDS):
            try:
                status = read_status(store)
            except (CloudError, DecodeError):
                continue
            live.update(render(status, wall_clock()), refresh=True)


def render(status: FleetStatus, now: float) -> RenderableType:
    """Renders a status for the terminal; `now` is in seconds since the epoch."""
    parts = (_numbers(status, now), _remarks(status), _history(status.history))
    return Group(*parts, _instances(status, now), _decisions(status))


def sparkline(values: Sequence[float], width: int = SPARKLINE_WIDTH) -> str:
    """Draws `values` as one line of bars, each the maximum of its share of the values."""
    if not values:
        return ""
    width = min(width, len(values))
    bounds = [round(index * len(values) / width) for index in range(width + 1)]
    highest = [max(values[start:end]) for start, end in itertools.pairwise(bounds)]
    top = max(highest) or 1.0
    # A value above zero gets at least the lowest bar, however small it is beside the maximum.
    return "".join(_BARS[max(1, round(value / top * (len(_BARS) - 1)))] if value > 0 else _BARS[0] for value in highest)


def _numbers(status: FleetStatus, now: float) -> RenderableType:
    latest, age_seconds = status.latest, now - status.at
    grid = Table.grid(*(Column(overflow="fold") for _ in range(4)), padding=(0, 3))
    if latest is not None:
        grid.add_row("desired", str(latest.desired), "waiting", str(latest.visible))
        grid.add_row("running", str(latest.running), "in flight", str(latest.in_flight))
        grid.add_row("booting", str(latest.booting), "images/s", f"{latest.images_per_second:.1f}")
    oldest, costs = status.oldest_job_age_seconds, fleet_costs(status, load_prices())
    measured = "measured" if status.mean_service_measured else "assumed"
    grid.add_row(
        "limits", f"{status.min_size}–{status.max_size}", "oldest job", "–" if oldest is None else f"{oldest:.1f} s"
    )
    grid.add_row(
        "service time",
        f"{status.mean_service_seconds * 1000:.0f} ms ({measured})",
        "boot time",
        f"{status.expected_boot_seconds:.0f} s",
    )
    grid.add_row("answered", str(status.answered), "instance-seconds", f"{status.instance_seconds:.0f}")
    grid.add_row("profile", status.profile)
    kinds = {"instances": costs.compute, "requests, storage": costs.requests, "standing": costs.standing}
    prices = Table.grid(padding=(0, 3))
    prices.add_row(f"on AWS, {costs.date}", "an hour", "1,000 images", style="dim")
    for title, kind in {**kinds, "sum": costs.total}.items():
        prices.add_row(title, format_usd(kind.usd_per_hour), format_usd(kind.usd_per_1000_images))
    written = f"written {max(age_seconds, 0):.0f} s ago by {status.controller_id}"
    style = "red" if age_seconds > STALE_SECONDS else "dim"
    if age_seconds > STALE_SECONDS:
        written += "; the controller seems to have stopped"
    return Group(grid, Text(written, style=style), Text(), prices)


def _remarks(status: FleetStatus) -> RenderableType:
    return Group(*(Text(one.sentence, style="yellow" if one.alarming else "") for one in status.remarks))


def _history(history: Sequence[Sample]) -> RenderableType:
    if not history:
        return Text("")
    grid = Table.grid(padding=(0, 2))
    for title, values in (
        ("backlog", [sample.visible + sample.in_flight for sample in history]),
        ("booting", [sample.booting for sample in history]),
        ("running", [sample.running for sample in history]),
    ):
        grid.add_row(title, Text(sparkline(values), style="cyan"), f"at most {max(values)}")
    return Group(Text(f"\nThe last {_duration(history[-1].at - history[0].at)}"), grid)


def _instances(status: FleetStatus, now: float) -> RenderableType:
    if not status.instances:
        return Text("\nNo instances.")
    table = Table("instance", "id", "state", "model", title="\nInstances", title_justify="left")
    for heading in ("age", "in hand", "answered", "images/s"):
        table.add_column(heading, justify="right")
    for instance in status.instances:
        table.add_row(
            Text(instance.name),
            instance.instance_id,
            Text(instance.state, style=_STATE_STYLES.get(instance.state, "")),
            Text(instance.model),
            _duration(max(0.0, now - instance.launched_at)),
            str(instance.in_hand),
            str(instance.answered),
            f"{instance.images_per_second:.1f}",
        )
    return FittingTable(table)


def _decisions(status: FleetStatus) -> RenderableType:
    grid = Table.grid(padding=(0, 2))
    for decision in reversed(status.decisions[-MAX_DECISIONS_SHOWN:]):
        at = datetime.fromtimestamp(decision.at).astimezone()
        grid.add_row(f"{at:%H:%M:%S}", f"{decision.change:+d}", f"→ {decision.desired}", Text(decision.reason))
    return Group(Text("\nLast decisions"), grid)


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
