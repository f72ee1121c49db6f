"""`elastic costs`: estimate what the stack on AWS would cost."""

from __future__ import annotations

import json
from dataclasses import asdict

import click
from rich.console import Console
from rich.table import Table

from cli.tables import print_table
from core.cost_estimate import Estimate, Workload, estimate
from core.errors import ArgumentError
from core.fleet_costs import format_usd
from core.prices import Prices, load_prices

# The slower of the machines in docs/reference/benchmarks.md; docs/reference/costs.md uses it, too.
IMAGES_PER_SECOND = 49.0

_positive = click.FloatRange(min=0, min_open=True)


@click.command()
@click.option("--images", type=click.IntRange(min=0), default=1_000_000, show_default=True, help="Number of images.")
@click.option(
    "--hours", type=click.FloatRange(min=0), default=24.0, show_default=True, help="How long the stack exists."
)
@click.option("--instance-type", help="The workers' type.  [default: the stack's]")
@click.option(
    "--images-per-second",
    type=_positive,
    default=IMAGES_PER_SECOND,
    show_default=True,
    help="What one worker answers; `elastic bench worker` measures it.",
)
@click.option("--image-bytes", type=click.IntRange(min=1), default=100_000, show_default=True, help="Size of an image.")
@click.option("--keep-days", type=click.FloatRange(min=0), default=7.0, show_default=True, help="How long it is kept.")
@click.option("--simple", is_flag=True, help="Of the deployment of `elastic deploy --simple`.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
def costs(
    images: int,
    hours: float,
    instance_type: str | None,
    images_per_second: float,
    image_bytes: int,
    keep_days: float,
    simple: bool,
    as_json: bool,
) -> None:
    """Estimate what the stack on AWS would cost for a number of images.

    By the project's table of AWS's prices, core/prices.toml, and measured numbers of requests; nothing is asked of AWS.
    docs/reference/costs.md shows the calculation.
    """
    prices = load_prices()
    chosen = instance_type or str(prices.stack["worker_instance_type"])
    workload = Workload(
        images, hours, chosen, images_per_second, image_bytes, keep_days, "simple" if simple else "full"
    )
    found = estimate(workload, prices)
    if found is None:
        known = ", ".join(sorted(prices.instances))
        raise ArgumentError(f"--instance-type: the price table has no {chosen}; it has {known}")
    if as_json:
        click.echo(json.dumps(_fields(workload, found, prices)))
        return
    print_table(Console(), _table(workload, found))
    click.echo(f"Estimated by AWS's prices in {prices.region} of {prices.date:%Y-%m-%d}, on demand, without tax.")
    if images:
        click.echo(f"{format_usd(found.total_usd / images * 1000)} for 1,000 images.")


def _table(workload: Workload, found: Estimate) -> Table:
    table = Table("part", "item", "US dollars", title=f"{workload.images:,} images in {workload.hours:g} hours")
    table.columns[-1].justify = "right"
    for part, items, usd in (
        ("the stack", found.standing, found.standing_usd),
        ("images", found.images, found.images_usd),
    ):
        for name, item_usd in items.items():
            table.add_row(part, name, format_usd(item_usd))
        table.add_row(part, "sum", format_usd(usd), end_section=True)
    hours = f"{workload.worker_hours:,.2f} hours of {workload.instance_type}, address and disk"
    table.add_row("workers", hours, format_usd(found.workers_usd), end_section=True)
    table.add_row("all", "sum", format_usd(found.total_usd))
    return table


def _fields(workload: Workload, found: Estimate, prices: Prices) -> dict[str, object]:
    return {
        **asdict(workload),
        "worker_hours": workload.worker_hours,
        "region": prices.region,
        "prices_of": prices.date.isoformat(),
        "usd": {
            "standing": dict(found.standing),
            "images": dict(found.images),
            "workers": found.workers_usd,
            "total": found.total_usd,
        },
    }
