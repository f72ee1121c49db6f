"""Bulk runs in the simulation: the policy agrees with the formula, and the command says so."""

from __future__ import annotations

import re
from typing import Any

import click
import numpy as np
import pytest
from click.testing import CliRunner, Result

from cli.options import DURATION
from cli.simulate import simulate
from controller.scaling.bulk_fleet import BulkFleetError
from core.prices import load_prices
from core.settings import Settings
from simulation import bulk
from simulation.comparison import draw
from simulation.traces import TraceError

SETTINGS = Settings(instance_types="c6i.large", mean_service_seconds=0.02)
VARIABLES = {"EIC_INSTANCE_TYPES": "c6i.large", "EIC_MEAN_SERVICE_SECONDS": "0.02"}


def run(*arguments: str) -> Result:
    return CliRunner(env=VARIABLES).invoke(simulate, ["--trace", "bulk", *arguments], terminal_width=200)


def test_the_photos_come_as_fast_as_the_planner_enqueues_them() -> None:
    times, service_seconds = draw(bulk.bulk_trace(70_000, 15), 0.02, 1, 0)
    assert len(times) == len(service_seconds) == 70_000
    rounds, counts = np.unique(times, return_counts=True)
    assert (rounds.tolist(), counts.tolist()) == ([0.0, 5.0, 10.0], [30_000, 30_000, 10_000])
    assert bulk.planning_seconds(70_000) == 10.0 and bulk.planning_seconds(30_000) == 0.0
    with pytest.raises(TraceError, match="up to 20,000,000 images"):
        bulk.bulk_trace(20_000_001, 15)


@pytest.mark.parametrize("option", [("--max-instances", "8"), ("--finish-by", "15m"), ("--at-most-usd", "0.2")])
def test_the_simulated_policy_takes_as_long_and_costs_as_much_as_the_formula(option: tuple[str, ...]) -> None:
    result = run("--images", "200000", *option)
    assert result.exit_code == 0, result.output
    [planned] = re.findall(r"images take (\d+) min and \$([\d.]+) with (\d+) instances", result.output)
    [simulated] = re.findall(r"images took (\d+) min with up to (\d+) instances and cost \$([\d.]+)", result.output)
    assert int(planned[0]) == pytest.approx(int(simulated[0]), abs=1)
    assert float(planned[1]) == pytest.approx(float(simulated[2]), abs=0.02)
    assert int(planned[2]) == int(simulated[1])


@pytest.mark.parametrize(
    ("finish_within_seconds", "at_most_usd", "instances"),
    [(None, None, 15), (3600, None, 6), (None, 1000, 15), (3600, 1.05, 6)],
)
def test_the_fleet_of_a_million(finish_within_seconds: float | None, at_most_usd: float | None, instances: int) -> None:
    plan = bulk.plan_bulk(1_000_000, 15, SETTINGS, load_prices(), finish_within_seconds, at_most_usd)
    assert plan.instances == instances


def test_no_fleet_is_larger_than_s3_and_the_planner_can_feed() -> None:
    plan = bulk.plan_bulk(10_000_000, 500, SETTINGS, load_prices(), None, 1000)
    assert plan.instances == 110  # 50 a second each, of 5,500
    with pytest.raises(BulkFleetError, match="110 instances, the most that can be used"):
        bulk.plan_bulk(10_000_000, 500, SETTINGS, load_prices(), 600, None)


def test_a_budget_needs_a_price() -> None:
    unknown = Settings(instance_types="z9.mega")
    with pytest.raises(TraceError, match="set EIC_INSTANCE_USD_PER_HOUR"):
        bulk.plan_bulk(1000, 15, unknown, load_prices(), None, 1)
    assert bulk.plan_bulk(1000, 15, unknown, load_prices(), 3600, None).instances == 1


@pytest.mark.parametrize("option", ["--images=5", "--max-instances=5", "--finish-by=5m", "--at-most-usd=5"])
def test_options_of_bulk_runs_need_one(option: str) -> None:
    result = CliRunner().invoke(simulate, ["--trace", "burst", option])
    assert result.exit_code != 0 and "is about a bulk run: add --trace bulk" in str(result.exception)


@pytest.mark.parametrize(
    ("text", "seconds"), [("90s", 90), ("30m", 1800), ("2.5h", 9000), ("1d", 86_400), (" 5M ", 300), (7.0, 7)]
)
def test_a_time_has_a_unit(text: Any, seconds: float) -> None:
    assert DURATION.convert(text, None, None) == seconds


@pytest.mark.parametrize("text", ["", "5", "m", "0s", "-5m", "5 m", "1h30m", "5w", "nan"])
def test_what_is_no_time_gets_a_sentence(text: str) -> None:
    with pytest.raises(click.BadParameter, match="is not a time such as 90s, 30m, 2h or 1d"):
        DURATION.convert(text, None, None)
