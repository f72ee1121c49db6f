"""A stack of CloudFormation: its state, change sets, events and end."""

from __future__ import annotations

import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from botocore.exceptions import ClientError

from aws.clients import cloud_errors
from core.errors import CloudError

# CloudFormation's way to say that a change set is empty, and that there is no such stack.
_NO_CHANGES = ("didn't contain changes", "No updates are to be performed")
_NO_STACK = "does not exist"
# It exists in name only: its first change set has not been executed.
REVIEW = "REVIEW_IN_PROGRESS"
CAPABILITIES = ("CAPABILITY_IAM",)


class StackError(CloudError):
    """The stack could not be brought into the wanted state."""


@dataclass(frozen=True, slots=True)
class StackState:
    """A stack as it is.  `drift` is what CloudFormation found when it was last asked to look: see `Stack.state`."""

    stack_id: str
    status: str
    reason: str = ""
    drift: str = "NOT_CHECKED"
    outputs: Mapping[str, str] = field(default_factory=dict)
    parameters: Mapping[str, str] = field(default_factory=dict)

    @property
    def in_progress(self) -> bool:
        """Whether CloudFormation works on it."""
        return self.status.endswith("_IN_PROGRESS") and self.status != REVIEW

    @property
    def usable(self) -> bool:
        """Whether it is complete, be it as it was before an update that failed."""
        return self.status.endswith("_COMPLETE") and self.status not in ("ROLLBACK_COMPLETE", "DELETE_COMPLETE")


@dataclass(frozen=True, slots=True)
class Change:
    """What a change set does to one resource; `replacement` as CloudFormation says it, empty where it says nothing."""

    action: str
    logical_id: str
    resource_type: str
    replacement: str = ""


@dataclass(frozen=True, slots=True)
class ChangeSet:
    """A change set in the making, or made.  One that has failed with no changes is `empty`."""

    change_set_id: str
    status: str
    reason: str
    changes: tuple[Change, ...] = ()

    @property
    def empty(self) -> bool:
        """Whether everything is already as it should be."""
        return self.status == "FAILED" and any(text in self.reason for text in _NO_CHANGES)


@dataclass(frozen=True, slots=True)
class Event:
    """Something that happened to one resource of a stack."""

    event_id: str
    logical_id: str
    resource_type: str
    status: str
    reason: str


@dataclass(frozen=True, slots=True)
class Resource:
    """A resource of a stack that exists."""

    logical_id: str
    resource_type: str
    physical_id: str


class Stack:
    """One stack, there already or not.

    Every method raises `CloudError` where CloudFormation fails after botocore's retries.
    """

    def __init__(self, client: Any, name: str) -> None:
        self._client = client
        self.name = name

    def state(self) -> StackState | None:
        """The stack as it is; None where there is none."""
        return self.look(self.name)

    def look(self, name_or_id: str) -> StackState | None:
        """As `state`, also of a stack that has been deleted: by its id."""
        try:
            with cloud_errors(f"describing the stack {self.name}"):
                (entry,) = self._client.describe_stacks(StackName=name_or_id)["Stacks"]
        except CloudError as error:
            if _NO_STACK in str(error):
                return None
            raise
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
        """The template's parameters, and whether each must be given.

        Raises:
            StackError: it is no template.
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
        """Begins to make a change set; returns its id.

        Args:
            kept: parameters that keep the values they have.
            tag: CloudFormation gives this tag, with the stack's name, to whatever it makes.
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
        """A change set as it is."""
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
        """Deletes a change set, and the stack with it that would have been made."""
        with cloud_errors(f"discarding changes to the stack {self.name}"):
            self._client.delete_change_set(StackName=self.name, ChangeSetName=change_set_id)
            state = self.state()
            if state is not None and state.status == REVIEW:
                self._client.delete_stack(StackName=self.name)

    def execute(self, change_set_id: str) -> None:
        """Begins to carry a change set out."""
        with cloud_errors(f"changing the stack {self.name}"):
            self._client.execute_change_set(StackName=self.name, ChangeSetName=change_set_id)

    def delete(self) -> None:
        """Begins to delete the stack."""
        with cloud_errors(f"deleting the stack {self.name}"):
            self._client.delete_stack(StackName=self.name)

    def events(self, stack_id: str, seen: set[str]) -> list[Event]:
        """Events whose ids are not in `seen`, oldest first; adds theirs to it."""
        found: list[Event] = []
        with cloud_errors(f"reading the events of the stack {self.name}"):
            for page in self._client.get_paginator("describe_stack_events").paginate(StackName=stack_id):
                new = [_event(entry) for entry in page["StackEvents"] if entry["EventId"] not in seen]
                found += new
                if len(new) < len(page["StackEvents"]):  # newest come first: what follows is known
                    break
        seen.update(event.event_id for event in found)
        return found[::-1]

    def resources(self) -> list[Resource]:
        """The resources that exist."""
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
