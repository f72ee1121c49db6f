"""Waiting for CloudFormation, with its events told as they come."""

from __future__ import annotations

import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import Protocol

from aws.stacks import REVIEW, ChangeSet, Event, StackError, StackState

POLL_SECONDS = 3.0
# A load balancer takes minutes, an Auto Scaling group that replaces instances many; CloudFormation itself gives up.
TIMEOUT_SECONDS = 3600.0
_MAKING = ("CREATE_PENDING", "CREATE_IN_PROGRESS")
_STACK_TYPE = "AWS::CloudFormation::Stack"


class Stack(Protocol):
    """What waiting asks of `aws.stacks.Stack`."""

    name: str

    def look(self, name_or_id: str) -> StackState | None: ...
    def proposal(self, change_set_id: str) -> ChangeSet: ...
    def events(self, stack_id: str, seen: set[str]) -> list[Event]: ...


@dataclass(frozen=True, slots=True)
class PollPolicy:
    """How to wait; `clock` in monotonic seconds."""

    clock: Callable[[], float] = time.monotonic
    sleep: Callable[[float], None] = time.sleep
    poll_seconds: float = POLL_SECONDS
    timeout_seconds: float = TIMEOUT_SECONDS

    def until(self, done: Callable[[], bool], sentence: str) -> None:
        """Asks again and again until `done`.

        Raises:
            StackError: that takes too long; `sentence` says what.
        """
        deadline = self.clock() + self.timeout_seconds
        while not done():
            if self.clock() > deadline:
                raise StackError(f"{sentence} takes longer than {self.timeout_seconds:g} s")
            self.sleep(self.poll_seconds)


def wait_for_proposal(stack: Stack, change_set_id: str, polling: PollPolicy) -> ChangeSet:
    """Waits until a change set has been made; one that is empty is no error.

    Raises:
        StackError: CloudFormation could not make it.
    """
    made = stack.proposal(change_set_id)

    def done() -> bool:
        nonlocal made
        made = stack.proposal(change_set_id)
        return made.status not in _MAKING

    polling.until(done, "making the change set")
    if made.status != "CREATE_COMPLETE" and not made.empty:
        raise StackError(f"CloudFormation refuses the changes: {made.reason or made.status}")
    return made


def follow(
    stack: Stack,
    stack_id: str,
    seen: set[str],
    tell: Callable[[Event], None],
    polling: PollPolicy,
    *,
    begun: bool = False,
) -> StackState | None:
    """Tells events until CloudFormation has finished; returns the stack as it is then, None where it is gone.

    Args:
        seen: ids of events that are known already.
        begun: the work has begun already.  Otherwise an event of the stack itself says so: right after a request
            its state may still be the old one.
    """
    state: StackState | None = None

    def done() -> bool:
        nonlocal state, begun
        # The state comes first: events that come with its end are read after it, and none is missed.  It may be the
        # old one as long as the first event had not been read before it.
        had_begun = begun
        state = stack.look(stack_id)
        if state is None or state.status == "DELETE_COMPLETE":
            return True
        for event in stack.events(stack_id, seen):
            begun = begun or event.resource_type == _STACK_TYPE
            tell(event)
        return had_begun and not state.in_progress and state.status != REVIEW

    polling.until(done, f"the stack {stack.name}")
    return state
