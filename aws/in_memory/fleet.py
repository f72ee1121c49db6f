"""In-memory stand-in for the fleet."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Sequence
from dataclasses import replace
from datetime import UTC, datetime

from aws.ec2_fleet_launch import Launch, LaunchProblem
from aws.fleet import Instance, free_names
from aws.in_memory.clock import ManualClock
from aws.in_memory.recorder import CallRecorder
from core.releases import FIRST, Release


class InMemoryFleet(CallRecorder):
    """An `aws.fleet.Fleet` in memory; tests may access `instances`.

    `capacity` is how many more instances can be launched, `problem` the reason for missing ones.  `describe` returns
    a new instance only after `lag_seconds`.
    """

    def __init__(self, clock: Callable[[], float] | None = None) -> None:
        super().__init__()
        self.instances: dict[str, Instance] = {}
        self.capacity = math.inf
        self.problem = LaunchProblem("InsufficientInstanceCapacity", "EC2 has no capacity", retryable=True)
        self.lag_seconds = 0.0
        self.highest = 0
        self._clock = clock or ManualClock()
        self._launches: dict[str, Launch] = {}
        self._launched: set[str] = set()
        self._numbers = itertools.count(1)

    def add(self, name: str = "", launched_at: float | None = None, release: int = 0) -> str:
        """Add a running instance; return its id."""
        instance_id = f"i-{next(self._numbers):04d}"
        at = datetime.fromtimestamp(self._clock() if launched_at is None else launched_at, UTC)
        self.instances[instance_id] = Instance(instance_id, name, "running", at, release)
        self._launched.add(instance_id)
        self.highest = max(self.highest, len(self.instances))
        return instance_id

    def describe(self) -> list[Instance]:
        self._record("describe")
        described_from = self._clock() - self.lag_seconds
        return [one for one in self.instances.values() if one.launched_at.timestamp() <= described_from]

    def ended(self, instance_ids: Sequence[str]) -> set[str]:
        self._record("ended", list(instance_ids))
        return self._launched.intersection(instance_ids).difference(self.instances)

    def launch(self, count: int, client_token: str, release: Release = FIRST) -> Launch:
        self._record("launch", count)
        if client_token not in self._launches:
            possible = int(min(count, self.capacity))
            self.capacity -= possible
            launched = tuple(self.add(release=release.number) for _ in range(possible))
            self._launches[client_token] = Launch(launched, None if possible == count else self.problem)
        self._record("launched", count)
        return self._launches[client_token]

    def name(self, instance_ids: Sequence[str], taken: Sequence[str]) -> dict[str, str]:
        self._record("name", list(instance_ids))
        given = dict(zip(instance_ids, free_names(taken, len(instance_ids)), strict=True))
        for instance_id, name in given.items():
            if instance_id in self.instances:
                self.instances[instance_id] = replace(self.instances[instance_id], name=name)
        return given

    def terminate(self, instance_ids: Sequence[str]) -> None:
        self._record("terminate", list(instance_ids))
        for instance_id in instance_ids:
            self.instances.pop(instance_id, None)
