"""`elastic costs`, and the estimate that it prints."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Any

import pytest
from click.testing import CliRunner
from hypothesis import given
from hypothesis import strategies as st

from cli.costs import costs
from core.cost_estimate import Workload, estimate
from core.fleet_costs import format_usd
from core.prices import load_prices

PRICES = load_prices()
MILLION = Workload(1_000_000, 1.0, "c7g.large", 49.0, 100_000, 7.0)


def test_a_million_images_and_an_hour_cost_what_the_documentation_computes() -> None:
    found = estimate(MILLION, PRICES)
    assert found is not None
    assert found.standing_usd == pytest.approx(PRICES.standing_usd_per_hour)
    assert found.images_usd == pytest.approx(PRICES.usd_per_image * 1e6)
    assert f"{found.images_usd + found.workers_usd:.1f}" == "13.2"
    in_packs = estimate(MILLION, PRICES.in_packs())
    assert in_packs is not None and in_packs.workers_usd == found.workers_usd
    assert f"{in_packs.images_usd + in_packs.workers_usd:.1f}" == "7.9"


@pytest.mark.parametrize(
    ("change", "part"),
    [
        ({"image_bytes": 1_000_000}, "photos kept"),
        ({"image_bytes": 1_000_000}, "load balancer, photos in"),
        ({"keep_days": 70.0}, "photos kept"),
        ({"images": 10_000_000}, "SQS"),
    ],
)
def test_ten_times_as_much_costs_ten_times_as_much(change: dict[str, Any], part: str) -> None:
    before, after = (estimate(workload, PRICES) for workload in (MILLION, replace(MILLION, **change)))
    assert before is not None and after is not None
    assert after.images[part] == pytest.approx(10 * before.images[part])


@given(st.integers(0, 10**9), st.floats(0, 1e5), st.floats(0.1, 1e4))
def test_the_total_is_the_sum_of_its_parts(images: int, hours: float, images_per_second: float) -> None:
    found = estimate(replace(MILLION, images=images, hours=hours, images_per_second=images_per_second), PRICES)
    assert found is not None
    parts = [*found.standing.values(), *found.images.values(), found.workers_usd]
    assert found.total_usd == pytest.approx(sum(parts)) and min(parts) >= 0


def test_the_simple_deployment_has_no_load_balancer() -> None:
    found = estimate(replace(MILLION, stack="simple"), PRICES)
    assert found is not None
    assert found.standing == pytest.approx(PRICES.simple_standing)
    assert not [name for name in (*found.standing, *found.images) if "load balancer" in name]


def test_a_type_without_a_price_has_no_estimate() -> None:
    assert estimate(replace(MILLION, instance_type="z9.mega"), PRICES) is None


def test_the_table_and_the_json_agree() -> None:
    arguments = ["--images", "20000", "--hours", "2", "--image-bytes", "2000000"]
    table = CliRunner().invoke(costs, arguments, terminal_width=100).output
    fields = json.loads(CliRunner().invoke(costs, [*arguments, "--json"]).output)
    assert fields["instance_type"] == PRICES.stack["worker_instance_type"]
    assert fields["worker_hours"] == pytest.approx(20_000 / 49 / 3600)
    for usd in (*fields["usd"]["standing"].values(), fields["usd"]["workers"], fields["usd"]["total"]):
        assert format_usd(usd) in table
    assert f"{format_usd(fields['usd']['total'] / 20)} for 1,000 images" in table


def test_no_images_cost_what_stands() -> None:
    output = CliRunner().invoke(costs, ["--images", "0", "--hours", "1"]).output
    assert format_usd(PRICES.standing_usd_per_hour) in output and "for 1,000 images" not in output
