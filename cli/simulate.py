"""`elastic simulate`: replay arrival traces through scaling policies; print tables, write JSON and a chart."""

from __future__ import annotations

import dataclasses
import json
import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import click
from rich.console import Console, Group
from rich.progress import BarColumn, Progress, TextColumn, TimeElapsedColumn
from rich.table import Table

from benchmarks.report import output_file
from cli.options import DURATION, quiet
from cli.session import console, progress_console
from controller.scaling.bulk_fleet import format_duration, plan_sentence
from core.errors import ElasticError
from core.prices import load_prices
from core.profiles import PROFILES
from core.settings import Settings
from simulation import bulk
from simulation.comparison import Comparison, Row, compare, steps
from simulation.traces import TRACES, Trace, TraceError, read_csv

PICTURE_ENDINGS = (".png", ".svg")
_NAME_WIDTH = max(len(name) for name in TRACES)
_COLUMNS = ("p50", "p95", "max", "cost", "×opt.", "killed", "thrash", "empty", "spread")


_TITLES = {trace.name: trace.title for trace in TRACES.values()} | {
    bulk.NAME: "photos that lie in S3, see --images (not among the default ones)"
}
_EPILOG = "\b\nTraces:\n" + "\n".join(f"  {name:<{_NAME_WIDTH}}  {title}" for name, title in _TITLES.items())


@click.command(epilog=_EPILOG)
@click.option(
    "--trace",
    "traces",
    metavar="NAME|FILE.csv",
    multiple=True,
    help="A built-in trace, see below, or a CSV file with a header line and the columns seconds and, optionally, "
    "images; repeatable.  [default: all built-in ones]",
)
@click.option(
    "--profile", type=click.Choice(tuple(PROFILES)), help="Scaling profile.  [default: EIC_PROFILE, else balanced]"
)
@click.option("--seed", type=click.IntRange(min=0), default=1, show_default=True, help="Seed of all random draws.")
@click.option(
    "--images",
    type=click.IntRange(min=1),
    help=f"With --trace bulk: number of photos.  [default: {bulk.DEFAULT_IMAGES:,}]",
)
@click.option(
    "--max-instances", type=click.IntRange(min=1), help="With --trace bulk: most instances.  [default: EIC_MAX_SIZE]"
)
@click.option("--finish-by", type=DURATION, help="With --trace bulk: choose the fewest instances that finish in time.")
@click.option(
    "--at-most-usd",
    type=click.FloatRange(min=0, min_open=True),
    help="With --trace bulk: choose the most instances that so many US dollars pay.",
)
@output_file("--json", "json_path", "Write all figures to this file.")
@output_file("--picture", "picture", "Draw a chart, .png or .svg.", PICTURE_ENDINGS)
@quiet
def simulate(
    traces: tuple[str, ...],
    profile: str | None,
    seed: int,
    images: int | None,
    max_instances: int | None,
    finish_by: float | None,
    at_most_usd: float | None,
    json_path: Path | None,
    picture: Path | None,
) -> None:
    """Replay arrivals through the scaling policy and through others.

    Compares cost and waits with those of min(visible messages, maximum), of AWS's target tracking on the backlog per
    instance, of KEDA's SQS scaler at its defaults, and of a clairvoyant optimum with the same waits.  Uses the
    policy's EIC_… settings, so that other values can be tried.  docs/reference/simulation.md lists the assumptions.
    """
    environment = {**os.environ, **({} if profile is None else {"EIC_PROFILE": profile})}
    settings = Settings.from_environment(environment)
    for name, value in (
        ("--images", images),
        ("--max-instances", max_instances),
        ("--finish-by", finish_by),
        ("--at-most-usd", at_most_usd),
    ):
        if value is not None and bulk.NAME not in traces:
            raise TraceError(f"{name} is about a bulk run: add --trace {bulk.NAME}")
    photos, most = images or bulk.DEFAULT_IMAGES, max_instances or settings.max_size
    if bulk.NAME in traces:
        plan = bulk.plan_bulk(photos, most, settings, load_prices(), finish_by, at_most_usd)
        console.print(plan_sentence(photos, plan), highlight=False, soft_wrap=True)
        most = plan.instances if finish_by is not None or at_most_usd is not None else most
    chosen = find_traces(traces, bulk.bulk_trace(photos, most))
    draw = None if picture is None else import_drawing()
    usd_per_hour = bulk.usd_per_hour(settings, load_prices())
    comparisons = run(chosen, settings, seed, progress_console())
    console.print(tables(comparisons))
    console.print(summary(comparisons, usd_per_hour), highlight=False, soft_wrap=True)
    for comparison in comparisons:
        if comparison.trace.name == bulk.NAME:
            console.print(bulk_line(comparison.ours, settings), highlight=False, soft_wrap=True)
    if json_path is not None:
        write_json(comparisons, usd_per_hour, json_path)
    if draw is not None and picture is not None:
        draw(comparisons, picture)


def bulk_line(ours: Row, settings: Settings) -> str:
    """The time and the cost of a simulated bulk run, in a sentence."""
    peak, drain_seconds = ours.peak or 0, ours.drain_seconds or 0.0
    found = bulk.summarize(ours.images, peak, drain_seconds, ours.instance_seconds, settings, load_prices())
    if found.workers_usd is None or found.requests_usd is None:
        cost = "no price of this instance type is known"
    else:
        total = found.workers_usd + found.requests_usd
        cost = f"${total:,.2f}: ${found.workers_usd:,.2f} for workers, ${found.requests_usd:,.2f} for requests"
    return (
        f"The bulk run of {ours.images:,} images took {format_duration(found.seconds)} with up to {peak:,} "
        f"instances and cost {cost}."
    )


