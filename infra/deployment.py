"""Deploy a stack: validate the template, create a change set, confirm and execute it, wait for the result."""

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
    """The methods of `aws.stacks.Stack` that deploying needs."""

    def state(self) -> StackState | None: ...
    def validate(self, template: str) -> dict[str, bool]: ...
    def propose(self, template: str, parameters: Mapping[str, str], kept: list[str], tag: str) -> str: ...
    def discard(self, change_set_id: str) -> None: ...
    def execute(self, change_set_id: str) -> None: ...


@dataclass(frozen=True, slots=True)
class StackSpec:
    """The template, the parameters and the program to deploy; `tag` marks the stack's resources."""

    template: str
    parameters: Mapping[str, str]
    program: Archive
    tag: str


@dataclass(frozen=True, slots=True)
class StackActions:
    """The callbacks of a deployment.

    Attributes:
        confirm: shows a change set; returns whether to execute it.
        show_event: shows an event of the stack.
        upload: stores the program under a key in the bucket.
        use_template: makes a version of the launch template the default.
    """

    confirm: Callable[[ChangeSet], bool]
    show_event: Callable[[Event], None]
    upload: Callable[[str, str, bytes], None]
    use_template: Callable[[str, int], None]


def check_parameters(declared: Mapping[str, bool], given: Mapping[str, str], existing: Mapping[str, str]) -> list[str]:
    """Checks the given parameters; returns the names of those that keep their existing values.

    Args:
        declared: the template's parameters, and whether each is required.

    Raises:
        StackError: a parameter is missing or unknown; names all of them.
    """
    unknown = sorted(given.keys() - declared.keys())
    if unknown:
        raise StackError(f"the template has no parameter {', '.join(unknown)}; it has {', '.join(sorted(declared))}")
    missing = sorted(name for name, needed in declared.items() if needed and name not in given and name not in existing)
    if missing:
        raise StackError(f"these parameters are needed: {', '.join(missing)}")
    return sorted(name for name in declared if name in existing and name not in given)


def deploy(
    stack: Stack, spec: StackSpec, actions: StackActions, polling: PollPolicy | None = None
) -> StackState | None:
    """Creates or updates the stack; returns its new state, or None if the changes were not confirmed.

    Raises:
        StackError: the stack cannot be changed now, or CloudFormation failed and rolled back.
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
        after = _execute(stack, change_set, actions, polling)
    if after is None or not after.usable or "ROLLBACK" in after.status:
        raise StackError(_failure(stack.name, after))
    # First, since the web tier and the controller wait for it.
    if before is None or "StateBucket" not in before.outputs:
        actions.upload(after.outputs["StateBucket"], key_of(sha256), spec.program.body)
    if "LaunchTemplateName" in after.outputs:
        actions.use_template(after.outputs["LaunchTemplateName"], _template_version(after))
    return after


def refuse_if_unusable(name: str, state: StackState | None) -> None:
    """Raises `StackError` if a stack in this state cannot be changed."""
    if state is None or state.usable or state.status == REVIEW:
        return
    if state.in_progress:
        raise StackError(f"the stack {name} is being changed ({state.status}); wait until that has finished")
    raise StackError(
        f"the stack {name} cannot be changed ({state.status}); `elastic destroy --stack-name {name}` removes its "
        "remaining resources"
    )


def _execute(stack: Stack, change_set: ChangeSet, actions: StackActions, polling: PollPolicy) -> StackState | None:
    started = stack.look(stack.name)
    stack_id = started.stack_id if started is not None else stack.name
    seen: set[str] = set()
    stack.events(stack_id, seen)  # marks the events of earlier operations as seen
    stack.execute(change_set.change_set_id)
    return follow(stack, stack_id, seen, actions.show_event, polling)


def _template_version(state: StackState) -> int:
    version = state.outputs.get("LaunchTemplateVersion", "")
    if not version.isdecimal():
        raise StackError(
            f"the stack's output LaunchTemplateVersion is {version!r}, not a number: workers still come from the "
            f"default version of {state.outputs['LaunchTemplateName']}; repeat the command"
        )
    return int(version)


def _failure(name: str, state: StackState | None) -> str:
    status = "is gone" if state is None else state.status
    reason = "" if state is None else state.reason
    return f"the stack {name} could not be deployed: {status}{f': {reason}' if reason else ''}; see the stack's events"
