"""`elastic up`: run the whole program on this machine."""

from __future__ import annotations

import os
import time
from collections import deque

import click

from app_tier.bundle import load_bundle
from cli import options
from cli.options import quiet
from cli.session import console, local_stack, print_plain, short_path, stop_on_signals
from core.errors import ElasticError
from core.settings import Settings
from core.stack_registry import RegisteredStack
from local_cloud.local_stack_registry import registered
from local_cloud.model_choice import choose_model
from local_cloud.stack import LocalStack
from web_tier.security.bind_address import check_addresses

# A controller that ends so often within so long has a fault that starting it again does not mend.
MAX_RESTARTS, RESTART_PERIOD_SECONDS = 5, 60.0


@click.command()
@options.boot_seconds
@options.max_size
@options.profile
@options.model
@click.option(
    "--port", type=options.PORT, default=8080, show_default=True, help="The page's port; a free one if it is in use."
)
@click.option(
    "--host",
    default="127.0.0.1",
    show_default=True,
    help="The address on which the page is served.  One that other machines reach, such as 0.0.0.0, needs "
    "EIC_AUTHENTICATION=tokens.",
)
@click.option(
    "--cloud-port", type=options.PORT, default=4566, show_default=True, help="The embedded cloud's port; likewise."
)
@click.option(
    "--controller/--no-controller", default=True, help="Whether to start the controller; see `elastic controller`."
)
@quiet
def up(
    boot_seconds: float,
    max_size: int | None,
    model: str | None,
    port: int,
    host: str,
    cloud_port: int,
    controller: bool,
) -> None:
    """Run the whole program on this machine, until Ctrl-C.

    Starts the embedded cloud, the web tier and the controller, and prints the page's address for a browser.
    """
    check_addresses([(host, port)], Settings.from_environment(os.environ).authentication)
    # Before the signal handlers are set, so that Ctrl-C ends a download, too.
    settings = {"model_bundle": str(load_bundle(choose_model(os.environ, print_plain, model)).folder)}
    stop = stop_on_signals()
    with (
        local_stack(
            max_size,
            settings,
            boot_seconds=boot_seconds,
            web_port=port,
            web_host=host,
            cloud_port=cloud_port,
            controller=controller,
            log_by_port=True,
        ) as stack,
        registered(stack) as entry,
    ):
        _print_addresses(stack, entry, controller)
        restarts: deque[float] = deque(maxlen=MAX_RESTARTS)
        while not stop.wait(0.5):
            _watch(stack, restarts)
        console.print("\nStopping …")


def _watch(stack: LocalStack, restarts: deque[float]) -> None:
    """Starts the controller again if it has ended.

    Raises:
        ElasticError: another process has ended, or the controller ends again and again.
    """
    name = stack.failed_process()
    if name is None:
        return
    log = stack.log_directory / f"{name}.log"
    now = time.monotonic()
    if name != "controller" or (len(restarts) == MAX_RESTARTS and now - restarts[0] < RESTART_PERIOD_SECONDS):
        raise ElasticError(f"the process {name} has ended; see {log}")
    restarts.append(now)
    print_plain(f"The controller has ended; it is started again.  Its log: {short_path(log)}")
    stack.start_controller()


def _print_addresses(stack: LocalStack, entry: RegisteredStack, controller: bool) -> None:
    settings = stack.settings
    waiting = (
        ""
        if controller
        else "No controller runs yet; start it:  .venv/bin/elastic controller  or  python -m controller\n\n"
    )
    console.print(
        f"\n  Page        {stack.web_url}\n"
        f"  Cloud       {stack.endpoint_url}\n"
        f"  Logs        {short_path(stack.log_directory)}\n\n"
        f"{waiting}"
        f"Variables for any process, also for the aws command:\n"
        f'  eval "$(.venv/bin/elastic --stack {entry.port} stacks --env)"\n'
        f"  aws s3 ls --recursive s3://{settings.output_bucket}\n"
        f"  aws ec2 describe-instances --query 'Reservations[].Instances[].[InstanceId,State.Name]'\n"
        f"Results as they are stored:\n"
        f"  .venv/bin/elastic watch\n\n"
        f"Ctrl-C stops everything.",
        highlight=False,
        soft_wrap=True,
    )
