"""Read the worker's settings on an instance: ``NAME=value`` lines in a file and in the instance's user data."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Mapping
from pathlib import Path

from aws.metadata import ENDPOINT_VARIABLE, InstanceMetadata, MetadataUnavailableError
from core.errors import ElasticError

_LINE = re.compile(r"\s*(?:export\s+)?((?:EIC|AWS)_[A-Z0-9_]+)=(.*)")
_REGION_VARIABLES = ("AWS_REGION", "AWS_DEFAULT_REGION")
# The vendor that EC2's Nitro machines report (Xen ones have it in the BIOS's version).
_VENDOR_FILE = Path("/sys/class/dmi/id/sys_vendor")
_EC2_VENDOR = "Amazon EC2"

# cron may start before the network is up.
METADATA_TIMEOUT_SECONDS = 50.0
METADATA_POLL_SECONDS = 0.1


class VariablesError(ElasticError):
    """The instance's settings cannot be read."""


def read_variables(text: str) -> dict[str, str]:
    """The ``EIC_…`` and ``AWS_…`` variables among the lines of `text`; quotes around a value are removed.

    All other lines are ignored: user data may hold more than settings.
    """
    found = {}
    for line in text.splitlines():
        if match := _LINE.fullmatch(line.rstrip()):
            name, value = match.groups()
            quoted = len(value) > 1 and value[0] == value[-1] and value[0] in "\"'"
            found[name] = value[1:-1] if quoted else value
    return found


def instance_variables(
    metadata: InstanceMetadata,
    environment: Mapping[str, str],
    clock: Callable[[], float] = time.monotonic,
    sleep: Callable[[float], None] = time.sleep,
    vendor_file: Path = _VENDOR_FILE,
) -> dict[str, str]:
    """The settings in the instance's user data, and its region unless a setting names one; empty outside EC2.

    Raises:
        VariablesError: this is EC2, but the metadata service does not answer.
    """
    if ENDPOINT_VARIABLE not in environment and not _is_ec2(vendor_file):
        return {}
    deadline = clock() + METADATA_TIMEOUT_SECONDS
    while True:
        try:
            found = read_variables(metadata.user_data() or "")
            named = any(name in found or name in environment for name in _REGION_VARIABLES)
            if not named and (region := metadata.region()):
                found["AWS_DEFAULT_REGION"] = region
            return found
        except MetadataUnavailableError as error:
            if clock() > deadline:
                raise VariablesError(f"the instance's metadata service does not answer: {error}") from error
            sleep(METADATA_POLL_SECONDS)


def _is_ec2(vendor_file: Path) -> bool:
    try:
        return vendor_file.read_text().strip() == _EC2_VENDOR
    except OSError:
        return False
