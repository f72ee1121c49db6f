"""In-memory stand-ins for the stores, the queue and the fleet.

They have the signatures and behaviour of `aws.buckets`, `aws.batch_index`, `aws.state`, `aws.queue` and `aws.fleet`:
`tests/contract` runs the same suite against both.  They record each call and fail where a test plans it; time is a
parameter.  Those of `aws.in_memory.load` are for measurements: their memory does not grow with the number of images.
"""

from __future__ import annotations

from aws.in_memory.bulk import InMemoryBulkQueue, InMemoryPhotoSource
from aws.in_memory.clock import ManualClock
from aws.in_memory.fleet import InMemoryFleet
from aws.in_memory.queue import InMemoryJobQueue
from aws.in_memory.recorder import CallRecorder
from aws.in_memory.response_queue import InMemoryResponseQueue
from aws.in_memory.stores import InMemoryBatchIndex, InMemoryImageStore, InMemoryResultStore, InMemoryStateStore

__all__ = [
    "CallRecorder",
    "InMemoryBatchIndex",
    "InMemoryBulkQueue",
    "InMemoryFleet",
    "InMemoryImageStore",
    "InMemoryJobQueue",
    "InMemoryPhotoSource",
    "InMemoryResponseQueue",
    "InMemoryResultStore",
    "InMemoryStateStore",
    "ManualClock",
]
