"""Publication of metrics to CloudWatch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from aws.clients import cloud_errors

NAMESPACE = "ElasticImageClassifier"


@dataclass(frozen=True, slots=True)
class Metric:
    """One value with its unit, as CloudWatch names units: ``Count``, ``Seconds``, ``Count/Second`` …"""

    value: float
    unit: str


class MetricSink:
    """Publish metrics in the program's namespace, with the fleet's name as their dimension."""

    def __init__(self, client: Any, fleet_name: str) -> None:
        self._client = client
        self._dimensions = [{"Name": "Fleet", "Value": fleet_name}]

    def put(self, metrics: Mapping[str, Metric]) -> None:
        """Publish `metrics` in one request.

        Raises:
            CloudError: CloudWatch refused or failed.
        """
        data = [
            {"MetricName": name, "Value": metric.value, "Unit": metric.unit, "Dimensions": self._dimensions}
            for name, metric in metrics.items()
        ]
        with cloud_errors("putting metrics"):
            self._client.put_metric_data(Namespace=NAMESPACE, MetricData=data)
