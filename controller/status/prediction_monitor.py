"""Gathers from heartbeats what the fleet's models answer: for drift, and for the agreement with a candidate."""

from __future__ import annotations

import logging
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Protocol

from aws.state import StateObject
from controller.scaling.instance_tracker import TrackedInstance
from controller.status import drift
from controller.status.drift import LEAST_RECENT_IMAGES, REFERENCE_IMAGES, Watched
from core.errors import CloudError, DecodeError
from core.fleet_status import QualityStatus, ShadowStatus
from core.heartbeat import Heartbeat
from core.prediction_counts import AnswerCounts
from core.versioned_json import decode_record, encode_record

log = logging.getLogger(__name__)

# Beside the status: the reference of the model that was watched last, so that a new controller need not begin anew.
KEY = "controller/reference.json"
VERSION = 1
MODELS_KEPT = 3


class Store(Protocol):
    """What is asked of `aws.state.StateStore`."""

    def get(self, key: str) -> StateObject | None: ...
    def put(self, key: str, body: bytes) -> str: ...


@dataclass(frozen=True, slots=True)
class _Seen:
    """What a worker had told last."""

    started_at: float
    answers: AnswerCounts
    shadow: ShadowStatus


class PredictionMonitor:
    """Adds up what workers tell; a worker's counts begin with its start."""

    def __init__(self, store: Store) -> None:
        self._store = store
        self._seen: dict[str, _Seen] = {}
        self._watched: dict[str, Watched] = {}
        self._shadow = ShadowStatus()
        self._model = ""
        self._fresh = True

    def resume(self, shadow: ShadowStatus | None) -> None:
        """Goes on where another controller ended; what workers have told until now, it has counted."""
        self._seen.clear()
        self._fresh = True
        self._shadow = shadow or ShadowStatus()
        try:
            found = self._store.get(KEY)
            if found is not None:
                model, reference = decode_record(
                    found.body, VERSION, lambda f: (str(f["model"]), AnswerCounts.of(f["reference"])), "a reference"
                )
                self._watched = {model: Watched(reference)}
        except (CloudError, DecodeError) as error:
            log.warning("starting without a reference of answers: %s", error)

    def take(self, members: Iterable[TrackedInstance]) -> None:
        """Takes in the latest heartbeats."""
        present = {member.instance.instance_id: member.heartbeat for member in members}
        self._seen = {key: seen for key, seen in self._seen.items() if key in present}
        for instance_id, beat in present.items():
            if beat is not None:
                self._take(instance_id, beat)
        self._fresh = False

    def status(self) -> QualityStatus | None:
        """The model that answered last; None before any answer."""
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
        """The agreement with the candidate that was compared last; None without any."""
        return self._shadow if self._shadow.model else None

    def _take(self, instance_id: str, beat: Heartbeat) -> None:
        told = ShadowStatus(beat.shadow_model, beat.shadow_compared, beat.shadow_agreed)
        before = self._seen.get(instance_id)
        self._seen[instance_id] = _Seen(beat.started_at, beat.answers, told)
        if before is None or before.started_at != beat.started_at:
            if self._fresh:
                self._model = self._model or beat.model
                return  # counted before, as far as anybody can tell
            before = _Seen(beat.started_at, AnswerCounts(), ShadowStatus())
        new = beat.answers.minus(before.answers)
        if new.total:
            self._model = beat.model
            self._watch(beat.model, new)
        if told.model:
            base = before.shadow if before.shadow.model == told.model else ShadowStatus(told.model)
            total = self._shadow if self._shadow.model == told.model else ShadowStatus(told.model)
            self._shadow = ShadowStatus(
                told.model,
                total.compared + max(0, told.compared - base.compared),
                total.agreed + max(0, told.agreed - base.agreed),
            )

    def _watch(self, model: str, new: AnswerCounts) -> None:
        before = self._watched.pop(model, Watched())
        after = self._watched[model] = before.with_more(new)  # last in the order
        for forgotten in list(self._watched)[:-MODELS_KEPT]:
            del self._watched[forgotten]
        if before.reference.total < REFERENCE_IMAGES <= after.reference.total:
            fields = {
                "model": model,
                "reference": {"labels": dict(after.reference.labels), "confidence": after.reference.confidence},
            }
            try:
                self._store.put(KEY, encode_record(fields, VERSION))
            except CloudError as error:
                log.warning("%s", error)
