"""Metrics arrive in CloudWatch with their units and the fleet's name."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest

from aws.clients import Clients
from aws.metrics import NAMESPACE, Metric, MetricSink


@pytest.mark.not_on_aws(reason="each metric costs $0.30 a month, and arrives after minutes")
def test_metrics_arrive(clients: Clients) -> None:
    MetricSink(clients["cloudwatch"], "fleet-of-this-test").put(
        {"ImagesAnswered": Metric(42, "Count"), "MeanServiceTime": Metric(0.025, "Seconds")}
    )
    now = datetime.now(UTC)
    answer = clients["cloudwatch"].get_metric_statistics(
        Namespace=NAMESPACE,
        MetricName="ImagesAnswered",
        Dimensions=[{"Name": "Fleet", "Value": "fleet-of-this-test"}],
        StartTime=now - timedelta(minutes=5),
        EndTime=now + timedelta(minutes=5),
        Period=600,
        Statistics=["Sum"],
    )
    (point,) = answer["Datapoints"]
    assert (point["Sum"], point["Unit"]) == (42, "Count")
