"""`elastic …`: the command line.  One module per command; nothing else imports this package."""

from __future__ import annotations

import importlib.metadata

import click

from cli.lazy_group import LazyCommand, LazyGroup

COMMANDS = {
    "up": LazyCommand("cli.up:up", "Run everything on this machine for a browser, until Ctrl-C."),
    "demo": LazyCommand(
        "cli.demo:demo", "Classify photos unattended: start everything, show the answers, stop everything."
    ),
    "classify": LazyCommand("cli.classify:classify", "Classify files and folders through a running web tier."),
    "watch": LazyCommand("cli.watch:watch", "Follow the output bucket: print each `image, label` as it is stored."),
    "controller": LazyCommand("cli.controller:controller", "Scale the fleet by the backlog, until Ctrl-C."),
    "fleet": LazyCommand("cli.fleet:fleet", "Show the fleet live: numbers, history, instances, reasons."),
    "dlq": LazyCommand("cli.dlq:dlq", "The dead-letter queue: jobs that failed too often."),
    "model": LazyCommand("cli.model:model", "Model bundles: build, list, add, promote, roll back, compare."),
    "rollout": LazyCommand("cli.rollout:rollout", "Rolling updates of the fleet: start, status, abort."),
    "token": LazyCommand("cli.token:token", "Access tokens for the web tier: create, list, revoke."),
    "train": LazyCommand("cli.train:train", "Train a classifier on your own images."),
    "evaluate": LazyCommand("cli.evaluate:evaluate", "Measure how good model bundles are on labelled photos."),
    "export": LazyCommand("cli.export:export", "Make a model bundle of a training run, quantized and checked."),
    "image": LazyCommand("cli.image:image", "The app tier's machine image on AWS: build, list, prune."),
    "deploy": LazyCommand("cli.deploy:deploy", "Create or update the stack on AWS."),
    "status": LazyCommand("cli.deploy:status", "Show the stack on AWS: its state, addresses, alarms and fleet."),
    "destroy": LazyCommand("cli.deploy:destroy", "Remove the stack from AWS, and everything that costs."),
    "bench": LazyCommand("cli.bench:bench", "Measure speed, start and memory on this machine."),
    "simulate": LazyCommand("cli.simulate:simulate", "Replay arrivals through the scaling policy and through others."),
    "chaos": LazyCommand("cli.chaos:chaos", "Prove that nothing is lost while everything is being broken."),
    "screenshots": LazyCommand("cli.screenshots:screenshots", "Make the documentation's pictures of the pages."),
}


@click.group(cls=LazyGroup, lazy=COMMANDS, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(importlib.metadata.version("elastic-image-classifier"), prog_name="elastic")
def main() -> None:
    """Elastic Image Classifier: upload photos, let a fleet of workers label them.

    Start with `elastic demo`, or with `elastic up` and a browser.  Settings are environment variables EIC_…;
    docs/reference/settings.md lists them.
    """
