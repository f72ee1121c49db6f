"""Bringing a stack into the wanted state: validate, propose, ask, carry out, follow."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Protocol

from aws.stacks import REVIEW, ChangeSet, Event, StackError, StackState
from core.packaging import Archive
from infra import stack_waiter
from infra.program import key_of
from infra.stack_waiter import PollPolicy, follow, wait_for_proposal

PROGRAM_PARAMETER = "ProgramSha256"


class Stack(stack_waiter.Stack, Protocol):
    """What deploying asks of `aws.stacks.Stack`."""

    def state(self) -> StackState | None: ...
    def validate(self, template: str) -> dict[str, bool]: ...
    def propose(self, template: str, parameters: Mapping[str, str], kept: list[str], tag: str) -> str: ...
    def discard(self, change_set_id: str) -> None: ...
    def execute(self, change_set_id: str) -> None: ...


@dataclass(frozen=True, slots=True)
class StackSpec:
    """What the stack is to be."""

    template: str
    parameters: Mapping[str, str]
    program: Archive
    tag: str


@dataclass(frozen=True, slots=True)
class StackActions:
    """What deploying needs done.

    Attributes:
        confirm: shows a change set; whether it is to be carried out.
        show_event: shows an event.
        upload: stores the program under a key in the bucket.
        use_template: makes a version of the launch template the default.
    """

    confirm: Callable[[ChangeSet], bool]
    show_event: Callable[[Event], None]
    upload: Callable[[str, str, bytes], None]
    use_template: Callable[[str, int], None]


def check_parameters(wanted: Mapping[str, bool], given: Mapping[str, str], existing: Mapping[str, str]) -> list[str]:
    """The parameters that keep their values.

    Args:
        wanted: the template's parameters, and whether each must be given.

    Raises:
        StackError: a parameter is missing or unknown; names all of them.
    """
    unknown = sorted(given.keys() - wanted.keys())
    if unknown:
        raise StackError(f"the template has no parameter {', '.join(unknown)}; it has {', '.join(sorted(wanted))}")
    missing = sorted(name for name, needed in wanted.items() if needed and name not in given and name not in existing)
    if missing:
        raise StackError(f"these parameters are needed: {', '.join(missing)}")
    return sorted(name for name in wanted if name in existing and name not in given)


def deploy(
    stack: Stack, spec: StackSpec, actions: StackActions, polling: PollPolicy | None = None
) -> StackState | None:
    """Creates or updates the stack; returns it as it is then, None where the person said no.

    Raises:
        StackError: it cannot be deployed now, or CloudFormation failed and went back.
    """
    polling = polling or PollPolicy()
    before = stack.state()
    refuse_if_unusable(stack.name, before)
    sha256 = spec.program.sha256
    given = {**spec.parameters, PROGRAM_PARAMETER: sha256}
    existing = before.parameters if before is not None and before.status != REVIEW else {}
    kept = check_parameters(stack.validate(spec.template), given, existing)
    if before is not None and "StateBucket" in before.outputs:
        actions.upload(before.outputs["StateBucket"], key_of(sha256), spec.program.body)

    change_set = wait_for_proposal(stack, stack.propose(spec.template, given, kept, spec.tag), polling)
    if change_set.empty or not actions.confirm(change_set):
        stack.discard(change_set.change_set_id)
        if not change_set.empty:
            return None
        after = before
    else:
        after = _carry_out(stack, change_set, actions, polling)
    if after is None or not after.usable or "ROLLBACK" in after.status:
        raise StackError(_failure(stack.name, after))
    if "LaunchTemplateName" in after.outputs:
        actions.use_template(after.outputs["LaunchTemplateName"], int(after.outputs["LaunchTemplateVersion"]))
    if before is None or "StateBucket" not in before.outputs:
        actions.upload(after.outputs["StateBucket"], key_of(sha256), spec.program.body)
    return after


def refuse_if_unusable(name: str, state: StackState | None) -> None:
    """Raises `StackError` where a stack cannot be changed now."""
    if state is None or state.usable or state.status == REVIEW:
        return
    if state.in_progress:
        raise StackError(f"the stack {name} is being changed ({state.status}); wait until that is over")
    raise StackError(
        f"the stack {name} cannot be changed ({state.status}); `elastic destroy --stack-name {name}` removes what is "
        "left of it"
    )


def _carry_out(stack: Stack, change_set: ChangeSet, actions: StackActions, polling: PollPolicy) -> StackState | None:
    started = stack.look(stack.name)
    stack_id = started.stack_id if started is not None else stack.name
    seen: set[str] = set()
    stack.events(stack_id, seen)  # those of earlier days
    stack.execute(change_set.change_set_id)
    return follow(stack, stack_id, seen, actions.show_event, polling)


def _failure(name: str, state: StackState | None) -> str:
    status = "is gone" if state is None else state.status
    reason = "" if state is None else state.reason
    return f"the stack {name} could not be deployed: {status}{f': {reason}' if reason else ''}; the events say why"
