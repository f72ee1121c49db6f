"""The simulated cloud's parameters and their sources, and random draws of them.

* *Boot*, launch to first report: log-normal around 26 s.  C. Percival, "EC2 boot time benchmarking" (daemonology.net,
  2021-08-12): 1.54 + 4.90 + 17.18 + 5.64 = 29.3 s from the RunInstances call to an open port on c5.xlarge;
  brevdev/ec2-coldboot-research: 25.8 s on average from cold launch to SSH, 22.6-23.3 s between instance types;
  depot.dev (2024-05-23): 40 s before optimization.  A standard deviation of 15 % puts one boot in 700 above 40 s.
* *Counts*: SQS's are approximate and, by the API reference of GetQueueAttributes, may take a minute to become
  consistent.  Here they are a snapshot renewed after 2 s on average, and in one case of 300 after up to a minute.
* *Reports*: a worker publishes a heartbeat every 15 s, and within a second after it has become idle or busy or has been
  idle for a second, but only three of these early ones at once, and one more every 5 s; the controller lists them
  every 7.5 s, and at each decision while an instance boots or the policy expects a worker to become idle.
* *Capacity*: one launch in 50 fails (InsufficientInstanceCapacity) and may be tried again at the next decision.
* *Interruptions*: a spot instance is interrupted after 20 hours on average; its worker drains at the notice.
* *Service*: the setting's mean for one pipeline in each instance, log-normal with a standard deviation of 30 %.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

import numpy as np

BOOT_MEAN_SECONDS, BOOT_DEVIATION = 26.0, 0.15
SERVICE_DEVIATION = 0.3
COUNT_REFRESH_SECONDS, COUNT_FREEZE_SHARE, COUNT_FREEZE_SECONDS = 2.0, 1 / 300, 60.0
CAPACITY_ERROR_SHARE = 0.02
INTERRUPTION_MEAN_SECONDS = 20 * 3600.0
VISIBILITY_TIMEOUT_SECONDS = 30.0
DRAIN_SECONDS = 1.0
# A worker publishes its heartbeat at the first interval, and checks at the second whether one is due early.
HEARTBEAT_SECONDS, LOOK_SECONDS = 15.0, 1.0
EARLY_HEARTBEATS, EARLY_HEARTBEAT_SECONDS = 3.0, 5.0
# How often the controller lists the heartbeats while it expects no first one.
LISTING_SECONDS = 7.5
BOOTS_REMEMBERED = 20
# A launch within this time after a termination counts as thrashing.
THRASH_SECONDS = 60.0
GIVE_UP_SECONDS = 6 * 3600.0


@dataclass(frozen=True, slots=True)
class Disturbances:
    """The random effects, which tests can switch off: then all durations are their means, and nothing fails."""

    random: bool = True
    lag: bool = True
    errors: bool = True


ALL_DISTURBANCES = Disturbances()


def lognormal(rng: np.random.Generator, mean: float, deviation: float, size: int | None = None) -> Any:
    """Log-normal draws with a given mean and relative standard deviation."""
    sigma = math.sqrt(math.log(1 + deviation**2))
    return rng.lognormal(math.log(mean) - sigma**2 / 2, sigma, size)
