"""Run every scaler against a trace, short traces several times, and compare their costs and waits."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from controller.scaling.policies import POLICIES
from controller.scaling.policy import Limits
from core.settings import Settings
from simulation.assumptions import BOOT_MEAN_SECONDS, SERVICE_DEVIATION, lognormal
from simulation.optimum import Problem, optimum, work_bound
from simulation.outcome import Outcome
from simulation.scalers import Keda, Ours, Scaler, TargetTracking, VisibleOnly
from simulation.traces import Trace
from simulation.world import World

OPTIMUM = "optimum"


@dataclass(frozen=True, slots=True)
class Row:
    """One scaler against one trace.

    Waits are percentiles over the images of all runs; `busy_killed`, `busy_drained` and `empty_launches` count over all
    runs, the rest are means.  `drain_seconds` is from the last arrival to the last result, `thrash` counts launches
    within a minute after a termination, `empty_launches` the instances launched while no image was waiting or in
    service.  `peak_spread` is the difference between the highest and the lowest peak of all equal bursts, None for a
    trace without.  The optimum has the same waits as ours by definition; its undefined values are None.
    """

    trace: str
    scaler: str
    images: int
    p50_wait_seconds: float | None
    p95_wait_seconds: float
    max_wait_seconds: float
    drain_seconds: float | None
    instance_seconds: float
    cost_ratio: float
    busy_killed: int
    busy_drained: int
    thrash: float
    launches: float | None
    peak: int | None
    empty_launches: int = 0
    peak_spread: int | None = None


@dataclass(frozen=True, slots=True)
class Comparison:
    """All rows of a trace, ours first, the optimum last; `timelines` are of the first run, by scaler."""

    trace: Trace
    rows: tuple[Row, ...]
    timelines: dict[str, list[tuple[float, int, int]]]

    def row(self, scaler: str) -> Row:
        """The row of a scaler."""
        return next(row for row in self.rows if row.scaler == scaler)

    @property
    def ours(self) -> Row:
        """Our row."""
        return self.rows[0]

    @property
    def beaten_by(self) -> list[str]:
        """The scalers with both a lower 95th percentile of the wait and a lower cost than ours."""
        return [
            row.scaler
            for row in self.rows[1:-1]
            if row.p95_wait_seconds < self.ours.p95_wait_seconds and row.instance_seconds < self.ours.instance_seconds
        ]


def scalers(settings: Settings, max_size: int) -> dict[str, Callable[[], Scaler]]:
    """The scalers to compare, by name, ours first; all with the same workers and the same maximum."""
    limits = Limits(
        min_size=settings.min_size,
        max_size=max_size,
        target_latency_seconds=settings.target_latency_seconds,
        mean_service_seconds=settings.mean_service_seconds,
        scale_in_stabilization_seconds=settings.scale_in_stabilization_seconds,
        expected_boot_seconds=settings.expected_boot_seconds,
        scale_out_step=settings.scale_out_step,
        scale_in_step=settings.scale_in_step,
        boot_payback=settings.boot_payback,
        report_seconds=settings.heartbeat_seconds,
    )
    in_hand, policy = settings.max_jobs_in_hand, POLICIES[settings.scaling_policy]
    return {
        settings.profile: lambda: Ours(settings.profile, limits, settings.controller_interval_seconds, in_hand, policy),
        VisibleOnly.name: lambda: VisibleOnly(max_size),
        TargetTracking.name: lambda: TargetTracking(max_size, settings.mean_service_seconds, in_hand),
        Keda.name: lambda: Keda(max_size, in_hand),
    }


def compare(
    trace: Trace, settings: Settings, seed: int, progress: Callable[[str], None] = lambda step: None
) -> Comparison:
    """Runs all scalers against `trace`, with the same arrivals and random draws for each.

    Args:
        settings: of our policy; a trace may raise the maximum.
        seed: of all random draws.
        progress: called with a description after each of `steps(trace)` steps.
    """
    max_size = trace.max_size or settings.max_size
    rows: list[Row] = []
    timelines: dict[str, list[tuple[float, int, int]]] = {}
    bounds: list[float] = []
    for name, create in scalers(settings, max_size).items():
        outcomes = []
        for run in range(trace.runs):
            arrivals, service_seconds = draw(trace, settings.mean_service_seconds, seed, run)
            world = World(
                create(),
                arrivals,
                service_seconds,
                seed + run,
                timeline=run == 0,
                burst_starts=trace.burst_starts,
                min_size=settings.min_size,
            )
            outcome = world.run()
            outcomes.append(outcome)
            progress(f"{trace.name}: {name}")
            if not rows:
                bounds.append(_bound(trace, arrivals, outcome, settings, max_size))
                progress(f"{trace.name}: {OPTIMUM}")
        timelines[name] = outcomes[0].timeline
        rows.append(_row(trace, name, outcomes, float(np.mean(bounds))))
    rows.append(_optimum_row(rows[0], float(np.mean(bounds))))
    return Comparison(trace, tuple(rows), timelines)


def steps(trace: Trace) -> int:
    """How often `compare` reports its progress."""
    return trace.runs * 5


def draw(trace: Trace, mean_service_seconds: float, seed: int, run: int) -> tuple[Any, Any]:
    """Draws a run's arrivals, and the service time of each image on one instance: float64 [images], seconds."""
    rng = np.random.default_rng([seed, run])
    arrivals = trace.draw(rng)
    return arrivals, lognormal(rng, mean_service_seconds, SERVICE_DEVIATION, len(arrivals))


