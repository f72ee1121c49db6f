"""Control the fault injector of a running emulator over HTTP."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from contextlib import contextmanager

import requests

# The emulator's reserved path.  Here, because what injects the faults imports moto, which takes a second.
CONTROL_PATH = "/_faults"

_TIMEOUT_SECONDS = 10.0


class FaultControl:
    """Switches the injector of `local_cloud.faults` on and off, and reads its counts.

    Args:
        endpoint_url: the emulator's address.
    """

    def __init__(self, endpoint_url: str) -> None:
        self._url = f"{endpoint_url}{CONTROL_PATH}"

    def set(self, *, enabled: bool) -> None:
        """Switches faults on or off."""
        requests.post(self._url, json={"enabled": enabled}, timeout=_TIMEOUT_SECONDS).raise_for_status()

    def change(self, fields: Mapping[str, float]) -> None:
        """Changes rates and delays: fields of `local_cloud.faults.FaultSpec`."""
        requests.post(self._url, json=dict(fields), timeout=_TIMEOUT_SECONDS).raise_for_status()

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Injects no faults during the block."""
        self.set(enabled=False)
        try:
            yield
        finally:
            self.set(enabled=True)

    def counts(self) -> dict[str, int]:
        """The number of faults so far, by kind."""
        counts: dict[str, int] = requests.get(self._url, timeout=_TIMEOUT_SECONDS).json()["counts"]
        return counts
