"""What the controller tells of the fleet: one small JSON object in the state bucket, which anyone may read.

The controller writes it under `KEY` after every decision that matters and at least every few seconds; the web
tier's fleet page and ``elastic fleet`` read it.  Encoded and decoded in this one place.
"""

from __future__ import annotations

from dataclasses import dataclass

from core.periodic_task import TaskHealth, is_stale, seconds_without_success
from core.versioned_json import Record, Row, Seconds, record

KEY = "controller/status.json"
# How much of the past the object carries.
HISTORY_SECONDS = 1800.0
MAX_SAMPLES = 360
MAX_DECISIONS = 50
MAX_BYTES = 4 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Sample(Row):
    """The fleet at one moment.

    `at` is in seconds since the epoch; `visible` and `in_flight` are jobs, `desired`, `booting` and `running`
    instances.  `images_per_second` is what all workers together answered, over the last report of each.
    """

    at: Seconds
    visible: int
    in_flight: int
    desired: int
    booting: int
    running: int
    images_per_second: float


@dataclass(frozen=True, slots=True)
class Decision:
    """A decision that changed something, or a new reason; `change` is instances launched (+) or terminated (-)."""

    at: Seconds
    desired: int
    change: int
    reason: str


@dataclass(frozen=True, slots=True)
class InstanceStatus:
    """One of the fleet's instances.

    `state` is ``booting`` (launched, its worker has not reported yet), ``running`` (its worker reports) or
    ``silent`` (its worker has stopped reporting and is about to be replaced).  `launched_at` and `reported_at`
    (None before the first report) are in seconds since the epoch; `in_hand` is jobs that the worker holds, `model`
    the full name of what it answers with and `release` the number of the release that the instance is of.
    """

    instance_id: str
    name: str
    state: str
    launched_at: Seconds
    reported_at: Seconds | None = None
    in_hand: int = 0
    answered: int = 0
    images_per_second: float = 0.0
    model: str = ""
    release: int = 0


@dataclass(frozen=True, slots=True)
class RolloutStatus:
    """A rollout that is under way, or the last one.

    `phase` is ``rolling``, ``returning``, ``held`` (the record of releases cannot be read), or how it ended: ``done``,
    ``failed`` or ``aborted``.  `release` says what is
    rolled out, `reason` where it stands or why it ended; `at` is in seconds since the epoch.
    """

    phase: str
    release: str
    reason: str
    at: Seconds


@dataclass(frozen=True, slots=True)
class QualityStatus:
    """How a model's latest answers compare with its first ones; see `controller.status.drift`.

    `reference_images` and `recent_images` are how many answers are compared; the population stability indices are None
    while these are too few.  `sentence` says what has changed; empty where nothing has.
    """

    model: str
    reference_images: int
    recent_images: int
    label_psi: float | None
    confidence_psi: float | None
    sentence: str


@dataclass(frozen=True, slots=True)
class ShadowStatus:
    """How often a candidate's best label was the answer's."""

    model: str = ""
    compared: int = 0
    agreed: int = 0


@dataclass(frozen=True, slots=True)
class Remark:
    """A sentence for people; `alarming`: somebody should look into it."""

    sentence: str
    alarming: bool


@record("a fleet status", version=1, max_bytes=MAX_BYTES)
@dataclass(frozen=True, slots=True)
class FleetStatus(Record):
    """Everything that the controller tells.

    `oldest_job_age_seconds` is None where it is not known, `mean_service_seconds` what the policy reckons with and
    `mean_service_measured` whether workers measured it.  `expected_boot_seconds` is how long an instance takes from
    launch to its worker's first report.  `instance_seconds` and `answered` count from `since`;
    `cost_per_1000_images_usd` follows from them and is None before the first answer.  `tasks` is how the controller's
    periodic tasks fare.
    """

    at: Seconds
    controller_id: str
    profile: str
    min_size: int
    max_size: int
    target_latency_seconds: float
    mean_service_seconds: float
    mean_service_measured: bool
    expected_boot_seconds: float
    oldest_job_age_seconds: float | None
    since: Seconds
    instance_seconds: float
    answered: int
    cost_per_1000_images_usd: float | None
    instances: tuple[InstanceStatus, ...] = ()
    history: tuple[Sample, ...] = ()
    decisions: tuple[Decision, ...] = ()
    rollout: RolloutStatus | None = None
    quality: QualityStatus | None = None
    shadow: ShadowStatus | None = None
    tasks: tuple[TaskHealth, ...] = ()

    @property
    def latest(self) -> Sample | None:
        """The newest sample."""
        return self.history[-1] if self.history else None

    @property
    def remarks(self) -> tuple[Remark, ...]:
        """What there is to say of a rollout, of a candidate, of drift and of periodic tasks."""
        told = []
        if (rollout := self.rollout) is not None:
            reason = f": {rollout.reason}" if rollout.reason else ""
            sentence = f"Rollout of {rollout.release}, {rollout.phase}{reason}"
            told.append(Remark(sentence, rollout.phase in ("failed", "held", "returning")))
        if (shadow := self.shadow) is not None and shadow.compared:
            share = f"{100 * shadow.agreed / shadow.compared:.1f} % of {shadow.compared:,} answers"
            told.append(Remark(f"Candidate {shadow.model} agrees with {share}", alarming=False))
        if (quality := self.quality) is not None and quality.sentence:
            told.append(Remark(f"Drift: {quality.sentence}", alarming=True))
        stale = [task for task in self.tasks if is_stale(task, self.at)]
        told += [Remark(_stale_sentence(task, self.at), alarming=True) for task in stale]
        return tuple(told)


def _stale_sentence(task: TaskHealth, now: float) -> str:
    since = f"Periodic task {task.name}: no success for {seconds_without_success(task, now) / 60:.0f} min"
    return f"{since}; {task.failures} of {task.rounds} rounds failed" + (
        f", the latest: {task.last_error}" if task.last_error else ""
    )
