"""Server-sent events for one viewer of a batch.

Events: ``started`` (at once), ``results`` (new results), ``state`` (counts and state changed), ``fleet`` (instances
that are desired, booting and running), ``complete`` (every image has its answer; the stream ends), ``deleted`` (it
ends, too).  Each ``id`` is a cursor of `web_tier.domain.result_pagination`, so that a viewer that reconnects misses
nothing.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from aws.buckets import StoredObject
from core.fleet_status import FleetStatus
from web_tier.domain.batch_state import counts, state_of
from web_tier.domain.batch_watcher import Snapshot
from web_tier.domain.batches import Batch
from web_tier.domain.result_pagination import Cursor, next_page

RESULTS_PER_EVENT = 100
RETRY_MILLISECONDS = 2000
# Follows the cursor in the id of the last event: a viewer that reconnects with it has received everything.
_END_MARK = "."

Render = Callable[[Sequence[StoredObject]], list[dict[str, Any]]]


@dataclass(slots=True)
class Viewer:
    """Position of one viewer in the stream of a batch's results.

    Args:
        cursor: where the stream begins.
        render: converts results to JSON-ready fields.
    """

    cursor: Cursor
    render: Render
    _state: dict[str, Any] | None = None
    _fleet: dict[str, Any] | None = None

    def events(self, snapshot: Snapshot) -> Iterator[str]:
        """The events for a newer snapshot."""
        batch = snapshot.batch
        if batch is None:
            yield event("deleted", {})
            return
        yield from self._results(batch)
        state = {**counts(batch), "state": state_of(batch, snapshot.fleet)}
        if state != self._state:
            self._state = state
            yield event("state", state)
        fleet = fleet_hint(snapshot.fleet)
        if fleet != self._fleet:
            self._fleet = fleet
            yield event("fleet", fleet or {})
        if batch.complete:
            yield event("complete", state, f"{self.cursor.encode()}{_END_MARK}{batch.answered}")

    def _results(self, batch: Batch) -> Iterator[str]:
        more = True
        while more:
            page = next_page(batch.results, self.cursor, RESULTS_PER_EVENT)
            more, self.cursor = page.more, page.cursor
            if page.entries:
                yield event("results", {"results": self.render(page.entries)}, self.cursor.encode())


def event(kind: str, data: Any, event_id: str = "") -> str:
    """Encodes one event."""
    text = json.dumps(data, separators=(",", ":"))
    return f"event: {kind}\n{f'id: {event_id}' + chr(10) if event_id else ''}data: {text}\n\n"


def fleet_hint(status: FleetStatus | None) -> dict[str, Any] | None:
    """The number of instances and their expected boot time; None where the controller has not reported."""
    latest = status.latest if status is not None else None
    if status is None or latest is None:
        return None
    return {
        "desired": latest.desired,
        "booting": latest.booting,
        "running": latest.running,
        "expected_boot_seconds": status.expected_boot_seconds,
    }


def split_event_id(text: str) -> tuple[Cursor, int | None]:
    """The cursor in an event's id and, in the last one of a stream, the number of results.

    Raises:
        CursorError: the id was not issued by this service.
    """
    cursor, mark, answered = text.partition(_END_MARK)
    whole = answered.isascii() and answered.isdecimal() and len(answered) <= 9
    return Cursor.decode(cursor), int(answered) if mark and whole else None
