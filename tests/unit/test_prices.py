"""The price table, what it makes of a fleet's status, and the documentation's figures, which follow from it."""

from __future__ import annotations

import re
import tomllib
from dataclasses import replace
from datetime import date

import pytest

from core.fleet_costs import fleet_costs, format_usd
from core.fleet_status import InstanceStatus
from core.paths import REPOSITORY_ROOT
from core.prices import DAYS_A_MONTH, HOURS_A_MONTH, TABLE_FILE, Prices, load_prices
from core.settings import Settings, split_list
from infra.template import text as stack_template
from tests.unit.test_cli_fleet import STATUS

PRICES = load_prices()
PAGE = (REPOSITORY_ROOT / "docs" / "reference" / "costs.md").read_text("utf-8")
# Images a second that one worker answers, in the line of the table for a million images.
RATE = 49
WORKER_HOURS = 1e6 / RATE / 3600


def rows(heading: str, column: int = -1) -> dict[str, str]:
    """A column of the table below a heading of the documentation, by the first column, without emphasis."""
    section = PAGE.split(f"## {heading}\n", 1)[1].split("\n## ", 1)[0].replace("*", "")
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in section.splitlines() if line[:1] == "|"]
    return {row[0]: row[column] for row in cells[2:]}


def agrees(documented: str, exact: float) -> bool:
    """Whether a documented figure is the exact one, rounded to the digits that it has."""
    decimals = len(documented.partition(".")[2])
    return round(exact, decimals) == float(documented)


def test_every_figure_has_a_price_and_a_source() -> None:
    table = tomllib.loads(TABLE_FILE.read_text("utf-8"))
    for name, entry in {**table["instances"], **table["prices"]}.items():
        assert entry["usd"] > 0 and entry["source"].startswith("aws.amazon.com/"), name
    assert PRICES.date <= date(2100, 1, 1) and PRICES.region == "us-east-1"


def test_the_default_instance_types_have_a_price() -> None:
    [default] = re.findall(r"  InstanceTypes:\n.*\n    Default: (.*)", stack_template())
    for types in (Settings().instance_types, default):
        assert all(name in PRICES.instances for name in split_list(types))


def test_the_table_is_about_the_stack_of_the_template() -> None:
    for parameter, tier in (("WebInstanceType", "web"), ("ControllerInstanceType", "controller")):
        [default] = re.findall(rf"  {parameter}:\n    Type: .*\n    Default: (.*)", stack_template())
        assert PRICES.stack[f"{tier}_instance_type"] == default
    [types] = re.findall(r"  InstanceTypes:\n.*\n    Default: (.*)", stack_template())
    assert split_list(types)[0] == PRICES.stack["worker_instance_type"]
    assert stack_template().count("Type: AWS::CloudWatch::Alarm") == PRICES.stack["alarms"]
    assert stack_template().count("Type: AWS::CloudWatch::Dashboard") == PRICES.stack["dashboards"]
    assert set(re.findall(r"VolumeSize: (\d+)", stack_template())) <= {str(PRICES.stack["disk_gb"])}


def test_a_worker_costs_its_instance_its_address_and_its_disk() -> None:
    assert PRICES.worker_usd_per_hour(["c6i.large", "t3.small"]) == pytest.approx(0.085 + 0.005 + 8 * 0.08 / 730)
    assert PRICES.worker_usd_per_hour(["x9.huge"]) is None


def test_the_documented_idle_hour_is_that_of_the_table() -> None:
    documented = rows("An idle hour")
    exact = {**PRICES.standing, "sum": PRICES.standing_usd_per_hour}
    assert documented.keys() == exact.keys()
    assert {name for name in exact if not agrees(documented[name], exact[name])} == set()


def test_the_documented_idle_hour_of_the_simple_deployment_is_that_of_the_table() -> None:
    documented = rows("An idle hour of the simple deployment")
    exact = {**PRICES.simple_standing, "sum": sum(PRICES.simple_standing.values())}
    assert documented.keys() == exact.keys()
    assert {name for name in exact if not agrees(documented[name], exact[name])} == set()
    assert exact["sum"] <= 0.02


