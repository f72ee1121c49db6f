"""`elastic costs`: estimate what the stack on AWS would cost."""

from __future__ import annotations

import json
from dataclasses import asdict

import click
from rich.console import Console
from rich.table import Table

from cli.price_refresh import refresh_prices
from cli.tables import print_table
from core.bulk_estimate import BulkWorkload, estimate_bulk
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
@click.option(
    "--packs", "in_packs", is_flag=True, help="Workers store results in packs, as with EIC_RESULTS_PER_OBJECT=25."
)
@click.option(
    "--bulk", is_flag=True, help="Estimate a bulk run instead: photos that lie in S3 already, without upload and stack."
)
@click.option(
    "--instances", type=click.IntRange(min=1), default=15, show_default=True, help="With --bulk: number of workers."
)
@click.option("--spot", is_flag=True, help="With --bulk: the workers are spot instances.")
@click.option("--other-region", is_flag=True, help="With --bulk: the photos are in another region than the workers.")
@click.option("--simple", is_flag=True, help="Of the deployment of `elastic deploy --simple`.")
@click.option("--json", "as_json", is_flag=True, help="Print JSON.")
@click.option(
    "--refresh",
    is_flag=True,
    help="Renew the project's price table from AWS's price list instead; needs credentials for AWS.",
)
@click.option("--region", help="With --refresh: the region of the prices.  [default: the table's]")
@click.option("--dry-run", is_flag=True, help="With --refresh: show the differences, and write nothing.")
@click.option(
    "--accept", is_flag=True, help="With --refresh: also take figures that changed to more than three times or a third."
)
def costs(
    images: int,
    hours: float,
    instance_type: str | None,
    images_per_second: float,
    image_bytes: int,
    keep_days: float,
    in_packs: bool,
    bulk: bool,
    instances: int,
    spot: bool,
    other_region: bool,
    simple: bool,
    as_json: bool,
    refresh: bool,
    region: str | None,
    dry_run: bool,
    accept: bool,
) -> None:
    """Estimate what a number of images would cost on AWS.

    That is the stack with uploads or, with --bulk, a bulk run.  By the project's table of AWS's prices and measured
    numbers of requests; without --refresh, nothing is asked of AWS.  docs/reference/costs.md shows the calculation.
    """
    if refresh:
        refresh_prices(region, dry_run=dry_run, accept=accept)
        return
    if region or dry_run or accept:
        raise ArgumentError("--region, --dry-run and --accept are about renewing the prices: add --refresh")
    prices = load_prices().in_packs() if in_packs else load_prices()
    chosen = instance_type or str(prices.stack["worker_instance_type"])
    if bulk:
        run = BulkWorkload(
            images,
            instances,
            chosen,
            images_per_second,
            image_bytes=image_bytes,
            spot=spot,
            other_region=other_region,
        )
        _print_bulk(run, prices, as_json=as_json)
        return
    if spot or other_region:
        raise ArgumentError(f"{'--spot' if spot else '--other-region'} is about a bulk run: add --bulk")
    workload = Workload(
        images, hours, chosen, images_per_second, image_bytes, keep_days, "simple" if simple else "full"
    )
    found = estimate(workload, prices)
    if found is None:
        raise _unknown_type(chosen, prices)
    if as_json:
        click.echo(json.dumps(_fields(workload, found, prices)))
        return
    print_table(Console(), _table(workload, found))
    click.echo(_source(prices))
    if images:
        click.echo(f"{format_usd(found.total_usd / images * 1000)} for 1,000 images.")


def _print_bulk(run: BulkWorkload, prices: Prices, *, as_json: bool) -> None:
    found = estimate_bulk(run, prices)
    if found is None:
        raise _unknown_type(run.instance_type, prices)
    if as_json:
        fields = {**asdict(run), "seconds": run.seconds, "jobs": run.jobs, "requests": asdict(found.requests)}
        source = {"region": prices.region, "prices_of": prices.date.isoformat()}
        click.echo(json.dumps({**fields, **source, "usd": {**found.items, "total": found.usd}}))
        return
    spot = ", spot" if run.spot else ""
    title = f"{run.images:,} images by {run.instances} {run.instance_type}{spot} in {run.seconds / 60:,.0f} minutes"
    table = Table("item", "number", "US dollars", title=title)
    table.columns[1].justify = table.columns[2].justify = "right"
    requests = found.requests
    numbers = {
        "S3, reading": f"{requests.s3_reads:,}",
        "S3, writing": f"{requests.s3_writes:,}",
        "S3, listing": f"{requests.s3_lists:,}",
        "SQS": f"{requests.sqs_requests:,}",
        "workers with address and disk": f"{run.instance_hours:,.2f} hours",
        "transfer": f"{run.images if run.other_region else 0:,} photos",
    }
    for name, usd in found.items.items():
        table.add_row(name, numbers[name], format_usd(usd))
    table.add_section()
    table.add_row("sum", "", format_usd(found.usd))
    print_table(Console(), table)
    click.echo(_source(prices))
    if run.images:
        click.echo(f"${found.usd / run.images * 1e6:,.2f} for a million images.")


def _source(prices: Prices) -> str:
    return f"Estimated by AWS's prices in {prices.region} of {prices.date:%Y-%m-%d}, without tax."


def _unknown_type(name: str, prices: Prices) -> ArgumentError:
    known = ", ".join(sorted(prices.instances))
    return ArgumentError(f"--instance-type: the price table has no {name}; it has {known}")


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
