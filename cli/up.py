"""`elastic up`: run the whole program on this machine."""

from __future__ import annotations

import os

import click

from cli import options
from cli.session import console, local_stack, print_plain, short_path, stop_on_signals
from core.errors import ElasticError
from local_cloud.local_stack_registry import registered
from local_cloud.model_choice import choose_model
from local_cloud.stack import LocalStack


@click.command()
@options.boot_seconds
@options.max_size
@options.profile
@click.option("--port", type=int, default=8080, show_default=True, help="The page's port; a free one if it is in use.")
@click.option("--cloud-port", type=int, default=4566, show_default=True, help="The embedded cloud's port; likewise.")
@click.option(
    "--controller/--no-controller", default=True, help="Whether to start the controller; see `elastic controller`."
)
def up(boot_seconds: float, max_size: int | None, port: int, cloud_port: int, controller: bool) -> None:
    """Run the whole program on this machine, until Ctrl-C.

    Starts the embedded cloud, the web tier and the controller, and prints the page's address for a browser.
    """
    # Before the signal handlers are set, so that Ctrl-C ends a download, too.
    settings = {"model_bundle": str(choose_model(os.environ, print_plain))}
    stop = stop_on_signals()
    with (
        local_stack(
            max_size, settings, boot_seconds=boot_seconds, web_port=port, cloud_port=cloud_port, controller=controller
        ) as stack,
        registered(stack),
    ):
        _print_addresses(stack)
        while not stop.wait(0.5):
            if name := stack.failed_process():
                raise ElasticError(f"the process {name} has ended; see {stack.log_directory / name}.log")
        console.print("\nStopping …")


def _print_addresses(stack: LocalStack) -> None:
    aws = f"aws --endpoint-url {stack.endpoint_url}"
    settings = stack.settings
    console.print(
        f"\n  Page        {stack.web_url}\n"
        f"  Cloud       {stack.endpoint_url}\n"
        f"  Logs        {short_path(stack.log_directory)}\n\n"
        f"Inspect the cloud (with any credentials):\n"
        f"  export AWS_ACCESS_KEY_ID=local AWS_SECRET_ACCESS_KEY=local AWS_DEFAULT_REGION=us-east-1\n"
        f"  {aws} s3 ls --recursive s3://{settings.output_bucket}\n"
        f"  {aws} sqs get-queue-attributes --attribute-names All \\\n"
        f"      --queue-url {stack.endpoint_url}/123456789012/{settings.queue_name}\n"
        f"  {aws} ec2 describe-instances --query 'Reservations[].Instances[].[InstanceId,State.Name]'\n"
        f"  .venv/bin/elastic watch\n\n"
        f"Ctrl-C stops everything.",
        highlight=False,
        soft_wrap=True,
    )
