"""`elastic costs --refresh`: figures are found in AWS's price list, and the table is written only if all are."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterator
from datetime import date
from pathlib import Path
from typing import Any

import boto3
import pytest
from botocore.exceptions import EndpointConnectionError
from botocore.stub import Stubber
from click.testing import CliRunner

from aws.price_list import PriceList
from cli import price_refresh
from cli.costs import costs
from core.errors import ArgumentError, CloudError, DeniedError
from core.price_table import (
    Change,
    PriceQuery,
    PriceTableError,
    changes,
    price_of,
    queries,
    rewritten,
    spot_share,
)
from core.prices import TABLE_FILE

TEXT = TABLE_FILE.read_text("utf-8")
TABLE = tomllib.loads(TEXT)
REGION = "us-east-1"
QUERIES = queries(TABLE, REGION)
# The prefix of eu-central-1's usage types; us-east-1's have none, or USE1-.
USAGE = {
    "[A-Z0-9]+-AWS-Out-Bytes": "USE1-USW2-AWS-Out-Bytes",
    "PublicIPv4:InUseAddress": "USE1-PublicIPv4:InUseAddress",
}


def product(usagetype: str, *tiers: tuple[str, str], **attributes: str) -> dict[str, Any]:
    """An entry of the price list as the documentation of GetProducts shows it: begin and price of each tier."""
    dimensions = {
        f"SKU.JRTCKXETXF.{number}": {
            "unit": "Hrs",
            "beginRange": begin,
            "endRange": "Inf",
            "description": f"${usd} per unit",
            "appliesTo": [],
            "rateCode": f"SKU.JRTCKXETXF.{number}",
            "pricePerUnit": {"USD": usd},
        }
        for number, (begin, usd) in enumerate(tiers)
    }
    reserved = {"priceDimensions": {"r": {"unit": "Quantity", "pricePerUnit": {"USD": "313"}}}}
    return {
        "product": {"productFamily": "F", "attributes": {"usagetype": usagetype, **attributes}, "sku": "SKU"},
        "serviceCode": "AmazonEC2",
        "terms": {
            "OnDemand": {
                "SKU.JRTCKXETXF": {
                    "priceDimensions": dimensions,
                    "sku": "SKU",
                    "effectiveDate": "2026-11-01T00:00:00Z",
                    "offerTermCode": "JRTCKXETXF",
                    "termAttributes": {},
                }
            },
            "Reserved": {"SKU.38NPMPTW36": reserved},
        },
        "version": "20261101000000",
        "publicationDate": "2026-11-01T00:00:00Z",
    }


def query_of(name: str) -> PriceQuery:
    return next(query for query in QUERIES if query.name == name)


def answer(query: PriceQuery, factor: float = 1.0) -> list[dict[str, Any]]:
    """What the price list might have for a query: the product, and another of the same filters."""
    entry = TABLE[query.part][query.name]
    usage = USAGE.get(query.usagetype, query.usagetype)
    right = product(usage, ("0", "0.0000000000"), ("1000", f"{entry['usd'] * factor:.10f}"))
    # Without a pattern of its own, the filters alone decide.
    return [right, *([product("USE1-Other", ("0", "7.0"))] if query.usagetype else [])]


def test_every_figure_of_the_table_has_a_query_in_its_region() -> None:
    assert {(query.part, query.name) for query in QUERIES} == {
        (part, name) for part in ("instances", "prices") for name in TABLE[part]
    }
    assert all(query.service and query.filters for query in QUERIES)
    without = {query.name for query in QUERIES if query.filters.get("regionCode") != REGION}
    assert without == {"region_transfer_gb", "dashboard_month"}
    transfer = query_of("region_transfer_gb").filters
    assert (transfer["fromRegionCode"], transfer["toRegionCode"]) == (REGION, "us-west-2")
    [other] = [query for query in queries(TABLE, "us-west-2") if query.name == "region_transfer_gb"]
    assert (other.filters["fromRegionCode"], other.filters["toRegionCode"]) == ("us-west-2", "us-east-1")


def test_instances_are_asked_for_by_their_type() -> None:
    query = query_of("c6i.large")
    assert query.filters["instanceType"] == "c6i.large" and query.filters["operatingSystem"] == "Linux"
    assert price_of(query, [product("BoxUsage:c6i.large", ("0", "0.0850000000"))]) == 0.085


@pytest.mark.parametrize(
    ("usagetype", "found"), [("Requests-Tier1", True), ("EUC1-Requests-Tier1", True), ("Requests-Tier1-SIA", False)]
)
def test_a_usage_type_may_have_the_regions_prefix(usagetype: str, found: bool) -> None:
    products = [product(usagetype, ("0", "0.0000050000"))]
    if found:
        assert price_of(query_of("s3_write"), products) == 5e-6
    else:
        with pytest.raises(PriceTableError, match=r"prices\.s3_write: AWS's price list has no price for AmazonS3"):
            price_of(query_of("s3_write"), products)


def test_of_several_tiers_the_first_that_is_not_free_counts() -> None:
    tiers = ("512000", "0.021"), ("0", "0.023"), ("51200", "0.022")
    assert price_of(query_of("s3_gb_month"), [product("TimedStorage-ByteHrs", *tiers)]) == 0.023
    assert price_of(query_of("sqs_request"), [product("Requests-RBP", ("0", "0"), ("1000000", "4e-7"))]) == 4e-7


def test_products_with_different_prices_are_ambiguous() -> None:
    twice = [product("CW:Requests", ("0", "0.00001"))] * 2
    assert price_of(query_of("metric_request"), twice) == 1e-5
    with pytest.raises(PriceTableError, match=r"2 prices \(1e-05, 0.5\)"):
        price_of(query_of("metric_request"), [*twice, product("CW:Requests", ("0", "0.5"))])


def test_a_product_that_is_only_free_or_reserved_has_no_price() -> None:
    reserved = product("CPUCredits:t3", ("0", "0.0"))
    with pytest.raises(PriceTableError, match="no price"):
        price_of(query_of("t3_surplus_vcpu_hour"), [reserved])


def test_the_share_of_spot_is_the_median_over_types_and_zones() -> None:
    on_demand = {"a": 0.1, "b": 0.2}
    assert spot_share(on_demand, [("a", 0.03), ("a", 0.05), ("b", 0.08), ("unknown", 9.0)]) == 0.4
    with pytest.raises(PriceTableError, match="spot"):
        spot_share(on_demand, [])


def test_only_figures_source_region_and_date_are_rewritten() -> None:
    found = {("instances", "c6i.large"): 0.1, ("prices", "s3_read"): 4.1e-7, ("bulk", "spot_share"): 0.35}
    new = rewritten(TEXT, found, "eu-central-1", date(2027, 2, 3))
    table = tomllib.loads(new)
    assert (table["region"], table["date"]) == ("eu-central-1", date(2027, 2, 3))
    assert table["instances"]["c6i.large"] == {
        "usd": 0.1,
        "source": "aws.amazon.com/ec2/pricing/on-demand; AWS Price List",
    }
    assert table["prices"]["s3_read"]["usd"] == 4.1e-7 and table["bulk"]["spot_share"] == 0.35
    assert "0.00000041" in new
    assert table["prices"]["s3_read"]["list"] == TABLE["prices"]["s3_read"]["list"]
    differing = [(a, b) for a, b in zip(TEXT.splitlines(), new.splitlines(), strict=True) if a != b]
    assert len(differing) == 5
    # Once more changes nothing.
    assert rewritten(new, found, "eu-central-1", date(2027, 2, 3)) == new


def test_a_table_of_another_form_is_not_written() -> None:
    with pytest.raises(PriceTableError, match="another form"):
        rewritten(TEXT.replace("s3_read = {", "s3_read   = {"), {("prices", "s3_read"): 1e-6}, REGION, date(2027, 1, 1))


def test_changes_are_compared_and_those_of_another_unit_doubtful() -> None:
    found = {("instances", "c6i.large"): 0.085, ("prices", "address_hour"): 0.006, ("prices", "s3_write"): 0.005}
    assert changes(TABLE, found) == [
        Change("prices", "address_hour", 0.005, 0.006),
        Change("prices", "s3_write", 5e-6, 0.005),
    ]
    assert [change.is_doubtful for change in changes(TABLE, found)] == [False, True]


class Answers:
    """Clients whose responses are given, with requests and responses checked by botocore's models."""

    def __init__(self) -> None:
        options = {"region_name": REGION, "aws_access_key_id": "a", "aws_secret_access_key": "b"}
        self.clients = {name: boto3.client(name, **options) for name in ("pricing", "ec2")}
        self.stubs = {name: Stubber(client) for name, client in self.clients.items()}
        for stub in self.stubs.values():
            stub.activate()

    def product(self, query: PriceQuery, entries: list[dict[str, Any]]) -> None:
        filters = [{"Type": "TERM_MATCH", "Field": key, "Value": value} for key, value in query.filters.items()]
        self.stubs["pricing"].add_response(
            "get_products",
            {"FormatVersion": "aws_v1", "PriceList": [json.dumps(entry) for entry in entries]},
            {"ServiceCode": query.service, "Filters": filters},
        )

    def spot(self, *prices: tuple[str, str]) -> None:
        entries = [
            {
                "InstanceType": name,
                "SpotPrice": usd,
                "AvailabilityZone": "us-east-1a",
                "ProductDescription": "Linux/UNIX",
            }
            for name, usd in prices
        ]
        self.stubs["ec2"].add_response("describe_spot_price_history", {"SpotPriceHistory": entries, "NextToken": ""})


