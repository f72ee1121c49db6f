"""`elastic watch`: follow the output bucket."""

from __future__ import annotations

import threading
from collections.abc import Callable

import click

from aws.buckets import ResultStore
from aws.clients import Clients
from cli.session import connect_to_cloud, stop_on_signals
from core.errors import ElasticError

POLL_SECONDS = 0.5


@click.command()
@click.option("--all", "everything", is_flag=True, help="Also print the results that are stored already.")
def watch(everything: bool) -> None:
    """Print each `image, label` line as it is stored, until Ctrl-C.

    Polls the output bucket of the running local stack, or of the cloud that the environment names.
    """
    settings = connect_to_cloud()
    stop = stop_on_signals()
    store = ResultStore(Clients()["s3"], settings.output_bucket)
    print_results(store, click.echo, stop, from_now=not everything)


def print_results(results: ResultStore, show: Callable[[str], None], stop: threading.Event, *, from_now: bool) -> None:
    """Calls `show` with each new ``image, label`` line, until `stop` is set.

    Args:
        from_now: leave out the results that are stored already.

    Raises:
        CloudError: the bucket cannot be listed.
    """
    # A photo that is dropped again under its key may get another answer, a job that is delivered again the same.
    seen = {stored.key: stored.etag for stored in results.list()} if from_now else dict[str, str]()
    while not stop.is_set():
        for stored in results.list():
            if seen.get(stored.key) != stored.etag:
                seen[stored.key] = stored.etag
                try:
                    show(results.line(stored.key))
                except ElasticError as error:
                    show(str(error))
        stop.wait(POLL_SECONDS)
