"""Command-line options that several commands share."""

from __future__ import annotations

import os
import re

import click

from cli.session import set_quiet
from core.profiles import PROFILES

# 0: any that is free.
PORT = click.IntRange(0, 65_535)
_SECONDS_OF = {"s": 1, "m": 60, "h": 3600, "d": 86_400}


class Duration(click.ParamType[float]):
    """A time such as ``90s``, ``30m``, ``2.5h`` or ``1d``; in seconds."""

    name = "duration"

    def convert(self, value: object, parameter: click.Parameter | None, context: click.Context | None) -> float:
        """Convert the text of an option.

        Raises:
            click.BadParameter: it is not such a time, or 0.
        """
        if isinstance(value, float):
            return value
        found = re.fullmatch(r"(\d+(?:\.\d+)?)([smhd])", str(value).strip().lower())
        seconds = float(found[1]) * _SECONDS_OF[found[2]] if found is not None else 0.0
        if not seconds:
            self.fail(f"{value!r} is not a time such as 90s, 30m, 2h or 1d", parameter, context)
        return seconds


DURATION = Duration()

boot_seconds = click.option(
    "--boot-seconds",
    type=click.FloatRange(min=0),
    default=0.0,
    show_default=True,
    help="Simulated boot time of an instance.",
)
model = click.option(
    "--model",
    metavar="PATH|NAME",
    help="The model bundle: its folder, or the name of a shipped one or of one that `elastic model build` has built.",
)
max_size = click.option("--max-size", type=click.IntRange(min=1), help="Maximum number of instances.  [default: 15]")


quiet = click.option(
    "--quiet",
    is_flag=True,
    expose_value=False,
    callback=lambda context, parameter, value: set_quiet(value),
    help="Print results and errors, but no progress.",
)


def _set_profile(_context: click.Context, _parameter: click.Parameter, profile: str | None) -> None:
    if profile is not None:
        os.environ["EIC_PROFILE"] = profile


profile = click.option(
    "--profile",
    type=click.Choice(tuple(PROFILES)),
    expose_value=False,
    callback=_set_profile,
    help="Scaling profile, as EIC_PROFILE sets it.  [default: balanced, adapted to one machine]",
)