def find_traces(names: Sequence[str], bulk_run: Trace | None = None) -> list[Trace]:
    """The traces with these names or from these CSV files; all built-in ones if `names` is empty.

    Args:
        bulk_run: the trace named `bulk`.

    Raises:
        TraceError: there is no such trace, or the file cannot be used.
    """
    found = [bulk_run if bulk_run is not None and name == bulk.NAME else _find_trace(name) for name in names]
    return found or list(TRACES.values())


def run(traces: Sequence[Trace], settings: Settings, seed: int, console: Console) -> list[Comparison]:
    """Compares the scalers on each trace, with a progress bar."""
    bar = Progress(TextColumn("{task.description}"), BarColumn(), TimeElapsedColumn(), console=console, transient=True)
    with bar as progress:
        task = progress.add_task("", total=sum(steps(trace) for trace in traces))
        return [
            compare(trace, settings, seed, lambda step: progress.update(task, advance=1, description=step))
            for trace in traces
        ]


def tables(comparisons: Sequence[Comparison]) -> Group:
    """A table for each trace; narrow enough for 80 columns."""
    return Group(*(_table(comparison) for comparison in comparisons))


def summary(comparisons: Sequence[Comparison], usd_per_hour: float | None) -> str:
    """Which scalers are both faster and cheaper than ours, and how many busy instances ours killed.

    Args:
        usd_per_hour: the price of an instance; None where it is not known.
    """
    ours = comparisons[0].ours.scaler
    beaten = [f"{c.trace.name} ({', '.join(c.beaten_by)})" for c in comparisons if c.beaten_by]
    killed = sum(c.ours.busy_killed for c in comparisons)
    prices = load_prices()
    price = (
        f"1,000 instance-seconds cost ${usd_per_hour / 3.6:.4f} ({prices.region}, prices of {prices.date})."
        if usd_per_hour
        else "No price of this instance type is known: set EIC_INSTANCE_USD_PER_HOUR."
    )
    return "\n".join(
        (
            f"Faster than {ours} at the 95th percentile and cheaper, too: {'; '.join(beaten) or 'none, on any trace'}.",
            f"Busy instances that {ours} killed without a drain: {killed}.",
            "Empty: instances launched while no image was waiting or in service; spread: the highest less the lowest "
            "peak of equal bursts.",
            f"Waits are in seconds, cost is in instance-seconds.  The optimum knows all arrivals in advance "
            f"and has the waits of {ours}.",
            price,
        )
    )


def write_json(comparisons: Sequence[Comparison], usd_per_hour: float | None, path: Path) -> None:
    """Writes a list with an object for each trace and scaler; see docs/reference/simulation.md.

    Args:
        usd_per_hour: the price of an instance; None where it is not known.
    """

    def fields(row: Row) -> dict[str, Any]:
        usd = None if usd_per_hour is None else round(row.instance_seconds / 3600 * usd_per_hour, 6)
        figures = dataclasses.asdict(row).items()
        return {key: round(value, 3) if isinstance(value, float) else value for key, value in figures} | {"usd": usd}

    rows = [fields(row) for comparison in comparisons for row in comparison.rows]
    path.write_text(json.dumps(rows, indent=1) + "\n", "utf-8")


def import_drawing() -> Callable[[Sequence[Comparison], Path], None]:
    """The function that draws cost against wait; see `simulation.picture`.

    Raises:
        ElasticError: matplotlib is not installed.
    """
    try:
        from simulation.picture import draw_picture
    except ImportError as error:
        raise ElasticError("drawing needs matplotlib: pip install 'elastic-image-classifier[demo]'") from error
    return draw_picture


def _find_trace(name: str) -> Trace:
    if name in TRACES:
        return TRACES[name]
    path = Path(name)
    if path.suffix.lower() == ".csv" or path.exists():
        return read_csv(path)
    raise TraceError(f"there is no trace {name!r}: name one of {', '.join(TRACES)}, or a CSV file")


def _table(comparison: Comparison) -> Table:
    trace = comparison.trace
    runs = f"; means of {trace.runs} runs" if trace.runs > 1 else ""
    shown = Table(title=f"{trace.name}: {trace.title}{runs}", title_justify="left", title_style="bold", box=None)
    shown.add_column("", width=19, no_wrap=True)
    for column in _COLUMNS:
        shown.add_column(column, justify="right", no_wrap=True)
    shown.padding = (0, 1, 0, 0)
    for row in comparison.rows:
        shown.add_row(row.scaler, *_cells(row), style="green" if row is comparison.ours else "")
    shown.add_row()
    return shown


def _cells(row: Row) -> tuple[str, ...]:
    cost = (f"{row.instance_seconds:,.0f}", f"{row.cost_ratio:,.2f}")
    if row.p50_wait_seconds is None:
        return "", "", "", *cost
    exact = f"{row.empty_launches:,}", "" if row.peak_spread is None else f"{row.peak_spread:,}"
    waits = (row.p50_wait_seconds, row.p95_wait_seconds, row.max_wait_seconds)
    return *(_number(wait) for wait in waits), *cost, f"{row.busy_killed:,}", _number(row.thrash), *exact


def _number(value: float) -> str:
    return f"{value:.2f}" if value < 10 else f"{value:,.0f}"
