"""Wait for a stack operation and report its events."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from aws.stacks import REVIEW, ChangeSet, Event, StackError, StackState

POLL_SECONDS = 3.0
# A load balancer takes minutes, an Auto Scaling group that replaces instances longer; CloudFormation has its own
# timeouts, so this one is only reached if it hangs.
TIMEOUT_SECONDS = 3600.0
_CHANGE_SET_IN_PROGRESS = ("CREATE_PENDING", "CREATE_IN_PROGRESS")
_STACK_TYPE = "AWS::CloudFormation::Stack"


class Stack(Protocol):
    """The methods of `aws.stacks.Stack` that waiting needs."""

    name: str

    def look(self, name_or_id: str) -> StackState | None: ...
    def proposal(self, change_set_id: str) -> ChangeSet: ...
    def events(self, stack_id: str, seen: set[str]) -> list[Event]: ...


@dataclass(frozen=True, slots=True)
class PollPolicy:
    """Poll interval and timeout of a wait; `clock` returns monotonic seconds."""

    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
    poll_seconds: float = POLL_SECONDS
    timeout_seconds: float = TIMEOUT_SECONDS

    def until(self, done: Callable[[], bool], operation: str) -> None:
        """Polls until `done` returns true.

        Raises:
            StackError: the timeout has passed; the message names the `operation`.
        """
        deadline = self.clock() + self.timeout_seconds
        while not done():
            if self.clock() > deadline:
                raise StackError(f"{operation} takes longer than {self.timeout_seconds:g} s")
            self.sleep(self.poll_seconds)


def wait_for_proposal(stack: Stack, change_set_id: str, polling: PollPolicy) -> ChangeSet:
    """Waits until a change set has been created; an empty one is not an error.

    Raises:
        StackError: CloudFormation could not create it.
    """
    change_set = stack.proposal(change_set_id)

    def done() -> bool:
        nonlocal change_set
        change_set = stack.proposal(change_set_id)
        return change_set.status not in _CHANGE_SET_IN_PROGRESS

    polling.until(done, "creating the change set")
    if change_set.status != "CREATE_COMPLETE" and not change_set.empty:
        raise StackError(f"CloudFormation refuses the changes: {change_set.reason or change_set.status}")
    return change_set


def follow(
    stack: Stack,
    stack_id: str,
    seen: set[str],
    on_event: Callable[[Event], None],
    polling: PollPolicy,
    *,
    begun: bool = False,
) -> StackState | None:
    """Reports the stack's events until the operation has finished; returns its state, None if the stack is deleted.

    Args:
        seen: ids of events that are not to be reported; new ones are added.
        on_event: called with each new event.
        begun: the operation is in progress already.  Otherwise it has begun when the stack itself has a new event:
            right after a request its state may still be the previous one.
    """
    state: StackState | None = None

    def done() -> bool:
        nonlocal state, begun
        # The state is read before the events, so that the last events are not missed.  It may be the previous one
        # unless the operation's first event was read before it.
        had_begun = begun
        state = stack.look(stack_id)
        if state is None or state.status == "DELETE_COMPLETE":
            return True
        for event in stack.events(stack_id, seen):
            begun = begun or event.resource_type == _STACK_TYPE
            on_event(event)
        return had_begun and not state.in_progress and state.status != REVIEW

    polling.until(done, f"the stack {stack.name}")
    return state