def test_the_fleets_page_shows_the_standing_costs_of_its_stack() -> None:
    idle = replace(STATUS, instances=(), history=(), instance_usd_per_hour=0.09, stack="simple")
    assert fleet_costs(idle, PRICES).total.usd_per_hour == pytest.approx(sum(PRICES.simple_standing.values()))


@pytest.mark.parametrize(
    ("column", "prices"), [(2, PRICES), (4, PRICES.in_packs())], ids=["each result alone", "in packs"]
)
def test_the_documented_million_of_images_is_that_of_the_table(column: int, prices: Prices) -> None:
    documented = rows("A million images", column)
    hourly = PRICES.worker_usd_per_hour([str(PRICES.stack["worker_instance_type"])])
    assert hourly is not None
    exact = {name: usd * 1e6 for name, usd in prices.per_image.items()}
    exact["workers with address and disk"] = WORKER_HOURS * hourly
    exact["sum"] = sum(exact.values())
    assert documented.keys() == exact.keys()
    assert {name for name in exact if not agrees(documented[name], exact[name])} == set()


def test_every_price_in_the_documentation_is_one_of_the_table() -> None:
    """Factors of its calculations: `12 × 0.005 / 1,000`, `t3.small 0.0208 + address 0.005`."""
    known = {f"{value:.6f}" for value in (*PRICES.instances.values(), *PRICES.of.values())}
    known |= {f"{PRICES.of[name] * scale:.6f}" for name, scale in (
        ("s3_write", 1e3), ("s3_read", 1e3), ("sqs_request", 1e6), ("metric_request", 1e3),
    )}  # fmt: skip
    factors = re.findall(
        r"× (0\.\d+)|(?:t3\.\w+|c7g\.large|c6i\.large|address|vCPU hour|a snapshot is|gateway adds) (0\.\d+)", PAGE
    )
    used = [f"{float(one or other):.6f}" for one, other in factors]
    assert len(used) > 15
    assert [factor for factor in used if factor not in known and float(factor) not in (0.8, 0.078)] == []


def test_the_page_names_the_tables_date_and_region() -> None:
    assert PRICES.region in PAGE and PRICES.date.isoformat() in PAGE
    assert (HOURS_A_MONTH, DAYS_A_MONTH) == (730, 30)


@pytest.mark.parametrize("answered", [0, 400])
def test_the_costs_of_a_fleet(answered: int) -> None:
    status = replace(
        STATUS,
        since=STATUS.at - 7200,
        answered=answered,
        cost_per_1000_images_usd=0.0017 if answered else None,
        instance_usd_per_hour=0.09,
        instances=STATUS.instances * 3,
    )
    costs = fleet_costs(status, PRICES)
    assert costs.compute.usd_per_hour == pytest.approx(0.27)
    assert costs.requests.usd_per_hour == pytest.approx(4.2 * 3600 * PRICES.usd_per_image)
    assert costs.requests.usd_per_1000_images == pytest.approx(0.0127, abs=0.0001)
    assert costs.standing.usd_per_hour == PRICES.standing_usd_per_hour
    if answered:
        assert costs.standing.usd_per_1000_images == pytest.approx(PRICES.standing_usd_per_hour * 2 / 0.4)
        assert costs.total.usd_per_1000_images == pytest.approx(
            0.0017 + 1000 * PRICES.usd_per_image + PRICES.standing_usd_per_hour * 5
        )
    else:
        assert costs.standing.usd_per_1000_images is costs.total.usd_per_1000_images is None


def test_an_idle_fleet_costs_what_stands_and_an_unknown_instance_an_unknown_sum() -> None:
    idle = replace(STATUS, instances=(), history=(), instance_usd_per_hour=0.09)
    assert fleet_costs(idle, PRICES).total.usd_per_hour == PRICES.standing_usd_per_hour
    unknown = replace(STATUS, instance_usd_per_hour=None, instances=(InstanceStatus("i", "", "running", 0),))
    assert fleet_costs(unknown, PRICES).total.usd_per_hour is None


@pytest.mark.parametrize(
    ("usd", "shown"),
    [(None, "–"), (0, "$0.0000"), (0.01406, "$0.0141"), (0.10387, "$0.104"), (1.0601, "$1.06"), (1235.05, "$1,235.05")],
)
def test_an_amount_has_about_three_digits(usd: float | None, shown: str) -> None:
    assert format_usd(usd) == shown
