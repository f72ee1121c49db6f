"""The command line, `elastic …`: one module per command; no other package imports this one."""

from __future__ import annotations

import importlib.metadata
import os

import click

from cli.lazy_group import LazyCommand, LazyGroup

# Each text is the first sentence of the command's own help; a test compares them.
COMMANDS = {
    "stacks": LazyCommand("cli.stacks:stacks", "List the local stacks that run on this machine."),
    "up": LazyCommand("cli.up:up", "Run the whole program on this machine, until Ctrl-C."),
    "demo": LazyCommand("cli.demo:demo", "Classify photos on a temporary local stack and show the results."),
    "classify": LazyCommand("cli.classify:classify", "Classify files and folders through a running web tier."),
    "bulk": LazyCommand("cli.bulk:bulk", "Label the photos that are in S3 already, where they are."),
    "watch": LazyCommand("cli.watch:watch", "Print each `image, label` line as it is stored, until Ctrl-C."),
    "controller": LazyCommand("cli.controller:controller", "Run the controller in the foreground, until Ctrl-C."),
    "fleet": LazyCommand("cli.fleet:fleet", "Show the fleet live: backlog, history, instances, scaling decisions."),
    "dlq": LazyCommand("cli.dlq:dlq", "List, redrive or delete the jobs in the dead-letter queue."),
    "model": LazyCommand("cli.model:model", "Manage model bundles: build, list, add, promote, roll back, compare."),
    "rollout": LazyCommand("cli.rollout:rollout", "Manage rolling updates of the fleet: start, status, abort."),
    "token": LazyCommand("cli.token:token", "Manage access tokens for the web tier: create, list, revoke."),
    "data": LazyCommand("cli.data:data", "Look at a data set before training on it."),
    "train": LazyCommand("cli.train:train", "Train a classifier on your own images."),
    "tune": LazyCommand("cli.tune:tune", "Search hyperparameters by short trainings."),
    "distil": LazyCommand("cli.distil:distil", "Train a network on a teacher's answers to photos without labels."),
    "evaluate": LazyCommand("cli.evaluate:evaluate", "Measure the quality of model bundles on labelled photos."),
    "compare": LazyCommand("cli.compare:compare", "Compare training runs and model bundles on one data set."),
    "export": LazyCommand("cli.export:export", "Export a training run as a model bundle, quantized and checked."),
    "image": LazyCommand("cli.image:image", "Manage the app tier's machine images on AWS: build, list, prune."),
    "doctor": LazyCommand("cli.doctor:doctor", "Look for what would stop a deployment, before anything is made."),
    "deploy": LazyCommand("cli.deploy:deploy", "Create or update the stack on AWS."),
    "status": LazyCommand("cli.deploy:status", "Show the stack on AWS: its state, outputs, alarms and fleet."),
    "destroy": LazyCommand("cli.deploy:destroy", "Delete the stack on AWS, with all photos and results."),
    "costs": LazyCommand("cli.costs:costs", "Estimate what a number of images would cost on AWS."),
    "bench": LazyCommand("cli.bench:bench", "Measure speed, startup time and memory on this machine."),
    "simulate": LazyCommand("cli.simulate:simulate", "Replay arrivals through the scaling policy and through others."),
    "chaos": LazyCommand(
        "cli.chaos:chaos",
        "Test that no photo is lost under faults, or that a long run does not grow.",
    ),
    "screenshots": LazyCommand("cli.screenshots:screenshots", "Take the documentation's screenshots of the pages."),
}


@click.group(cls=LazyGroup, lazy=COMMANDS, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(importlib.metadata.version("elastic-image-classifier"), prog_name="elastic")
@click.option(
    "--stack", type=click.IntRange(1, 65_535), metavar="PORT", help="Join the local stack at this port, if several run."
)
@click.option("--aws", is_flag=True, help="Use AWS, also if a local stack runs.")
def main(stack: int | None, aws: bool) -> None:
    """Elastic Image Classifier: upload photos, and a fleet of workers labels them.

    Start with `elastic demo`, or with `elastic up` and a browser.  Settings are environment variables named EIC_…;
    docs/reference/settings.md lists them.
    """
    # As settings, so that processes that a command starts see them, too.
    if stack is not None:
        os.environ["EIC_LOCAL_STACK"] = str(stack)
    if aws:
        os.environ["EIC_CLOUD"] = "aws"
