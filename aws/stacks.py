"""CloudFormation stacks: state, change sets, events and deletion."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from botocore.exceptions import ClientError

from aws.clients import cloud_errors
from core.errors import CloudError, NotFoundError

# CloudFormation's messages for an empty change set.
_NO_CHANGES = ("didn't contain changes", "No updates are to be performed")
# The status of a stack whose first change set has not been executed.
REVIEW = "REVIEW_IN_PROGRESS"
CAPABILITIES = ("CAPABILITY_IAM",)


class StackError(CloudError):
    """The stack could not be brought into the desired state."""


@dataclass(frozen=True, slots=True)
class StackState:
    """The state of a stack.  `drift` is the result of CloudFormation's last drift detection."""

    stack_id: str
    status: str
    reason: str = ""
    drift: str = "NOT_CHECKED"
    outputs: Mapping[str, str] = field(default_factory=dict)
    parameters: Mapping[str, str] = field(default_factory=dict)

    @property
    def in_progress(self) -> bool:
        """Whether CloudFormation is changing the stack."""
        return self.status.endswith("_IN_PROGRESS") and self.status != REVIEW

    @property
    def usable(self) -> bool:
        """Whether the stack is complete, possibly in the state before a failed update."""
        return self.status.endswith("_COMPLETE") and self.status not in ("ROLLBACK_COMPLETE", "DELETE_COMPLETE")


@dataclass(frozen=True, slots=True)
class Change:
    """What a change set does to one resource; `replacement` in CloudFormation's words, empty if there is none."""

    action: str
    logical_id: str
    resource_type: str
    replacement: str = ""


@dataclass(frozen=True, slots=True)
class ChangeSet:
    """A change set, complete or still in creation.  One that failed because there are no changes is `empty`."""

    change_set_id: str
    status: str
    reason: str
    changes: tuple[Change, ...] = ()

    @property
    def empty(self) -> bool:
        """Whether the stack needs no changes."""
        return self.status == "FAILED" and any(text in self.reason for text in _NO_CHANGES)


@dataclass(frozen=True, slots=True)
class Event:
    """A change of the status of one resource of a stack."""

    event_id: str
    logical_id: str
    resource_type: str
    status: str
    reason: str


@dataclass(frozen=True, slots=True)
class Resource:
    """An existing resource of a stack."""

    logical_id: str
    resource_type: str
    physical_id: str


