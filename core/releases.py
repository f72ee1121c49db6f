"""Releases: what the fleet's instances are launched as, and the record of how one release follows another.

A *release* is a machine image and a model.  The record is one object in the state bucket, only ever written
conditionally: commands begin and abort a rollout in it, and the leading controller takes it from there
(`controller.rollout.state_machine`).  Encoded and decoded in this one place.
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
# The tags of an instance that say what it is to be; it reads them from its metadata service.
NUMBER_TAG = "elastic:release"
MODEL_TAG = "elastic:model"
PAST_KEPT = 10


class ReleaseError(ElasticError):
    """A rollout cannot be begun or ended like this."""


class Phase(enum.StrEnum):
    """What is done: nothing, a rollout of the target, or the way back from it."""

    STEADY = enum.auto()
    ROLLING = enum.auto()
    RETURNING = enum.auto()


@dataclass(frozen=True, slots=True)
class Release:
    """What instances are launched as.

    Attributes:
        number: of the rollout that brought it; 0: what was there before any.
        image_id: the machine image; empty: the launch template's own.
        model: ``name@version`` of a bundle in the model store; empty: the one that the image carries.
    """

    number: Count = 0
    image_id: str = ""
    model: str = ""

    @property
    def tags(self) -> dict[str, str]:
        """The tags of its instances; an empty model is no tag."""
        return {NUMBER_TAG: str(self.number)} | ({MODEL_TAG: self.model} if self.model else {})

    @property
    def title(self) -> str:
        """For people."""
        parts = [f"model {self.model}" if self.model else "the image's model"]
        parts += [f"image {self.image_id}"] if self.image_id else []
        return f"release {self.number} ({', '.join(parts)})"

    @classmethod
    def number_of(cls, tags: Mapping[str, str]) -> int:
        """The release that an instance with these tags was launched as; 0 where they do not say."""
        text = tags.get(NUMBER_TAG, "")
        return int(text) if text.isascii() and text.isdecimal() else 0


FIRST = Release()


@dataclass(frozen=True, slots=True)
class Outcome:
    """How a rollout ended: ``done``, ``failed`` or ``aborted``, and why; `at` in seconds since the epoch."""

    release: Release
    result: str
    reason: str
    at: Seconds


@record("the record of releases", version=1, max_bytes=MAX_BYTES)
@dataclass(frozen=True, slots=True)
class ReleaseRecord(Record):
    """Which release the fleet runs, and where it is on the way to another.

    Attributes:
        current: what the fleet runs, and returns to.
        previous: what it ran before.
        target: what is rolled out, or returned from; None while nothing is.
        proven: whether a worker of the target has passed its smoke test.
        trying: instances of the target that have been seen and have not proven themselves yet.
        failed: instances of the target that failed.
        reason: why the phase is what it is, one sentence.
        started_at, progress_at: when the rollout began, and when a worker proved itself last; seconds since the epoch.
        last_number: the highest number that a release ever had.
        past: how the latest rollouts ended, oldest first.
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
        """What every instance is to be in the end."""
        return self.target if self.phase is Phase.ROLLING and self.target is not None else self.current

    @property
    def image_ids(self) -> frozenset[str]:
        """The images that are named: what is needed to go on, or back."""
        releases = (self.current, self.previous, self.target)
        return frozenset(release.image_id for release in releases if release is not None and release.image_id)

    def begun(self, image_id: str, model: str, now: float) -> ReleaseRecord:
        """With a rollout of this image and model begun.

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
        """With the way back begun.

        Raises:
            ReleaseError: no rollout is under way.
        """
        if self.phase is not Phase.ROLLING or self.target is None:
            raise ReleaseError("no rollout is under way")
        outcome = Outcome(self.target, result, reason, now)
        past = (*self.past, outcome)[-PAST_KEPT:]
        return dataclasses.replace(self, phase=Phase.RETURNING, trying=(), reason=reason, past=past)

    def settled(self, now: float) -> ReleaseRecord:
        """With what was under way ended: every instance is what it is to be."""
        if self.phase is Phase.STEADY or self.target is None:
            return self
        still = dataclasses.replace(self, target=None, phase=Phase.STEADY, trying=(), failed=(), proven=False)
        if self.phase is Phase.RETURNING:
            return still
        past = (*self.past, Outcome(self.target, "done", "", now))[-PAST_KEPT:]
        return dataclasses.replace(still, current=self.target, previous=self.current, reason="", past=past)
