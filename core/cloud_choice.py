"""Choose the cloud that a process talks to: a named endpoint, a local stack of this machine, or AWS.

AWS costs money and may hold other people's data, so no process reaches it by accident: only if its variables, a setting
or an option name it.
"""

from __future__ import annotations

import ipaddress
from collections.abc import Mapping, MutableMapping, Sequence
from dataclasses import dataclass
from urllib.parse import urlsplit

from core.errors import NotConnectedError
from core.settings import PREFIX, Settings
from core.stack_registry import RegisteredStack, registry_folder, running_stacks

ENDPOINT = "AWS_ENDPOINT_URL"
# Any of them names AWS; other variables, such as those of a proxy, do not.
_AWS_VARIABLES = ("AWS_PROFILE", "AWS_REGION", "AWS_DEFAULT_REGION", "AWS_ACCESS_KEY_ID")
_START = "`elastic up` starts a local stack"


@dataclass(frozen=True, slots=True)
class CloudChoice:
    """A cloud.

    Attributes:
        sentence: what was chosen, for a person; empty if the environment names an endpoint.
        stack: the local stack, if it is one.
    """

    sentence: str = ""
    stack: RegisteredStack | None = None


def choose_cloud(environment: Mapping[str, str], stacks: Sequence[RegisteredStack]) -> CloudChoice:
    """Chooses the cloud.

    In this order: the endpoint that the environment names; AWS, if the setting `cloud` is ``aws``; the local stack that
    the setting `local_stack` names; the only local stack; AWS, if the environment names a profile, a region or a key.

    Args:
        stacks: the local stacks that run.

    Raises:
        NotConnectedError: there is none, or there are several local stacks to choose from.
        SettingsError: a setting has a value that cannot be used.
    """
    settings = Settings.from_environment(environment)
    if environment.get(ENDPOINT):
        return CloudChoice()
    named = ", ".join(f"{name}={environment[name]}" for name in _AWS_VARIABLES[:3] if environment.get(name))
    if settings.cloud == "aws":
        return CloudChoice(f"Using AWS ({named or 'the default profile'}).")
    if port := settings.local_stack:
        for stack in stacks:
            if stack.port == port:
                return CloudChoice(f"Joining the local stack at {stack.web_url}.", stack)
        raise NotConnectedError(f"no local stack runs at port {port}; {_running(stacks)}")
    if len(stacks) > 1:
        raise NotConnectedError(
            f"{len(stacks)} local stacks run: choose one with `elastic --stack PORT …` or {PREFIX}LOCAL_STACK; "
            f"{_running(stacks)}"
        )
    if stacks:
        return CloudChoice(f"Joining the local stack at {stacks[0].web_url}.", stacks[0])
    if any(environment.get(name) for name in _AWS_VARIABLES):
        return CloudChoice(f"Using AWS ({named or 'AWS_ACCESS_KEY_ID'}).")
    raise NotConnectedError(
        f"there is no cloud to talk to: {_START}; `elastic --aws …`, AWS_PROFILE or AWS_REGION name AWS"
    )


def connect(environment: MutableMapping[str, str]) -> CloudChoice:
    """Chooses the cloud, and sets the variables of the chosen local stack in `environment`.

    Raises:
        NotConnectedError: see `choose_cloud`.
        SettingsError: see `choose_cloud`.
    """
    choice = choose_cloud(environment, running_stacks(registry_folder(environment)))
    if choice.stack is not None:
        environment.update(choice.stack.environment)
    return choice


def is_on_this_machine(environment: Mapping[str, str]) -> bool:
    """Whether the endpoint that the environment names is that of an embedded cloud: an address of loopback."""
    host = urlsplit(environment.get(ENDPOINT, "")).hostname or ""
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _running(stacks: Sequence[RegisteredStack]) -> str:
    if not stacks:
        return f"none runs; {_START}"
    return f"running: {', '.join(str(stack.port) for stack in stacks)}"
