"""Adapt the stack's template to the emulator.  Each change is one function, whose docstring has the reason.

`infra/stack.yaml` itself is written for AWS only.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from typing import Any

from infra.template import PATH

Template = dict[str, Any]


def original(text: str = "") -> Template:
    """The template with its short forms (``!Ref`` …) expanded.

    Args:
        text: YAML; by default the file's.
    """
    # Here, because it brings sympy along: each of pytest's processes imports each test module.
    from cfnlint.decode.cfn_yaml import loads

    plain: Template = json.loads(json.dumps(loads(text or PATH.read_text("utf-8"))))
    return plain


def emulated() -> str:
    """The template for the emulator, JSON."""
    template = original()
    for change in CHANGES:
        change(template)
    return json.dumps(template)


def differences() -> dict[str, set[str]]:
    """The resources and parameters that each change affects."""
    found, template = {}, original()
    for change in CHANGES:
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


CHANGES: tuple[Callable[[Template], None], ...] = (image_parameter, balancer_name)
