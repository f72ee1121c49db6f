"""The fleet's status, which the controller publishes as one small JSON object in the state bucket.

The controller writes it under `KEY` after every decision that changes something and at least every few seconds; the
web tier's fleet page and ``elastic fleet`` read it.  It is encoded and decoded here only.
"""

from __future__ import annotations

from dataclasses import dataclass

from core.periodic_task import TaskHealth, is_stale, seconds_without_success
from core.versioned_json import Record, Row, Seconds, record

KEY = "controller/status.json"
# Limits on the history that the object carries.
HISTORY_SECONDS = 1800.0
MAX_SAMPLES = 360
MAX_DECISIONS = 50
MAX_BYTES = 4 * 1024 * 1024


@dataclass(frozen=True, slots=True)
class Sample(Row):
    """The fleet at one moment.

    `at` is in seconds since the epoch; `visible` and `in_flight` are jobs, `desired`, `booting` and `running`
    instances.  `images_per_second` is the sum of the rates that the workers' latest heartbeats report.
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
    """A scaling decision with a change or a new reason; `change` is instances launched (+) or terminated (-)."""

    at: Seconds
    desired: int
    change: int
    reason: str


@dataclass(frozen=True, slots=True)
class InstanceStatus:
    """One of the fleet's instances.

    `state` is ``booting`` (launched, its worker has not published a heartbeat yet), ``running`` (its worker
    publishes heartbeats) or ``silent`` (its worker has stopped, and the instance is about to be replaced).
    `launched_at` and `reported_at` (None before the first heartbeat) are in seconds since the epoch; `in_hand` is jobs
    that the worker holds, `model` the full name of the model that it serves and `release` the number of its release.
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
    ``failed`` or ``aborted``.  `release` is the title of the release that is rolled out, `reason` explains the phase,
    and `at` is in seconds since the epoch.
    """

    phase: str
    release: str
    reason: str
    at: Seconds


@dataclass(frozen=True, slots=True)
class QualityStatus:
    """A comparison of a model's recent answers with its first ones; see `controller.status.drift`.

    `reference_images` and `recent_images` are the numbers of answers compared; the population stability indices are
    None while there are too few.  `sentence` describes the drift, and is empty where there is none.
    """

    model: str
    reference_images: int
    recent_images: int
    label_psi: float | None
    confidence_psi: float | None
    sentence: str


@dataclass(frozen=True, slots=True)
class ShadowStatus:
    """How many photos the candidate `model` has compared, and how often its best label was the serving model's.

    `active` is whether it is still compared: shadow mode is on, and the candidate is not the serving model.
    """

    model: str = ""
    compared: int = 0
    agreed: int = 0
    active: bool = True


@dataclass(frozen=True, slots=True)
class LaunchTrouble:
    """Launches that have failed in a row: no instance has worked since.

    `what` has failed `failures` times: an ``instance``, before it worked, or a ``launch request``.  `reason` is that of
    the last failure, and `next_at` when the next launch may follow, in seconds since the epoch.
    """

    what: str
    failures: int
    reason: str
    next_at: Seconds

    def sentence(self, now: float) -> str:
        """The trouble in a sentence."""
        if self.failures == 1:
            article = "An" if self.what == "instance" else "A"
            failed = f"{article} {self.what} has failed: {self.reason}"
        else:
            failed = f"{self.failures} {self.what}s in a row have failed, the last: {self.reason}"
        wait_seconds = self.next_at - now
        return f"{failed}; launches pause for {wait_seconds:.0f} s" if wait_seconds >= 1 else failed


@dataclass(frozen=True, slots=True)
class Remark:
    """A sentence for people; `alarming` if an operator should investigate."""

    sentence: str
    alarming: bool


@record("a fleet status", version=1, max_bytes=MAX_BYTES)
@dataclass(frozen=True, slots=True)
class FleetStatus(Record):
    """What the controller observes and decides.

    `oldest_job_age_seconds` is None where it is unknown, `mean_service_seconds` is the service time that the policy
    uses, and `mean_service_measured` whether workers measured it.  `expected_boot_seconds` is how long an instance
    takes from launch to its worker's first heartbeat.  `instance_seconds` and `answered` count from `since`;
    `cost_per_1000_images_usd` is the cost of the instances' time by them and `instance_usd_per_hour`; it is None before
    the first answer and without a price.  `tasks` is the health of the controller's periodic tasks, and `trouble` is
    None unless launches fail.  `stack` is the deployment on AWS whose standing costs are estimated: ``full`` or
    ``simple``.
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
    trouble: LaunchTrouble | None = None
    instance_usd_per_hour: float | None = None
    stack: str = "full"

    @property
    def latest(self) -> Sample | None:
        """The newest sample."""
        return self.history[-1] if self.history else None

    @property
    def running_since(self) -> float | None:
        """Since when at least one instance has been running, as far back as the history goes; None where none is."""
        since = None
        for sample in reversed(self.history):
            if not sample.running:
                break
            since = sample.at
        return since

    @property
    def remarks(self) -> tuple[Remark, ...]:
        """Sentences about failed launches, the rollout, the candidate, drift and stale periodic tasks."""
        remarks = []
        if (trouble := self.trouble) is not None:
            remarks.append(Remark(trouble.sentence(self.at), trouble.failures > 1))
        if (rollout := self.rollout) is not None:
            reason = f": {rollout.reason}" if rollout.reason else ""
            sentence = f"Rollout of {rollout.release}, {rollout.phase}{reason}"
            remarks.append(Remark(sentence, rollout.phase in ("failed", "held", "returning")))
        if (shadow := self.shadow) is not None and shadow.active and shadow.compared:
            share = f"{100 * shadow.agreed / shadow.compared:.1f} % of {shadow.compared:,} answers"
            remarks.append(Remark(f"Candidate {shadow.model} agrees with {share}", alarming=False))
        if (quality := self.quality) is not None and quality.sentence:
            remarks.append(Remark(f"Drift: {quality.sentence}", alarming=True))
        stale = [task for task in self.tasks if is_stale(task, self.at)]
        remarks += [Remark(_stale_sentence(task, self.at), alarming=True) for task in stale]
        return tuple(remarks)


def _stale_sentence(task: TaskHealth, now: float) -> str:
    since = f"Periodic task {task.name}: no success for {seconds_without_success(task, now) / 60:.0f} min"
    return f"{since}; {task.failures} of {task.rounds} rounds failed" + (
        f", the latest: {task.last_error}" if task.last_error else ""
    )
