"""What the simulated cloud is like: the figures, where they come from, and drawing from them.

* *Boot*, launch to first report: log-normal around 26 s.  C. Percival, "EC2 boot time benchmarking" (daemonology.net,
  2021-08-12): 1.54 + 4.90 + 17.18 + 5.64 = 29.3 s from the RunInstances call to an open port on c5.xlarge;
  brevdev/ec2-coldboot-research: 25.8 s on average from cold launch to SSH, 22.6-23.3 s between instance types;
  depot.dev (2024-05-23): 40 s before optimization.  A standard deviation of 15 % puts one boot in 700 above 40 s.
* *Counts*: SQS's are approximate and, says the API reference of GetQueueAttributes, may take a minute to become
  consistent.  Here they are a snapshot renewed after 2 s on average, and in one case of 300 after up to a minute.
* *Capacity*: one launch in 50 fails (InsufficientInstanceCapacity) and may be tried again at the next look.
* *Interruptions*: spot takes an instance on average after 20 hours; its worker drains at the two minutes' notice.
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
# A worker tells its count so often, and looks thrice as often whether it has become idle or busy.
HEARTBEAT_SECONDS, LOOK_SECONDS = 15.0, 5.0
BOOTS_REMEMBERED = 20
# An instance launched so soon after one was terminated: neither should have been.
THRASH_SECONDS = 60.0
GIVE_UP_SECONDS = 6 * 3600.0


@dataclass(frozen=True, slots=True)
class Weather:
    """What can be switched off for tests: then everything takes its mean and nothing fails."""

    random: bool = True
    lag: bool = True
    errors: bool = True


USUAL = Weather()


def lognormal(rng: np.random.Generator, mean: float, deviation: float, size: int | None = None) -> Any:
    """Log-normal draws by their own mean and relative standard deviation."""
    sigma = math.sqrt(math.log(1 + deviation**2))
    return rng.lognormal(math.log(mean) - sigma**2 / 2, sigma, size)