class Stack:
    """A stack, which need not exist yet.

    Every method raises `CloudError` where CloudFormation fails after botocore's retries.
    """

    def __init__(self, client: Any, name: str) -> None:
        self._client = client
        self.name = name

    def state(self) -> StackState | None:
        """Describe the stack; None if it does not exist."""
        return self.look(self.name)

    def look(self, name_or_id: str) -> StackState | None:
        """Describe a stack by name, or by id; the id also finds a deleted stack."""
        try:
            with cloud_errors(f"describing the stack {self.name}"):
                (entry,) = self._client.describe_stacks(StackName=name_or_id)["Stacks"]
        except NotFoundError:
            return None
        return StackState(
            stack_id=entry["StackId"],
            status=entry["StackStatus"],
            reason=entry.get("StackStatusReason", ""),
            drift=entry.get("DriftInformation", {}).get("StackDriftStatus", "NOT_CHECKED"),
            outputs={output["OutputKey"]: output["OutputValue"] for output in entry.get("Outputs", [])},
            parameters={
                parameter["ParameterKey"]: parameter.get("ParameterValue", "")
                for parameter in entry.get("Parameters", [])
            },
        )

    def validate(self, template: str) -> dict[str, bool]:
        """Validate a template; return its parameters, and whether each must be given.

        Raises:
            StackError: the template is invalid.
        """
        try:
            with cloud_errors("validating the template"):
                response = self._client.get_template_summary(TemplateBody=template)
        except CloudError as error:
            if isinstance(error.__cause__, ClientError):
                raise StackError(str(error)) from error
            raise
        return {entry["ParameterKey"]: "DefaultValue" not in entry for entry in response.get("Parameters", [])}

    def propose(self, template: str, parameters: Mapping[str, str], kept: Sequence[str], tag: str) -> str:
        """Begin to create a change set; return its id.

        Args:
            kept: parameters that keep their values.
            tag: CloudFormation gives this tag, with the stack's name as its value, to each resource it creates.
        """
        state = self.state()
        given: list[dict[str, Any]] = [
            {"ParameterKey": key, "ParameterValue": value} for key, value in parameters.items()
        ]
        given += [{"ParameterKey": key, "UsePreviousValue": True} for key in kept]
        with cloud_errors(f"proposing changes to the stack {self.name}"):
            change_set_id: str = self._client.create_change_set(
                StackName=self.name,
                ChangeSetName=f"elastic-{secrets.token_hex(6)}",
                ChangeSetType="CREATE" if state is None or state.status == REVIEW else "UPDATE",
                TemplateBody=template,
                Parameters=given,
                Capabilities=list(CAPABILITIES),
                Tags=[{"Key": tag, "Value": self.name}],
            )["Id"]
            return change_set_id

    def proposal(self, change_set_id: str) -> ChangeSet:
        """Describe a change set."""
        changes: list[Change] = []
        token: dict[str, str] = {}
        with cloud_errors(f"describing changes to the stack {self.name}"):
            while True:
                page = self._client.describe_change_set(StackName=self.name, ChangeSetName=change_set_id, **token)
                changes += [_change(entry["ResourceChange"]) for entry in page.get("Changes", [])]
                if not page.get("NextToken"):
                    break
                token = {"NextToken": page["NextToken"]}
        return ChangeSet(change_set_id, page["Status"], page.get("StatusReason") or "", tuple(changes))

    def discard(self, change_set_id: str) -> None:
        """Delete a change set, and with it the stack if it has not been created yet."""
        with cloud_errors(f"discarding changes to the stack {self.name}"):
            self._client.delete_change_set(StackName=self.name, ChangeSetName=change_set_id)
            state = self.state()
            if state is not None and state.status == REVIEW:
                self._client.delete_stack(StackName=self.name)

    def execute(self, change_set_id: str) -> None:
        """Begin to execute a change set."""
        with cloud_errors(f"changing the stack {self.name}"):
            self._client.execute_change_set(StackName=self.name, ChangeSetName=change_set_id)

    def delete(self) -> None:
        """Begin to delete the stack."""
        with cloud_errors(f"deleting the stack {self.name}"):
            self._client.delete_stack(StackName=self.name)

    def events(self, stack_id: str, seen: set[str]) -> list[Event]:
        """Return the events whose ids are not in `seen`, oldest first, and add their ids to it."""
        found: list[Event] = []
        with cloud_errors(f"reading the events of the stack {self.name}"):
            for page in self._client.get_paginator("describe_stack_events").paginate(StackName=stack_id):
                new = [_event(entry) for entry in page["StackEvents"] if entry["EventId"] not in seen]
                found += new
                if len(new) < len(page["StackEvents"]):  # newest come first: all that follow have been seen
                    break
        seen.update(event.event_id for event in found)
        return found[::-1]

    def resources(self) -> list[Resource]:
        """List the existing resources."""
        with cloud_errors(f"listing the resources of the stack {self.name}"):
            return [
                Resource(entry["LogicalResourceId"], entry["ResourceType"], entry["PhysicalResourceId"])
                for page in self._client.get_paginator("list_stack_resources").paginate(StackName=self.name)
                for entry in page["StackResourceSummaries"]
                if entry.get("PhysicalResourceId", "").strip() and entry["ResourceStatus"] != "DELETE_COMPLETE"
            ]


def _change(entry: Mapping[str, Any]) -> Change:
    return Change(entry["Action"], entry["LogicalResourceId"], entry["ResourceType"], entry.get("Replacement") or "")


def _event(entry: Mapping[str, Any]) -> Event:
    return Event(
        entry["EventId"],
        entry["LogicalResourceId"],
        entry["ResourceType"],
        entry["ResourceStatus"],
        entry.get("ResourceStatusReason") or "",
    )
