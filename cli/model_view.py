"""`elastic model view`: make a bundle that answers with some of a model's labels."""

from __future__ import annotations

from pathlib import Path

import click

from app_tier.bundle import load_bundle
from evaluation.label_view import VIEWS, write_view


@click.command("view")
@click.argument("bundle", type=click.Path(path_type=Path, exists=True, file_okay=False))
@click.option("--labels", type=click.Choice(tuple(VIEWS)), required=True, help="The labels that are kept.")
@click.option("--to", "folder", type=click.Path(path_type=Path), required=True, help="The new bundle's folder.")
@click.option("--version", default="1", show_default=True, help="The new bundle's version.")
def view(bundle: Path, labels: str, folder: Path, version: str) -> None:
    """Make a bundle that answers with some of a model's labels.

    Their probabilities are renormalized; where they have less than half of the probability, the answer is another
    label, such as 'not a dog'.  BUNDLE needs synsets, as those of `elastic model build` have.
    """
    made = write_view(load_bundle(bundle), VIEWS[labels], folder, version)
    click.echo(f"{folder}: {made.full_name}, {len(made.labels):,} labels")
