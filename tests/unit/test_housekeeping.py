"""What recurs beside the control loop is supervised: the janitor, webhooks, deletions and result tables."""

from __future__ import annotations

import time
from unittest.mock import MagicMock

from controller.__main__ import build_housekeeping
from controller.housekeeping.pace import Pace
from core.settings import Settings


def test_clients_that_fail_unexpectedly_end_one_round_of_each_task() -> None:
    clients = {name: MagicMock(side_effect=RuntimeError) for name in ("s3", "sqs")}
    for client in clients.values():
        for method in ("get_paginator", "list_objects_v2", "get_queue_url", "get_queue_attributes"):
            getattr(client, method).side_effect = RuntimeError("a fault of the client")
    tasks = build_housekeeping(Settings(), clients, Pace(15.0, time.monotonic))  # type: ignore[arg-type]
    names = ["janitor", "webhooks", "deletions", "result tables", "dropped photos", "empty batches"]
    assert [task.name for task in tasks] == names
    for task in tasks:
        assert not task.run_round() and not task.run_round()
        assert (task.health.rounds, task.health.failures) == (2, 2)
        assert "unexpected RuntimeError" in task.health.last_error
