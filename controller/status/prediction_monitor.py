"""Monitor predictions: sum the workers' counts for drift, and for a candidate's agreement in shadow mode."""

from __future__ import annotations

import dataclasses
import logging
from collections import Counter
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

from aws.state import StateObject
from controller.scaling.instance_tracker import State, TrackedInstance
from controller.status import drift
from controller.status.drift import LEAST_RECENT_IMAGES, REFERENCE_IMAGES, Watched
from core.counter_delta import CounterDelta
from core.errors import CloudError, DecodeError
from core.fleet_status import QualityStatus, ShadowStatus
from core.heartbeat import Heartbeat
from core.prediction_counts import NO_ANSWERS, AnswerCounts
from core.shadow import KEY as SHADOW_KEY
from core.shadow import Shadow
from core.versioned_json import Record, record

log = logging.getLogger(__name__)

# The stored reference of the model that was watched last, so that the next controller continues with it.
KEY = "controller/reference.json"
MODELS_KEPT = 3
# How often to read which candidate shadow mode has.
SHADOW_LOOK_SECONDS = 60.0


class Store(Protocol):
    """The methods used of `aws.state.StateStore`."""

    def get(self, key: str) -> StateObject | None: ...
    def put(self, key: str, body: bytes) -> str: ...


@record("a reference of answers", version=1, max_bytes=1024 * 1024)
@dataclass(frozen=True, slots=True)
class ReferenceRecord(Record):
    """The stored reference of a model, for the next controller."""

    model: str
    reference: AnswerCounts


class PredictionMonitor:
    """Sum the counts in the workers' heartbeats; those of each worker begin with its start."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._new_answers: CounterDelta[AnswerCounts] = CounterDelta(NO_ANSWERS)
        self._new_comparisons: CounterDelta[Counter[str]] = CounterDelta(Counter())
        self._watched: dict[str, Watched] = {}
        self._shadow = ShadowStatus()
        self._candidate: str | None = None
        self._looked_at = float("-inf")
        self._model = ""
        self._counted_before: frozenset[str] | None = None

    def resume(self, shadow: ShadowStatus | None) -> None:
        """Continue after another controller, which has counted what workers have reported until now."""
        self._new_answers.clear()
        self._new_comparisons.clear()
        self._counted_before = None
        self._shadow = shadow or ShadowStatus()
        try:
            found = self._store.get(KEY)
            if found is not None:
                stored = ReferenceRecord.decode(found.body)
                self._watched = {stored.model: Watched(stored.reference)}
        except (CloudError, DecodeError) as error:
            log.warning("starting without a reference of answers: %s", error)

    def take(self, members: Iterable[TrackedInstance]) -> None:
        """Add the new counts in the latest heartbeats."""
        there = list(members)
        if self._counted_before is None:
            # Also instances whose heartbeat is listed but not read yet; booting ones have not published any.
            self._counted_before = frozenset(m.instance.instance_id for m in there if m.state is not State.BOOTING)
            self._model = self._model or next((m.heartbeat.model for m in there if m.heartbeat is not None), "")
        present = {member.instance.instance_id for member in there}
        self._new_answers.keep_only(present)
        self._new_comparisons.keep_only(present)
        for member in there:
            if member.heartbeat is not None:
                self._take(member.instance.instance_id, member.heartbeat)

    def status(self) -> QualityStatus | None:
        """The drift of the model that answered last; None before the first answer."""
        watched = self._watched.get(self._model)
        if watched is None:
            return None
        recent = watched.latest
        known = watched.reference.total >= REFERENCE_IMAGES and recent.total >= LEAST_RECENT_IMAGES
        labels = drift.compare_labels(watched.reference.labels, recent.labels).psi if known else None
        confidence = drift.compare(watched.reference.confidence, recent.confidence).psi if known else None
        return QualityStatus(
            self._model,
            watched.reference.total,
            recent.total,
            None if labels is None else round(labels, 3),
            None if confidence is None else round(confidence, 3),
            drift.sentence(self._model, watched),
        )

    def shadow(self) -> ShadowStatus | None:
        """The agreement with the candidate that was compared last; None without a candidate."""
        if not self._shadow.model:
            return None
        is_on = self._candidate is None or self._candidate == self._shadow.model
        return dataclasses.replace(self._shadow, active=is_on and self._shadow.model != self._model)

    def look(self, now: float) -> None:
        """Read from time to time which candidate shadow mode has: the workers' counts remain after it has ended.

        Args:
            now: monotonic seconds.
        """
        if not self._shadow.model or now - self._looked_at < SHADOW_LOOK_SECONDS:
            return
        self._looked_at = now
        try:
            found = self._store.get(SHADOW_KEY)
            self._candidate = "" if found is None else Shadow.decode(found.body).model
        except (CloudError, DecodeError) as error:
            log.warning("whether shadow mode is on cannot be read: %s", error)

    def _take(self, instance_id: str, beat: Heartbeat) -> None:
        counted_before = instance_id in (self._counted_before or ())
        new = self._new_answers.take(instance_id, beat.started_at, beat.answers, counted_before=counted_before)
        if new.total:
            self._model = beat.model
            self._watch(beat.model, new)
        # A worker counts its comparisons from 0 for each candidate.
        run, total = (beat.started_at, beat.shadow_model), Counter(seen=beat.shadow_compared, alike=beat.shadow_agreed)
        more = self._new_comparisons.take(instance_id, run, total, counted_before=counted_before)
        if beat.shadow_model:
            if beat.shadow_model != self._shadow.model:
                self._candidate, self._looked_at = None, float("-inf")
            before = self._shadow if self._shadow.model == beat.shadow_model else ShadowStatus(beat.shadow_model)
            self._shadow = ShadowStatus(
                beat.shadow_model, before.compared + more["seen"], before.agreed + more["alike"]
            )

    def _watch(self, model: str, new: AnswerCounts) -> None:
        before = self._watched.pop(model, Watched())
        after = self._watched[model] = before.with_more(new)  # last in the order
        for forgotten in list(self._watched)[:-MODELS_KEPT]:
            del self._watched[forgotten]
        if before.reference.total < REFERENCE_IMAGES <= after.reference.total:
            try:
                self._store.put(KEY, ReferenceRecord(model, after.reference).encode())
            except CloudError as error:
                log.warning("%s", error)
