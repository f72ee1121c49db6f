"""The estimate of a bulk run: its formulas against a counted run, the documentation's figures, and the command."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from cli.costs import costs
from core.bulk_estimate import BulkWorkload, count_requests, estimate_bulk
from core.prices import load_prices
from tests.unit.test_prices import agrees, rows

PRICES = load_prices()
MILLION = BulkWorkload(1_000_000, 15, "c6i.large", 49.0)
CHEAPEST = replace(MILLION, instance_type="c7g.large", spot=True)


def test_the_formulas_agree_with_a_counted_run() -> None:
    """6,000 photos, 40 jobs, 7 rounds of the planner, one worker, on the emulator; without what runs beside."""
    counted = {"s3_reads": 6_067, "s3_writes": 55, "s3_lists": 24}
    run = BulkWorkload(6_000, 1, "c6i.large", 6_000 / 35, boot_seconds=0.0, key_bytes=57)
    found = count_requests(run)
    beside = {"s3_reads": 3 + 3, "s3_writes": 7 + 7 + 3, "s3_lists": 5}
    for kind, count in counted.items():
        assert getattr(found, kind) - beside[kind] == pytest.approx(count, abs=max(4, 0.01 * count)), kind
    # 40 messages: 4 requests of two billed units, 40 receives, 40 deletes; and polls and counts beside.
    assert found.sqs_requests - (7 + 35 + 7) == 4 * 2 + 40 + 40


@pytest.mark.parametrize(("column", "run"), [(2, MILLION), (4, CHEAPEST)], ids=["on demand", "Graviton, spot"])
def test_the_documented_million_is_that_of_the_formulas(column: int, run: BulkWorkload) -> None:
    documented, found = rows("A million images in bulk", column), estimate_bulk(run, PRICES)
    assert found is not None
    exact = {**{name: usd for name, usd in found.items.items() if usd}, "sum": found.usd}
    assert documented.keys() == exact.keys()
    assert {name for name in exact if not agrees(documented[name], exact[name])} == set()


def test_a_million_is_within_its_bounds() -> None:
    on_demand, cheapest = estimate_bulk(MILLION, PRICES), estimate_bulk(CHEAPEST, PRICES)
    assert on_demand is not None and cheapest is not None
    assert on_demand.usd <= 2.0 and cheapest.usd <= 1.2


workloads = st.builds(
    BulkWorkload,
    images=st.integers(0, 10**8),
    instances=st.integers(1, 500),
    instance_type=st.just("c6i.large"),
    images_per_second=st.floats(0.5, 500),
    images_per_job=st.integers(1, 500),
    key_bytes=st.integers(1, 1024),
    spot=st.booleans(),
)


@given(workloads)
def test_every_image_is_read_once_and_every_job_sent_received_deleted_and_stored(run: BulkWorkload) -> None:
    requests, found = count_requests(run), estimate_bulk(run, PRICES)
    assert requests.s3_reads >= run.images and requests.s3_writes >= run.jobs
    assert requests.sqs_requests >= 2 * run.jobs + run.jobs / 10
    assert run.jobs * min(run.images_per_job, 60 * 1024 // (run.key_bytes + 3)) >= run.images
    assert (
        found is not None and found.usd == pytest.approx(sum(found.items.values())) and min(found.items.values()) >= 0
    )


def test_a_run_without_images_costs_nothing() -> None:
    found = estimate_bulk(replace(MILLION, images=0), PRICES)
    assert found is not None and found.usd == 0


def test_another_region_costs_its_transfer_and_an_unknown_type_has_no_estimate() -> None:
    near, far = estimate_bulk(MILLION, PRICES), estimate_bulk(replace(MILLION, other_region=True), PRICES)
    assert near is not None and far is not None
    assert far.usd - near.usd == pytest.approx(100 * PRICES.of["region_transfer_gb"])
    assert estimate_bulk(replace(MILLION, instance_type="z9.mega"), PRICES) is None


def test_the_table_and_the_json_of_the_command_agree() -> None:
    arguments = ["--bulk", "--images", "250000", "--instances", "4", "--spot", "--other-region"]
    table = CliRunner().invoke(costs, arguments, terminal_width=100).output
    document: dict[str, Any] = json.loads(CliRunner().invoke(costs, [*arguments, "--json"]).output)
    assert f"{document['requests']['s3_reads']:,}" in table and "250,000 photos" in table
    assert f"${document['usd']['total'] * 4:,.2f} for a million images." in table
    assert document["usd"]["total"] == pytest.approx(sum(document["usd"].values()) / 2)


@pytest.mark.parametrize(
    ("arguments", "sentence"),
    [
        (["--spot"], "--spot is about a bulk run: add --bulk"),
        (["--other-region"], "--other-region is about a bulk run: add --bulk"),
        (["--bulk", "--instance-type", "z9.mega"], "the price table has no z9.mega; it has c6i.large, c7g.large"),
    ],
)
def test_mistakes_get_a_sentence(arguments: list[str], sentence: str) -> None:
    result = CliRunner().invoke(costs, arguments)
    assert result.exit_code != 0 and sentence in str(result.exception)
