"""Patch moto's CloudWatch to keep the latest values of metrics only.

CloudWatch keeps values of a minute for 15 days; moto keeps all for ever, in a list: a third of a gigabyte after some
weeks.  Here the latest ones are kept, about half an hour's.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from moto.cloudwatch.models import CloudWatchBackend

VALUES_KEPT = 2000

_moto_put_metric_data = CloudWatchBackend.put_metric_data


def _put_metric_data(self: CloudWatchBackend, namespace: str, metric_data: list[dict[str, Any]]) -> None:
    _moto_put_metric_data(self, namespace, metric_data)
    del self.metric_data[:-VALUES_KEPT]


def install() -> Callable[[], None]:
    """Installs the patch; returns a function that removes it."""
    CloudWatchBackend.put_metric_data = _put_metric_data  # type: ignore[method-assign]
    return _uninstall


def _uninstall() -> None:
    CloudWatchBackend.put_metric_data = _moto_put_metric_data  # type: ignore[method-assign]
