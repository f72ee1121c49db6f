"""`elastic bench …`: one command per benchmark, each defined in its module of `benchmarks`."""

from __future__ import annotations

import click

from cli.lazy_group import LazyCommand, LazyGroup

BENCHMARKS = {
    "bulk": LazyCommand("benchmarks.bulk:command", "Measure bulk runs: speed against the limit, and requests."),
    "course": LazyCommand(
        "benchmarks.course:command", "Play the grader of a course: exact counts, names, replies, queues and buckets."
    ),
    "groups": LazyCommand("benchmarks.label_groups:command", "Measure how often a group shown in doubt is right."),
    "page": LazyCommand("benchmarks.page:command", "Measure the page while a large batch goes through Chromium."),
    "rollout": LazyCommand("benchmarks.rollout:command", "Measure waits and lost results while the model changes."),
    "scale": LazyCommand("benchmarks.scale:command", "Measure the local stack's speed by workers and backlog."),
    "web": LazyCommand("benchmarks.web:command", "Measure the web tier: uploads, viewers and memory."),
    "web-limits": LazyCommand(
        "benchmarks.web_limits:command", "Measure the web tier under the worst input that it accepts."
    ),
    "worker": LazyCommand("benchmarks.worker:command", "Measure one worker: speed, cold start and memory."),
}


@click.group(cls=LazyGroup, lazy=BENCHMARKS)
def bench() -> None:
    """Measure speed, startup time and memory on this machine."""
