"""Removing a stack and whatever belongs to it, so that nothing is left that costs."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Protocol

from aws.fleet import Instance
from aws.stacks import Event, Resource, StackError, StackState
from infra import stack_waiter
from infra.stack_waiter import PollPolicy, follow

GROUP = "AWS::AutoScaling::AutoScalingGroup"
BUCKET = "AWS::S3::Bucket"
# Looks after which what still carries the tag is told; the index of tags lags behind what it indexes.
_LOOKS = 20


class Stack(stack_waiter.Stack, Protocol):
    """What removing asks of `aws.stacks.Stack`."""

    def state(self) -> StackState | None: ...
    def resources(self) -> list[Resource]: ...
    def delete(self) -> None: ...


class StackResources(Protocol):
    """What removing asks of `aws.stack_resources.StackResources`."""

    def stop_groups(self, names: Iterable[str]) -> None: ...
    def instances(self) -> list[str]: ...
    def empty_bucket(self, bucket: str) -> int: ...
    def tagged(self) -> list[str]: ...


class Fleet(Protocol):
    """What removing asks of `aws.fleet.Fleet`."""

    def describe(self) -> list[Instance]: ...
    def terminate(self, instance_ids: list[str]) -> None: ...


@dataclass(frozen=True, slots=True)
class DeletionPlan:
    """What goes with a stack."""

    buckets: tuple[str, ...]
    groups: tuple[str, ...]
    workers: tuple[str, ...]


def deletion_plan(stack: Stack, fleet: Fleet) -> DeletionPlan:
    """What removing the stack would remove, beside what can be made again."""
    resources = stack.resources()
    return DeletionPlan(
        buckets=tuple(resource.physical_id for resource in resources if resource.resource_type == BUCKET),
        groups=tuple(resource.physical_id for resource in resources if resource.resource_type == GROUP),
        workers=tuple(instance.instance_id for instance in fleet.describe()),
    )


def destroy(
    stack: Stack,
    estate: StackResources,
    fleet: Fleet,
    tell: Callable[[str], None],
    tell_event: Callable[[Event], None],
    polling: PollPolicy | None = None,
) -> list[str]:
    """Removes a stack; returns the ARNs of what still carries its tag afterwards.

    Safe to repeat: after a failure another run goes on.

    Raises:
        StackError: there is no such stack, or CloudFormation could not delete it.
    """
    polling = polling or PollPolicy()
    state = stack.state()
    if state is None:
        raise StackError(f"there is no stack {stack.name}")
    if state.in_progress:
        tell("waiting for what CloudFormation is doing")
        state = follow(stack, state.stack_id, set(), tell_event, polling, begun=True) or state
    lost = deletion_plan(stack, fleet)
    tell("stopping web tier and controller")
    estate.stop_groups(lost.groups)
    _end_instances(estate, fleet, tell, polling)
    # Nobody writes any more: what is empty now stays empty.
    for bucket in lost.buckets:
        tell(f"emptying {bucket}: {estate.empty_bucket(bucket)} objects")
    seen: set[str] = set()
    stack.events(state.stack_id, seen)
    stack.delete()
    after = follow(stack, state.stack_id, seen, tell_event, polling)
    if after is not None and after.status != "DELETE_COMPLETE":
        raise StackError(
            f"CloudFormation could not delete the stack {stack.name} ({after.status}): {after.reason}; put right what "
            "the events name and run this again"
        )
    return _left(estate, polling)


def _end_instances(estate: StackResources, fleet: Fleet, tell: Callable[[str], None], polling: PollPolicy) -> None:
    """Terminates workers until none is left: a controller that is just ending may launch one more."""

    def done() -> bool:
        workers = [instance.instance_id for instance in fleet.describe()]
        if workers:
            tell(f"terminating {len(workers)} workers")
            fleet.terminate(workers)
        return not workers and not estate.instances()

    polling.until(done, "ending the instances")


def _left(estate: StackResources, polling: PollPolicy) -> list[str]:
    for _look in range(_LOOKS):
        if not (left := estate.tagged()):
            return []
        polling.sleep(polling.poll_seconds)
    return left
