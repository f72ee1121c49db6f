"""The stack's template as the emulator can take it.  Each change is one function, whose docstring says why.

`infra/stack.yaml` itself is written for AWS and for nothing else.
"""

from __future__ import annotations

import copy
import json
from collections.abc import Callable
from typing import Any

from cfnlint.decode.cfn_yaml import loads

from infra.template import PATH

Template = dict[str, Any]


def original() -> Template:
    """The template with its short forms (``!Ref`` …) written out."""
    plain: Template = json.loads(json.dumps(loads(PATH.read_text("utf-8"))))
    return plain


def emulated() -> str:
    """The template for the emulator, JSON."""
    template = original()
    for change in CHANGES:
        change(template)
    return json.dumps(template)


def differences() -> dict[str, set[str]]:
    """For each change, the resources and parameters that it touches."""
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
    """moto looks a default up in Systems Manager even where a value is given, and refuses names that begin with
    /aws.
    """
    template["Parameters"]["BaseImageId"] = {"Type": "AWS::EC2::Image::Id"}


def balancer_name(template: Template) -> None:
    """moto's load balancer has no attribute ``LoadBalancerFullName``, which CloudWatch's dimensions take."""
    told = json.dumps(template["Resources"]).replace("Balancer.LoadBalancerFullName", "Balancer.LoadBalancerName")
    told = told.replace('["Balancer", "LoadBalancerFullName"]', '["Balancer", "LoadBalancerName"]')
    template["Resources"] = json.loads(told)


CHANGES: tuple[Callable[[Template], None], ...] = (image_parameter, balancer_name)
