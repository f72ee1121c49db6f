"""Profiles: named sets of settings for what one wants of scaling; ``EIC_PROFILE`` names one.

A named profile replaces defaults, those of the local stack included; a setting's own variable replaces the profile's
value.  docs/explanation/scaling.md says what each is for, and `elastic simulate --profile` what it costs.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

DEFAULT_PROFILE = "balanced"

PROFILES: Mapping[str, Mapping[str, Any]] = {
    # Cost and wait in proportion: within 1.25 times the least that the same wait can cost.
    "balanced": {
        "target_latency_seconds": 2.0,
        "boot_payback": 5.0,
        "scale_in_stabilization_seconds": 2.0,
        "purchase_option": "on-demand",
    },
    # All instances at once, whatever their boots cost: 15 for 100 images, and none seconds after the last answer.
    "fast": {
        "target_latency_seconds": 0.1,
        "boot_payback": 0.0,
        "scale_in_stabilization_seconds": 2.0,
        "purchase_option": "on-demand",
    },
    # Few instances that are seldom idle, on spot capacity where there is some: for work that may take its time.
    "thrifty": {
        "target_latency_seconds": 60.0,
        "boot_payback": 20.0,
        "scale_in_stabilization_seconds": 2.0,
        "purchase_option": "spot",
    },
}
