"""Releases of the fleet, and the record of the rollout from one to the next.

A *release* is a machine image and a model.  The record is one object in the state bucket, only ever written
conditionally: commands begin and abort a rollout in it, and the leading controller carries it out
(`controller.rollout.state_machine`).  It is encoded and decoded here only.
"""

from __future__ import annotations

import dataclasses
import enum
from collections.abc import Mapping
from dataclasses import dataclass, field

from core.errors import ElasticError
from core.versioned_json import Count, Record, Seconds, record

MAX_BYTES = 1024 * 1024
KEY = "controller/release.json"
# The tags that give an instance its release; its worker reads them from the metadata service.
NUMBER_TAG = "elastic:release"
MODEL_TAG = "elastic:model"
PAST_KEPT = 10


class ReleaseError(ElasticError):
    """The rollout cannot be begun or ended in its present state."""


class Phase(enum.StrEnum):
    """The phase of the record: no rollout, a rollout of the target, or the return to the current release."""

    STEADY = enum.auto()
    ROLLING = enum.auto()
    RETURNING = enum.auto()


@dataclass(frozen=True, slots=True)
class Release:
    """A machine image and a model that instances are launched with.

    Attributes:
        number: of the rollout that introduced it; 0: the release before any rollout.
        image_id: the machine image; empty: the launch template's.
        model: ``name@version`` of a bundle in the model store; empty: the one in the machine image.
    """

    number: Count = 0
    image_id: str = ""
    model: str = ""

    @property
    def tags(self) -> dict[str, str]:
        """The tags of its instances; without the model's tag where the model is empty."""
        return {NUMBER_TAG: str(self.number)} | ({MODEL_TAG: self.model} if self.model else {})

    @property
    def title(self) -> str:
        """A description for people."""
        parts = [f"model {self.model}" if self.model else "the image's model"]
        parts += [f"image {self.image_id}"] if self.image_id else []
        return f"release {self.number} ({', '.join(parts)})"

    @classmethod
    def number_of(cls, tags: Mapping[str, str]) -> int:
        """The number of the release in an instance's tags; 0 where they have none."""
        text = tags.get(NUMBER_TAG, "")
        return int(text) if text.isascii() and text.isdecimal() else 0


FIRST = Release()


@dataclass(frozen=True, slots=True)
class Outcome:
    """The result of a rollout: ``done``, ``failed`` or ``aborted``, and why; `at` in seconds since the epoch."""

    release: Release
    result: str
    reason: str
    at: Seconds


@record("the record of releases", version=1, max_bytes=MAX_BYTES)
@dataclass(frozen=True, slots=True)
class ReleaseRecord(Record):
    """The releases of the fleet, and the state of a rollout.

    Attributes:
        current: the release that the fleet runs, and returns to after a failure.
        previous: the release that it ran before.
        target: the release that is rolled out, or returned from; None without a rollout.
        proven: whether a worker of the target has passed its smoke test.
        trying: instances of the target that were observed and have not passed their smoke test yet.
        failed: instances of the target that failed.
        reason: the reason for the phase, one sentence.
        started_at, progress_at: when the rollout began, and when a worker last passed its smoke test; seconds since
            the epoch.
        last_number: the highest number that a release ever had.
        past: the results of the latest rollouts, oldest first.
    """

    current: Release = FIRST
    previous: Release | None = None
    target: Release | None = None
    phase: Phase = Phase.STEADY
    proven: bool = False
    trying: tuple[str, ...] = ()
    failed: tuple[str, ...] = ()
    reason: str = ""
    started_at: Seconds = 0.0
    progress_at: Seconds = 0.0
    last_number: Count = 0
    past: tuple[Outcome, ...] = field(default=())

    @property
    def goal(self) -> Release:
        """The release that every instance will have when the phase ends."""
        return self.target if self.phase is Phase.ROLLING and self.target is not None else self.current

    @property
    def image_ids(self) -> frozenset[str]:
        """The machine images that the fleet may still launch, to finish a rollout or to return from it."""
        releases = (self.current, self.previous, self.target)
        return frozenset(release.image_id for release in releases if release is not None and release.image_id)

    def begun(self, image_id: str, model: str, now: float) -> ReleaseRecord:
        """Return the record with a rollout of this image and model begun.

        Raises:
            ReleaseError: another one is under way, or the fleet runs this already.
        """
        if self.phase is Phase.ROLLING and self.target is not None:
            raise ReleaseError(f"the rollout of {self.target.title} is under way; wait, or `elastic rollout abort`")
        if (image_id, model) == (self.current.image_id, self.current.model):
            raise ReleaseError(f"the fleet runs this already: {self.current.title}")
        number = self.last_number + 1
        return dataclasses.replace(
            self,
            target=Release(number, image_id, model),
            phase=Phase.ROLLING,
            proven=False,
            trying=(),
            failed=(),
            reason="",
            started_at=now,
            progress_at=now,
            last_number=number,
        )

    def returning(self, result: str, reason: str, now: float) -> ReleaseRecord:
        """Return the record with the return to the current release begun.

        Raises:
            ReleaseError: no rollout is under way.
        """
        if self.phase is not Phase.ROLLING or self.target is None:
            raise ReleaseError("no rollout is under way")
        outcome = Outcome(self.target, result, reason, now)
        past = (*self.past, outcome)[-PAST_KEPT:]
        return dataclasses.replace(self, phase=Phase.RETURNING, trying=(), reason=reason, past=past)

    def settled(self, now: float) -> ReleaseRecord:
        """Return the record with its rollout or return ended, after every instance has the goal's release."""
        if self.phase is Phase.STEADY or self.target is None:
            return self
        steady = dataclasses.replace(self, target=None, phase=Phase.STEADY, trying=(), failed=(), proven=False)
        if self.phase is Phase.RETURNING:
            return steady
        past = (*self.past, Outcome(self.target, "done", "", now))[-PAST_KEPT:]
        return dataclasses.replace(steady, current=self.target, previous=self.current, reason="", past=past)
