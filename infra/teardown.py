"""Delete a stack with everything that belongs to it, so that nothing is left that costs money."""

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
INSTANCE = "AWS::EC2::Instance"
# Polls until resources that still carry the tag are reported as left over: the tag index is updated with a delay.
_TAG_POLLS = 20


class Stack(stack_waiter.Stack, Protocol):
    """The methods of `aws.stacks.Stack` that deletion needs."""

    def state(self) -> StackState | None: ...
    def resources(self) -> list[Resource]: ...
    def delete(self) -> None: ...


class StackResources(Protocol):
    """The methods of `aws.stack_resources.StackResources` that deletion needs."""

    def stop_groups(self, names: Iterable[str]) -> None: ...
    def instances(self) -> list[str]: ...
    def empty_bucket(self, bucket: str) -> int: ...
    def tagged(self) -> list[str]: ...


class Fleet(Protocol):
    """The methods of `aws.fleet.Fleet` that deletion needs."""

    def describe(self) -> list[Instance]: ...
    def terminate(self, instance_ids: list[str]) -> None: ...


@dataclass(frozen=True, slots=True)
class DeletionPlan:
    """The buckets, Auto Scaling groups, single instances and workers that are deleted with a stack."""

    buckets: tuple[str, ...]
    groups: tuple[str, ...]
    workers: tuple[str, ...]
    machines: tuple[str, ...] = ()


def deletion_plan(stack: Stack, fleet: Fleet) -> DeletionPlan:
    """Lists what is lost with the stack, and what has to be stopped first."""
    resources = stack.resources()
    return DeletionPlan(
        buckets=tuple(resource.physical_id for resource in resources if resource.resource_type == BUCKET),
        groups=tuple(resource.physical_id for resource in resources if resource.resource_type == GROUP),
        workers=tuple(instance.instance_id for instance in fleet.describe()),
        machines=tuple(resource.physical_id for resource in resources if resource.resource_type == INSTANCE),
    )


def destroy(
    stack: Stack,
    resources: StackResources,
    fleet: Fleet,
    report: Callable[[str], None],
    on_event: Callable[[Event], None],
    polling: PollPolicy | None = None,
) -> list[str]:
    """Deletes a stack; returns the ARNs of resources that still carry its tag afterwards.

    Safe to repeat: after a failure another run continues.

    Args:
        report: called with a description of each step.
        on_event: called with each event of the stack.

    Raises:
        StackError: there is no such stack, or CloudFormation could not delete it.
    """
    polling = polling or PollPolicy()
    state = stack.state()
    if state is None:
        raise StackError(f"there is no stack {stack.name}")
    if state.in_progress:
        report("waiting for the operation in progress")
        state = follow(stack, state.stack_id, set(), on_event, polling, begun=True) or state
    plan = deletion_plan(stack, fleet)
    report("stopping the web tier and the controller")
    resources.stop_groups(plan.groups)
    if plan.machines:
        fleet.terminate(list(plan.machines))
    _terminate_instances(resources, fleet, report, polling)
    # No process writes any more: a bucket that is emptied now stays empty.
    for bucket in plan.buckets:
        report(f"emptying {bucket}: {resources.empty_bucket(bucket)} objects")
    seen: set[str] = set()
    stack.events(state.stack_id, seen)
    stack.delete()
    after = follow(stack, state.stack_id, seen, on_event, polling)
    if after is not None and after.status != "DELETE_COMPLETE":
        raise StackError(
            f"CloudFormation could not delete the stack {stack.name} ({after.status}): {after.reason}; resolve what "
            "the events name, then repeat the command"
        )
    return _remaining(resources, polling)


def _terminate_instances(
    resources: StackResources, fleet: Fleet, report: Callable[[str], None], polling: PollPolicy
) -> None:
    """Terminates workers until none is left: a controller that is just stopping may launch one more."""

    def done() -> bool:
        workers = [instance.instance_id for instance in fleet.describe()]
        if workers:
            report(f"terminating {len(workers)} workers")
            fleet.terminate(workers)
        return not workers and not resources.instances()

    polling.until(done, "terminating the instances")


def _remaining(resources: StackResources, polling: PollPolicy) -> list[str]:
    """The ARNs of resources that still carry the stack's tag; waits for the tag index to be updated."""
    for _poll in range(_TAG_POLLS):
        if not (remaining := resources.tagged()):
            return []
        polling.sleep(polling.poll_seconds)
    return remaining
