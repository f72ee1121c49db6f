"""Adapt the stack's templates to the emulator.  Each change is one function, whose docstring has the reason.

`infra/stack.yaml` and `infra/simple.yaml` themselves are written for AWS only.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable

from infra.template import PATH, Template, parse, simple


def original(text: str = "") -> Template:
    """The stack's template with its short forms (``!Ref`` …) expanded.

    Args:
        text: YAML; by default the file's.
    """
    return parse(text or PATH.read_text("utf-8"))


def emulated() -> str:
    """The stack's template for the emulator, JSON."""
    return _changed(original(), CHANGES)


def emulated_simple() -> str:
    """The template of the simple deployment for the emulator, JSON."""
    return _changed(simple(), SIMPLE_CHANGES)


def _changed(template: Template, changes: tuple[Callable[[Template], None], ...]) -> str:
    for change in changes:
        change(template)
    return json.dumps(template)


def differences() -> dict[str, set[str]]:
    """The resources and parameters that each change affects."""
    return {**_differences(original(), CHANGES), **_differences(simple(), SIMPLE_CHANGES)}


def _differences(template: Template, changes: tuple[Callable[[Template], None], ...]) -> dict[str, set[str]]:
    found = {}
    for change in changes:
        before = copy.deepcopy(template)
        change(template)
        found[change.__name__] = {
            name
            for section in ("Parameters", "Resources", "Outputs", "Rules")
            for name in before.get(section, {}).keys() | template.get(section, {}).keys()
            if before.get(section, {}).get(name) != template.get(section, {}).get(name)
        }
    return found


def image_parameter(template: Template) -> None:
    """moto looks up a default in Systems Manager even if a value is given, and refuses names that begin with /aws."""
    template["Parameters"]["BaseImageId"] = {"Type": "AWS::EC2::Image::Id"}


def balancer_name(template: Template) -> None:
    """moto's load balancer has no attribute ``LoadBalancerFullName``, which CloudWatch's dimensions take."""
    text = json.dumps(template["Resources"]).replace("Balancer.LoadBalancerFullName", "Balancer.LoadBalancerName")
    text = text.replace('["Balancer", "LoadBalancerFullName"]', '["Balancer", "LoadBalancerName"]')
    template["Resources"] = json.loads(text)


def machine_image(template: Template) -> None:
    """moto's CloudFormation launches an instance by properties of its own only, not from a launch template."""
    template["Resources"]["Machine"]["Properties"]["ImageId"] = {"Ref": "BaseImageId"}


CHANGES: tuple[Callable[[Template], None], ...] = (image_parameter, balancer_name)
SIMPLE_CHANGES: tuple[Callable[[Template], None], ...] = (image_parameter, machine_image)
