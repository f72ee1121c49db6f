"""`elastic bench …`: one command per benchmark, each defined in the module that it names."""

from __future__ import annotations

import click

from cli.lazy_group import LazyCommand, LazyGroup

BENCHMARKS = {
    "page": LazyCommand(
        "benchmarks.page:command",
        "A large batch through Chromium: answers, longest task, memory.",
    ),
    "rollout": LazyCommand(
        "benchmarks.rollout:command", "Change the model under load: lost or doubled answers, the wait."
    ),
    "scale": LazyCommand("benchmarks.scale:command", "The whole local stack: speed by workers and backlog."),
    "web": LazyCommand("benchmarks.web:command", "The web tier: uploads against a bare handler, viewers, memory."),
    "worker": LazyCommand("benchmarks.worker:command", "One worker: speed, cold start and memory."),
}


@click.group(cls=LazyGroup, lazy=BENCHMARKS)
def bench() -> None:
    """Measure speed, start and memory on this machine."""
