"""Group commit for jobs: concurrent requests share one SQS request, which costs the same for ten jobs as for one."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass, field

from aws.queue import MAX_MESSAGES_PER_REQUEST, JobQueue
from core.jobs import ClassificationJob


@dataclass(slots=True, eq=False)
class _Waiting:
    jobs: Sequence[ClassificationJob]
    done: threading.Event = field(default_factory=threading.Event)
    leads: bool = False
    error: Exception | None = None


class JobBatcher:
    """Enqueues jobs; safe to share between threads.

    A thread that finds no other one sending sends at once.  Threads that arrive meanwhile wait; the first of them then
    leads and sends for all, so that no job is delayed to fill a group, and no thread sends more than one group.
    """

    def __init__(self, queue: JobQueue) -> None:
        self._queue = queue
        self._lock = threading.Lock()
        self._waiting: deque[_Waiting] = deque()
        self._busy = False

    def send(self, jobs: Sequence[ClassificationJob]) -> None:
        """Enqueues `jobs`; they are in the queue when this returns.

        Raises:
            CloudError: SQS failed; some of them may be in the queue all the same.
        """
        if len(jobs) >= MAX_MESSAGES_PER_REQUEST:
            self._queue.send(jobs)
            return
        mine = _Waiting(jobs)
        with self._lock:
            self._waiting.append(mine)
            mine.leads = not self._busy
            self._busy = True
        if not mine.leads:
            mine.done.wait()
        if mine.leads:
            self._send_group()
        if mine.error is not None:
            raise mine.error

    def _send_group(self) -> None:
        with self._lock:
            # The leader is the first that waits.
            group = [self._waiting.popleft()]
            room = MAX_MESSAGES_PER_REQUEST - len(group[0].jobs)
            while self._waiting and len(self._waiting[0].jobs) <= room:
                group.append(self._waiting.popleft())
                room -= len(group[-1].jobs)
        error: Exception | None = None
        try:
            self._queue.send([job for waiting in group for job in waiting.jobs])
        except Exception as caught:
            # Whatever it is: the other threads of the group must not wait for ever.
            error = caught
        with self._lock:
            for waiting in group:
                waiting.error = error
            self._busy = bool(self._waiting)
            if self._busy:
                self._waiting[0].leads = True
                group.append(self._waiting[0])
        for waiting in group:
            waiting.done.set()
