"""Read AWS's price list and the prices of spot capacity."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

from aws.clients import Clients, cloud_errors

_LINUX = "Linux/UNIX"


class PriceList:
    """AWS's public prices; the credentials need `pricing:GetProducts` and `ec2:DescribeSpotPriceHistory`.

    Every method raises `CloudError` where the service fails after botocore's retries, `DeniedError` where the
    credentials do not permit the request.
    """

    def __init__(self, clients: Clients) -> None:
        self._clients = clients

    def products(self, service: str, attributes: Mapping[str, str]) -> list[dict[str, Any]]:
        """The products of a service whose attributes have these values, each with its terms, as the list has them."""
        filters = [{"Type": "TERM_MATCH", "Field": field, "Value": value} for field, value in attributes.items()]
        with cloud_errors(f"asking the price list for {service}"):
            pages = self._clients["pricing"].get_paginator("get_products")
            return [
                json.loads(entry)
                for page in pages.paginate(ServiceCode=service, Filters=filters)
                for entry in page["PriceList"]
            ]

    def spot(self, instance_types: Sequence[str]) -> list[tuple[str, float]]:
        """The current spot prices of an hour in the client's region: type and US dollars, one for each zone."""
        with cloud_errors("asking for spot prices"):
            pages = self._clients["ec2"].get_paginator("describe_spot_price_history")
            # From now on: the price of each zone that is valid at the moment.
            return [
                (entry["InstanceType"], float(entry["SpotPrice"]))
                for page in pages.paginate(
                    InstanceTypes=list(instance_types), ProductDescriptions=[_LINUX], StartTime=datetime.now(UTC)
                )
                for entry in page["SpotPriceHistory"]
            ]