@pytest.fixture(scope="module")
def answers() -> Answers:
    return Answers()


@pytest.fixture
def refresh(answers: Answers, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[tuple[Path, Answers]]:
    for name in ("AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY"):
        monkeypatch.setenv(name, "x")
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION"):
        monkeypatch.setenv(name, REGION)
    monkeypatch.setattr(price_refresh, "Clients", lambda: answers.clients)
    for stub in answers.stubs.values():
        stub._queue.clear()
    file = tmp_path / "prices.toml"
    file.write_text(TEXT, "utf-8")
    yield file, answers


def test_the_table_is_renewed_and_the_differences_are_shown(
    refresh: tuple[Path, Answers], capsys: pytest.CaptureFixture[str]
) -> None:
    file, answers = refresh
    for _ in range(2):
        for query in QUERIES:
            answers.product(query, answer(query, 1.1 if query.name == "c6i.large" else 1.0))
        answers.spot(("c7g.large", "0.029"), ("c7g.large", "0.0262"), ("c6i.large", "0.04"))
    price_refresh.refresh_prices(None, dry_run=True, accept=False, file=file)
    assert file.read_text("utf-8") == TEXT
    assert "figures differ in us-east-1; nothing was written" in capsys.readouterr().out
    price_refresh.refresh_prices(None, dry_run=False, accept=False, file=file)
    output = capsys.readouterr().out
    assert "instances.c6i.large" in output and "+10%" in output
    table = tomllib.loads(file.read_text("utf-8"))
    assert table["instances"]["c6i.large"]["usd"] == pytest.approx(0.0935)
    assert table["instances"]["c7g.large"]["usd"] == TABLE["instances"]["c7g.large"]["usd"]
    for stub in answers.stubs.values():
        stub.assert_no_pending_responses()


def test_nothing_is_written_if_a_figure_is_missing(refresh: tuple[Path, Answers]) -> None:
    file, answers = refresh
    for query in QUERIES:
        answers.product(query, [] if query.name in ("s3_read", "alarm_month") else answer(query))
    answers.spot()
    with pytest.raises(PriceTableError) as raised:
        price_refresh.refresh_prices(None, dry_run=False, accept=True, file=file)
    for part in ("prices.s3_read", "prices.alarm_month", "bulk.spot_share", "Nothing was written"):
        assert part in str(raised.value)
    assert file.read_text("utf-8") == TEXT


def test_a_figure_of_another_unit_is_written_only_if_it_is_accepted(refresh: tuple[Path, Answers]) -> None:
    file, answers = refresh
    for accept in (False, True):
        for query in QUERIES:
            answers.product(query, answer(query, 1000 if query.name == "s3_write" else 1.0))
        answers.spot(("c7g.large", "0.029"))
        if accept:
            price_refresh.refresh_prices(None, dry_run=False, accept=True, file=file)
        else:
            with pytest.raises(ArgumentError, match=r"prices\.s3_write changed to more than three times"):
                price_refresh.refresh_prices(None, dry_run=False, accept=False, file=file)
            assert file.read_text("utf-8") == TEXT
    assert tomllib.loads(file.read_text("utf-8"))["prices"]["s3_write"]["usd"] == pytest.approx(0.005)


def test_without_permission_the_needed_one_is_named(refresh: tuple[Path, Answers]) -> None:
    file, answers = refresh
    answers.stubs["pricing"].add_client_error("get_products", "AccessDeniedException", "not authorized", 400)
    with pytest.raises(DeniedError, match="need pricing:GetProducts and ec2:DescribeSpotPriceHistory"):
        price_refresh.refresh_prices(None, dry_run=False, accept=False, file=file)
    assert file.read_text("utf-8") == TEXT


def test_without_a_network_the_error_is_the_clouds(answers: Answers, monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(*_: Any) -> None:
        raise EndpointConnectionError(endpoint_url="https://api.pricing.us-east-1.amazonaws.com")

    client = answers.clients["pricing"]
    monkeypatch.setattr(client, "_make_api_call", unreachable)
    clients: Any = answers.clients
    with pytest.raises(CloudError, match="asking the price list for AmazonS3 failed: Could not connect"):
        PriceList(clients).products("AmazonS3", {"regionCode": REGION})


@pytest.mark.parametrize("option", [["--dry-run"], ["--accept"], ["--region", "eu-west-1"]])
def test_options_of_the_refresh_need_it(option: list[str]) -> None:
    assert "add --refresh" in str(CliRunner().invoke(costs, option).exception)


def test_the_price_list_is_asked_in_a_region_that_serves_it(monkeypatch: pytest.MonkeyPatch) -> None:
    from aws.clients import Clients

    monkeypatch.setenv("AWS_DEFAULT_REGION", "eu-central-1")
    clients = Clients()
    assert clients["pricing"].meta.region_name in boto3.session.Session().get_available_regions("pricing")
    assert clients["ec2"].meta.region_name == "eu-central-1"
