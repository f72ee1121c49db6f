"""Removing a stack and whatever belongs to it, so that nothing is left that costs."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Protocol

from aws.fleet import Instance
from aws.stacks import Event, Resource, StackError, StackState
from infra import following
from infra.following import Patience, follow

GROUP = "AWS::AutoScaling::AutoScalingGroup"
BUCKET = "AWS::S3::Bucket"
# Looks after which what still carries the tag is told; the index of tags lags behind what it indexes.
_LOOKS = 20


class Stack(following.Stack, Protocol):
    """What removing asks of `aws.stacks.Stack`."""

    def state(self) -> StackState | None: ...
    def resources(self) -> list[Resource]: ...
    def delete(self) -> None: ...


class Estate(Protocol):
    """What removing asks of `aws.estate.Estate`."""

    def stop_groups(self, names: Iterable[str]) -> None: ...
    def instances(self) -> list[str]: ...
    def empty_bucket(self, bucket: str) -> int: ...
    def tagged(self) -> list[str]: ...


class Fleet(Protocol):
    """What removing asks of `aws.fleet.Fleet`."""

    def describe(self) -> list[Instance]: ...
    def terminate(self, instance_ids: list[str]) -> None: ...


@dataclass(frozen=True, slots=True)
class Losses:
    """What goes with a stack."""

    buckets: tuple[str, ...]
    groups: tuple[str, ...]
    workers: tuple[str, ...]


def losses(stack: Stack, fleet: Fleet) -> Losses:
    """What removing the stack would remove, beside what can be made again."""
    resources = stack.resources()
    return Losses(
        buckets=tuple(resource.physical_id for resource in resources if resource.resource_type == BUCKET),
        groups=tuple(resource.physical_id for resource in resources if resource.resource_type == GROUP),
        workers=tuple(instance.instance_id for instance in fleet.describe()),
    )


def destroy(
    stack: Stack,
    estate: Estate,
    fleet: Fleet,
    tell: Callable[[str], None],
    tell_event: Callable[[Event], None],
    patience: Patience | None = None,
) -> list[str]:
    """Removes a stack; returns the ARNs of what still carries its tag afterwards.

    Safe to repeat: after a failure another run goes on.

    Raises:
        StackError: there is no such stack, or CloudFormation could not delete it.
    """
    patience = patience or Patience()
    state = stack.state()
    if state is None:
        raise StackError(f"there is no stack {stack.name}")
    if state.in_progress:
        tell("waiting for what CloudFormation is doing")
        state = follow(stack, state.stack_id, set(), tell_event, patience, begun=True) or state
    lost = losses(stack, fleet)
    tell("stopping web tier and controller")
    estate.stop_groups(lost.groups)
    _end_instances(estate, fleet, tell, patience)
    # Nobody writes any more: what is empty now stays empty.
    for bucket in lost.buckets:
        tell(f"emptying {bucket}: {estate.empty_bucket(bucket)} objects")
    seen: set[str] = set()
    stack.events(state.stack_id, seen)
    stack.delete()
    after = follow(stack, state.stack_id, seen, tell_event, patience)
    if after is not None and after.status != "DELETE_COMPLETE":
        raise StackError(
            f"CloudFormation could not delete the stack {stack.name} ({after.status}): {after.reason}; put right what "
            "the events name and run this again"
        )
    return _left(estate, patience)


def _end_instances(estate: Estate, fleet: Fleet, tell: Callable[[str], None], patience: Patience) -> None:
    """Terminates workers until none is left: a controller that is just ending may launch one more."""

    def done() -> bool:
        workers = [instance.instance_id for instance in fleet.describe()]
        if workers:
            tell(f"terminating {len(workers)} workers")
            fleet.terminate(workers)
        return not workers and not estate.instances()

    patience.until(done, "ending the instances")


def _left(estate: Estate, patience: Patience) -> list[str]:
    for _look in range(_LOOKS):
        if not (left := estate.tagged()):
            return []
        patience.sleep(patience.poll_seconds)
    return left
