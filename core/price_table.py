"""Renew the figures of ``prices.toml`` from AWS's price list.  Pure: no requests, no files.

Each figure of the table says in ``list`` which product of the price list it is: the service's code, the attributes to
filter by, and the usage type, to which the list adds a region's prefix in most regions.
"""

from __future__ import annotations

import math
import re
import tomllib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import date
from statistics import median
from typing import Any

from core.errors import ElasticError

# A figure that changes by more is more likely another unit or product than another price.
MOST_CHANGE = 3.0
_REGION_PREFIX = r"(?:[A-Z]+[0-9]*-)?"
# Values of filters: the table's region, and another one.
_REGION, _OTHER_REGION = "{region}", "{other region}"
_OTHER_REGIONS = ("us-west-2", "us-east-1")


class PriceTableError(ElasticError):
    """The table could not be renewed."""


@dataclass(frozen=True, slots=True)
class PriceQuery:
    """Which product of the price list a figure is.

    Attributes:
        part, name: where the figure is in the table.
        service: the service's code.
        filters: attributes that must be equal; the request has them.
        usagetype: a regular expression for the attribute without the region's prefix; empty: any.
    """

    part: str
    name: str
    service: str
    filters: Mapping[str, str]
    usagetype: str


@dataclass(frozen=True, slots=True)
class Change:
    """A figure before and after."""

    part: str
    name: str
    before: float
    after: float

    @property
    def is_doubtful(self) -> bool:
        """Whether the figure changes so much that the product is more likely the wrong one."""
        return not 1 / MOST_CHANGE <= self.after / self.before <= MOST_CHANGE


def queries(table: Mapping[str, Any], region: str) -> list[PriceQuery]:
    """What to ask the price list for: one query for each figure of the table.

    Args:
        table: the content of ``prices.toml``.
    """
    common = table["price_list"]["instances"]
    found = [_query("instances", name, {**common, "instanceType": name}, region) for name in table["instances"]]
    return found + [_query("prices", name, entry["list"], region) for name, entry in table["prices"].items()]


def _query(part: str, name: str, listed: Mapping[str, str], region: str) -> PriceQuery:
    other = next(each for each in _OTHER_REGIONS if each != region)
    values = {_REGION: region, _OTHER_REGION: other}
    attributes = {key: values.get(value, value) for key, value in listed.items() if key not in ("service", "usagetype")}
    # An empty region is for products that the list has without one.
    attributes = {"regionCode": region, **attributes}
    filters = {key: value for key, value in attributes.items() if value}
    return PriceQuery(part, name, listed["service"], filters, listed.get("usagetype", ""))


def price_of(query: PriceQuery, products: Iterable[Mapping[str, Any]]) -> float:
    """The price of a query's product, on demand, in US dollars for one unit: that of the first tier that is not free.

    Args:
        products: what the price list has for the query's filters.

    Raises:
        PriceTableError: there is no such product, or there are several with different prices.
    """
    pattern = re.compile(_REGION_PREFIX + f"(?:{query.usagetype})") if query.usagetype else re.compile(".*")
    matching = [entry for entry in products if pattern.fullmatch(entry["product"]["attributes"].get("usagetype", ""))]
    found = sorted({price for entry in matching if (price := _first_paid(entry)) is not None})
    if len(found) == 1:
        return found[0]
    asked = ", ".join(f"{key}={value}" for key, value in query.filters.items())
    if query.usagetype:
        asked += f", usagetype={query.usagetype}"
    has = "no price" if not found else f"{len(found)} prices ({', '.join(f'{price:g}' for price in found)})"
    raise PriceTableError(f"{query.part}.{query.name}: AWS's price list has {has} for {query.service}, {asked}")


def _first_paid(entry: Mapping[str, Any]) -> float | None:
    tiers = [
        (float(dimension["beginRange"]) if "beginRange" in dimension else 0.0, float(dimension["pricePerUnit"]["USD"]))
        for term in entry["terms"].get("OnDemand", {}).values()
        for dimension in term["priceDimensions"].values()
        if "USD" in dimension["pricePerUnit"]
    ]
    return next((usd for _begin, usd in sorted(tiers) if usd > 0), None)


def spot_share(on_demand: Mapping[str, float], spot: Sequence[tuple[str, float]]) -> float:
    """The median price of spot capacity as a share of that on demand, over instance types and zones, to two digits.

    Args:
        on_demand: an hour of an instance, by type.
        spot: type and price of each offer.

    Raises:
        PriceTableError: there is no offer.
    """
    shares = [usd / on_demand[name] for name, usd in spot if name in on_demand]
    if not shares:
        raise PriceTableError("bulk.spot_share: EC2 has no spot prices of these types")
    return round(median(shares), 2)


def changes(table: Mapping[str, Any], found: Mapping[tuple[str, str], float]) -> list[Change]:
    """The figures that differ from the table's."""
    compared = [Change(part, name, _figure(table[part][name]), usd) for (part, name), usd in found.items()]
    return [change for change in compared if not math.isclose(change.before, change.after, rel_tol=1e-9)]


def rewritten(text: str, found: Mapping[tuple[str, str], float], region: str, day: date) -> str:
    """The table's text with these figures, their source, the region and the date; the rest stays as it is.

    Raises:
        PriceTableError: the text has not the form that this function knows.
    """
    part, lines, written = "", [], set()
    for line in text.splitlines(keepends=True):
        if heading := re.match(r"\[([a-z_.]+)\]", line):
            part = heading[1]
        elif not part:
            line = re.sub(r'^region = ".*?"', f'region = "{region}"', line)
            line = re.sub(r"^date = [0-9-]+", f"date = {day}", line)
        elif named := re.match(r'"?([\w.]+)"? = ', line):
            key = part, named[1]
            if key in found:
                line = _with_figure(line, found[key])
                written.add(key)
        lines.append(line)
    new = "".join(lines)
    table = tomllib.loads(new)
    wrong = [key for key, usd in found.items() if key not in written or _figure(table[key[0]][key[1]]) != usd]
    if wrong or (table["region"], table["date"]) != (region, day):
        raise PriceTableError(f"prices.toml has another form than expected; not written: {wrong}")
    return new


def _with_figure(line: str, usd: float) -> str:
    if "{ usd = " not in line:
        return re.sub(r"= [0-9._]+", f"= {_digits(usd)}", line, count=1)
    line = re.sub(r"usd = [0-9._]+", f"usd = {_digits(usd)}", line, count=1)
    return re.sub(r'source = "([^";,]*)([^";]*);[^"]*"', r'source = "\1\2; AWS Price List"', line, count=1)


def _digits(usd: float) -> str:
    """A figure without an exponent, as TOML and people read it."""
    return f"{usd:.12f}".rstrip("0").rstrip(".") if usd % 1 else f"{usd:.1f}"


def _figure(entry: Any) -> float:
    return float(entry["usd"] if isinstance(entry, Mapping) else entry)
