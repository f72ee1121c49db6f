"""Map a stack's outputs to the program's settings."""

from __future__ import annotations

from collections.abc import Mapping

from core.errors import ElasticError
from core.settings import PREFIX

# The environment variable of each output that is a setting.
SETTINGS = {
    "InputBucket": f"{PREFIX}INPUT_BUCKET",
    "OutputBucket": f"{PREFIX}OUTPUT_BUCKET",
    "StateBucket": f"{PREFIX}STATE_BUCKET",
    "QueueName": f"{PREFIX}QUEUE_NAME",
    "DeadLetterQueueName": f"{PREFIX}DEAD_LETTER_QUEUE_NAME",
    "LaunchTemplateName": f"{PREFIX}LAUNCH_TEMPLATE_NAME",
    "FleetName": f"{PREFIX}FLEET_NAME",
}

# Outputs that a stack of an earlier version lacks until it is updated: without a queue of bulk jobs there are no runs.
ADDED_SETTINGS = {"BulkQueueName": f"{PREFIX}BULK_QUEUE_NAME"}


class OutputError(ElasticError):
    """The stack is not one of ours, or it is not complete."""


def settings_of(outputs: Mapping[str, str]) -> dict[str, str]:
    """The environment variables with which the other commands work on a stack.

    Raises:
        OutputError: the stack lacks an output.
    """
    if missing := SETTINGS.keys() - outputs.keys():
        raise OutputError(f"the stack has no output {', '.join(sorted(missing))}; is it one of ours, and complete?")
    added = {variable: outputs.get(name, "") for name, variable in ADDED_SETTINGS.items()}
    return {variable: outputs[name] for name, variable in SETTINGS.items()} | added
