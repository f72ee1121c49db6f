"""A worker's reports as CloudWatch metrics."""

from __future__ import annotations

import logging

from app_tier.statistics import Report
from aws.metrics import Metric, MetricSink
from core.errors import CloudError

log = logging.getLogger(__name__)


def to_metrics(report: Report) -> dict[str, Metric]:
    """The metrics of one report."""
    return {
        "ImagesAnswered": Metric(report.answered, "Count"),
        "ImagesFailed": Metric(report.failed, "Count"),
        "WorkerImagesPerSecond": Metric(report.images_per_second, "Count/Second"),
        "MeanServiceTime": Metric(report.mean_service_seconds, "Seconds"),
        "MeanBatchSize": Metric(report.mean_batch_size, "Count"),
        **{
            f"Stage{stage.capitalize()}Time": Metric(mean, "Milliseconds")
            for stage, mean in report.mean_stage_milliseconds.items()
        },
    }


class MetricReporter:
    """Send each report to CloudWatch; metrics that cannot be sent are lost, which never stops the work."""

    def __init__(self, sink: MetricSink) -> None:
        self._sink = sink

    def __call__(self, report: Report) -> None:
        """Send `report`."""
        try:
            self._sink.put(to_metrics(report))
        except CloudError as error:
            log.warning("%s", error)
