"""`elastic costs --refresh`: renew the price table from AWS's price list."""

from __future__ import annotations

import os
import tomllib
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import click
from rich.console import Console
from rich.table import Table

from aws.clients import Clients
from aws.price_list import PriceList
from cli.session import use_aws, waiting
from cli.tables import print_table
from core.errors import ArgumentError, DeniedError
from core.output_files import check_output_file, write_output_file
from core.price_table import (
    Change,
    PriceTableError,
    changes,
    price_of,
    queries,
    rewritten,
    spot_share,
)
from core.prices import TABLE_FILE

_PERMISSIONS = "the credentials need pricing:GetProducts and ec2:DescribeSpotPriceHistory"


def refresh_prices(region: str | None, *, dry_run: bool, accept: bool, file: Path = TABLE_FILE) -> None:
    """Asks for every figure, prints the differences, and writes the table only if each figure was found.

    Args:
        region: of the prices; None: the table's own.
        accept: also take figures that changed so much that another unit is more likely.

    Raises:
        CloudError: AWS cannot be reached, or does not permit the requests.
        PriceTableError: a figure was not found.
        ArgumentError: a figure changed too much, or the table cannot be written.
        NotConnectedError: there are no credentials.
    """
    check_output_file(file)
    text = file.read_text("utf-8")
    table = tomllib.loads(text)
    region = region or str(table["region"])
    # Spot prices are those of the client's region.
    os.environ["AWS_DEFAULT_REGION"] = os.environ["AWS_REGION"] = region
    use_aws()
    found = _ask(PriceList(Clients()), table, region)
    different = changes(table, found)
    if different:
        print_table(Console(), _table(different, region))
    doubtful = [f"{change.part}.{change.name}" for change in different if change.is_doubtful]
    if doubtful and not accept and not dry_run:
        raise ArgumentError(
            f"{', '.join(doubtful)} changed to more than three times or to less than a third: is it another unit or "
            "product?  Compare with AWS's page in the table's source; --accept takes them.  Nothing was written"
        )
    summary = f"{len(different)} of {len(found)} figures differ in {region}"
    if dry_run:
        click.echo(f"{summary}; nothing was written.")
        return
    write_output_file(file, rewritten(text, found, region, datetime.now(UTC).date()))
    click.echo(f"{summary}; {file} is written.  tests/unit/test_prices.py compares the documentation with it.")


def _ask(prices: PriceList, table: dict[str, Any], region: str) -> dict[tuple[str, str], float]:
    """Asks for all figures; what is missing is reported together."""
    found: dict[tuple[str, str], float] = {}
    problems = []
    wanted = queries(table, region)
    instances = table["instances"]
    try:
        with waiting("Asking AWS's price list") as say:
            for number, query in enumerate(wanted, start=1):
                say(f"Asking AWS's price list for {query.name}, {number} of {len(wanted)}")
                try:
                    found[query.part, query.name] = price_of(query, prices.products(query.service, query.filters))
                except PriceTableError as error:
                    problems.append(str(error))
            say("Asking EC2 for spot prices")
            on_demand = {name: found.get(("instances", name), entry["usd"]) for name, entry in instances.items()}
            try:
                found["bulk", "spot_share"] = spot_share(on_demand, prices.spot(table["bulk"]["spot_types"]))
            except PriceTableError as error:
                problems.append(str(error))
    except DeniedError as error:
        raise DeniedError(f"{error}; {_PERMISSIONS}") from error
    if problems:
        raise PriceTableError("\n".join((*problems, "Nothing was written.")))
    return found


def _table(different: list[Change], region: str) -> Table:
    table = Table("figure", "before", "now", "change", title=f"Prices in {region}, US dollars")
    for column in table.columns[1:]:
        column.justify = "right"
    for change in different:
        share = change.after / change.before - 1
        table.add_row(f"{change.part}.{change.name}", f"{change.before:.10g}", f"{change.after:.10g}", f"{share:+.0%}")
    return table