def _bound(trace: Trace, arrivals: Any, outcome: Outcome, settings: Settings, max_size: int) -> float:
    problem = Problem(
        arrivals,
        settings.mean_service_seconds,
        BOOT_MEAN_SECONDS,
        # Not interpolated: 95 % of the images really were answered within it.
        float(np.percentile(outcome.waits, 95, method="higher")),
        float(outcome.waits.max()),
        max_size,
    )
    return work_bound(problem) if trace.bounded_by_work else optimum(problem)


def _row(trace: Trace, name: str, outcomes: Sequence[Outcome], bound: float) -> Row:
    waits = np.concatenate([outcome.waits for outcome in outcomes])
    if np.isnan(waits).any():
        raise RuntimeError(f"{name} left images of {trace.name} unanswered")
    p50, p95 = np.percentile(waits, [50, 95])

    def mean(value: Callable[[Outcome], float]) -> float:
        return math.fsum(value(outcome) for outcome in outcomes) / len(outcomes)

    cost = mean(lambda outcome: outcome.instance_seconds)
    peaks = [peak for outcome in outcomes for peak in outcome.burst_peaks]
    return Row(
        trace=trace.name,
        scaler=name,
        images=round(mean(lambda outcome: len(outcome.waits))),
        p50_wait_seconds=float(p50),
        p95_wait_seconds=float(p95),
        max_wait_seconds=float(waits.max()),
        drain_seconds=mean(lambda outcome: outcome.drain_seconds),
        instance_seconds=cost,
        cost_ratio=cost / bound,
        busy_killed=sum(outcome.busy_killed for outcome in outcomes),
        busy_drained=sum(outcome.busy_drained for outcome in outcomes),
        thrash=mean(lambda outcome: outcome.thrash),
        launches=mean(lambda outcome: outcome.launches),
        peak=max(outcome.peak for outcome in outcomes),
        empty_launches=sum(outcome.empty_launches for outcome in outcomes),
        peak_spread=max(peaks) - min(peaks) if peaks else None,
    )


def _optimum_row(ours: Row, bound: float) -> Row:
    return Row(
        trace=ours.trace,
        scaler=OPTIMUM,
        images=ours.images,
        p50_wait_seconds=None,
        p95_wait_seconds=ours.p95_wait_seconds,
        max_wait_seconds=ours.max_wait_seconds,
        drain_seconds=None,
        instance_seconds=bound,
        cost_ratio=1.0,
        busy_killed=0,
        busy_drained=0,
        thrash=0.0,
        launches=None,
        peak=None,
    )
