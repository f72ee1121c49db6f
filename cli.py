"""`elastic …`: every command of the program.  Only names, options and wiring; the work is done elsewhere."""

from __future__ import annotations

import contextlib
import importlib
import importlib.metadata
import itertools
import json
import os
import secrets
import signal
import sys
import tempfile
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console
from rich.text import Text

from core.errors import ElasticError
from core.profiles import PROFILES
from core.settings import Settings

if TYPE_CHECKING:
    from aws.clients import Clients
    from aws.dead_letters import DeadLetters
    from local_cloud.stack import LocalStack

console = Console()


class _Commands(click.Group):
    """A group whose commands report our own errors in one sentence instead of a stack trace."""

    def invoke(self, context: click.Context) -> Any:
        try:
            return super().invoke(context)
        except ElasticError as error:
            raise click.ClickException(str(error)) from error


class _Benchmarks(_Commands):
    """One command for each of these modules of `benchmarks`, loaded when it is asked for."""

    modules = ("page", "rollout", "scale", "web", "worker")

    def list_commands(self, context: click.Context) -> list[str]:
        return list(self.modules)

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        if name not in self.modules:
            return None
        command: click.Command = importlib.import_module(f"benchmarks.{name}").command
        return command


class _Later(_Commands):
    """The commands of the group `name` in ``commands.<name>``, loaded when one is asked for."""

    def _group(self) -> click.Group:
        group: click.Group = getattr(importlib.import_module(f"commands.{self.name}"), str(self.name))
        return group

    def list_commands(self, context: click.Context) -> list[str]:
        return self._group().list_commands(context)

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        return self._group().get_command(context, name)


class _Model(_Later):
    """The commands on model bundles; `build` is the training room's."""

    def list_commands(self, context: click.Context) -> list[str]:
        return [*super().list_commands(context), "build"]

    def get_command(self, context: click.Context, name: str) -> click.Command | None:
        if name != "build":
            return super().get_command(context, name)
        command: click.Command = importlib.import_module("training.build").build
        return command


@click.group(cls=_Commands, context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(importlib.metadata.version("elastic-image-classifier"), prog_name="elastic")
def main() -> None:
    """Elastic Image Classifier: upload photos, let a fleet of workers label them.

    Start with `elastic demo`, or with `elastic up` and a browser.  Settings are environment variables EIC_…;
    docs/reference/settings.md lists them.
    """


# For commands that are loaded when one is asked for: they read their options themselves, `--help` included.
_LATER: dict[str, Any] = {
    "context_settings": {"ignore_unknown_options": True, "allow_interspersed_args": False},
    "add_help_option": False,
}
_boot_seconds = click.option(
    "--boot-seconds",
    type=click.FloatRange(min=0),
    default=0.0,
    show_default=True,
    help="Simulated boot time of an instance.",
)
_max_size = click.option("--max-size", type=click.IntRange(min=1), help="Most instances at a time.  [default: 15]")


def _name_profile(_context: click.Context, _parameter: click.Parameter, profile: str | None) -> None:
    if profile is not None:
        os.environ["EIC_PROFILE"] = profile


_profile = click.option(
    "--profile",
    type=click.Choice(tuple(PROFILES)),
    expose_value=False,
    callback=_name_profile,
    help="How eagerly to scale, as EIC_PROFILE says it.  [default: balanced, made for one machine]",
)


@main.command()
@_boot_seconds
@_max_size
@_profile
@click.option("--port", type=int, default=8080, show_default=True, help="The page's port; a free one if it is taken.")
@click.option("--cloud-port", type=int, default=4566, show_default=True, help="The emulated cloud's port; likewise.")
@click.option("--controller/--no-controller", default=True, help="Without: start `elastic controller` yourself.")
def up(boot_seconds: float, max_size: int | None, port: int, cloud_port: int, controller: bool) -> None:
    """Run everything on this machine for a browser, until Ctrl-C."""
    from commands.imagenet import choose_model
    from commands.session import announced

    # Before signals are handled: Ctrl-C ends a download, too.
    settings = {"model_bundle": str(choose_model(os.environ, _say))}
    stop = _stop_on_signals()
    with (
        _local_stack(
            max_size, settings, boot_seconds=boot_seconds, web_port=port, cloud_port=cloud_port, controller=controller
        ) as stack,
        announced(stack),
    ):
        _print_addresses(stack)
        while not stop.wait(0.5):
            if name := stack.failed_process():
                raise ElasticError(f"{name} has ended; see {stack.log_directory / name}.log")
        console.print("\nStopping …")


@main.command()
@click.option(
    "--images", type=click.Path(path_type=Path), multiple=True, help="Folder or file to classify; may be given again."
)
@click.option("--json", "json_path", type=click.Path(path_type=Path, dir_okay=False), help="Write a report there.")
@_boot_seconds
@_max_size
@_profile
def demo(images: tuple[Path, ...], json_path: Path | None, boot_seconds: float, max_size: int | None) -> None:
    """The whole job, unattended: start everything, classify photos, show the answers, stop everything.

    Without --images it takes photos that installed packages carry.  Ends with status 0 only if every photo was
    answered and the fleet is back at 0.
    """
    from commands.demo import classify_folder, write_report
    from commands.imagenet import choose_model, label_count
    from commands.photos import collect, from_packages

    _stop_on_signals(raising=True)
    photos, others = collect(images) if images else (from_packages(), [])
    if others:
        console.print(
            f"Left out, not images by their names: {', '.join(path.name for path in others[:5])}"
            f"{' …' if len(others) > 5 else ''}",
            highlight=False,
        )
    bundle = choose_model(os.environ, _say)
    if not images:
        _say(
            f"These are photos that installed packages carry.  The model {bundle.name} knows {label_count(bundle)} "
            "labels and will be unsure of what it does not know.  Name your own folder with --images."
        )
    # So few photos would wake one instance; a tighter target lets even them show how the fleet grows.
    settings: dict[str, Any] = {} if images else {"target_latency_seconds": 0.2}
    # It asks only itself.
    settings["authentication"] = "off"
    settings["model_bundle"] = str(bundle)
    with _local_stack(max_size, settings, boot_seconds=boot_seconds) as stack:
        console.print(f"Running at {stack.web_url}; logs in {_short(stack.log_directory)}", highlight=False)
        report = classify_folder(stack, _clients(stack), photos, console)
    if json_path is not None:
        write_report(report, json_path)
    answered = report["classified"] + report["failed"]
    console.print(
        f"{answered} of {report['images']} answered ({report['failed']} of them: cannot be classified) in "
        f"{report['seconds']:.1f} s, {report['images_per_second']} images/s, at most {report['peak_instances']} "
        f"instances, {report['final_instances']} now.",
        highlight=False,
        soft_wrap=True,
    )
    if answered != report["images"] or report["final_instances"]:
        sys.exit(1)


@main.command()
@click.argument("paths", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option("--url", help="The web tier's address.  [default: the local stack's]")
@click.option("--token", envvar="ELASTIC_TOKEN", default="", help="An access token; better in ELASTIC_TOKEN.")
def classify(paths: tuple[Path, ...], url: str | None, token: str) -> None:
    """Classify files and folders through a running web tier; print `image, label` lines."""
    from commands.client import ApiClient
    from commands.demo import NO_ANSWER_TIMEOUT_SECONDS
    from commands.photos import collect
    from commands.session import join_local_stack
    from core.jobs import result_line

    address = url or join_local_stack()
    if address is None:
        raise ElasticError("no local stack is running; start one with `elastic up` or give --url")
    photos, _ = collect(paths)
    api = ApiClient(address, token)
    batch_id = api.create_batch()
    problems = api.upload(batch_id, photos, lambda count: None)
    for result in api.follow(batch_id, len(photos) - len(problems), NO_ANSWER_TIMEOUT_SECONDS):
        answer = result["label"] if result["error"] is None else f"error: {result['error']['sentence']}"
        click.echo(result_line(result["name"], answer))
    for problem in problems:
        click.echo(f"not stored: {problem}", err=True)
    sys.exit(1 if problems else 0)


@main.command()
@click.option("--all", "everything", is_flag=True, help="Also what is in the bucket already.")
def watch(everything: bool) -> None:
    """Follow the output bucket: print each `image, label` as it lands, until Ctrl-C."""
    from aws.buckets import ResultStore
    from aws.clients import Clients
    from commands import watch as command

    settings = _join()
    stop = _stop_on_signals()
    command.watch(ResultStore(Clients()["s3"], settings.output_bucket), click.echo, stop, from_now=not everything)


@main.command()
@click.option("--dry-run", is_flag=True, help="Decide and explain, but launch and terminate nothing.")
def controller(dry_run: bool) -> None:
    """Scale the fleet by the backlog, until Ctrl-C (the same as `python -m controller`)."""
    _join()
    from controller.__main__ import main as run

    sys.exit(run(["--dry-run"] if dry_run else []))


@main.command()
@click.option("--once", is_flag=True, help="Show it once and end.")
@click.option("--json", "as_json", is_flag=True, help="Print the status object as JSON, once.")
def fleet(once: bool, as_json: bool) -> None:
    """Show the fleet live, as the controller tells it: numbers, history, instances, reasons; until Ctrl-C."""
    from aws.clients import Clients
    from aws.state import StateStore
    from commands import fleet as command

    settings = _join()
    store = StateStore(Clients()["s3"], settings.state_bucket)
    if as_json:
        click.echo(command.read_status(store).encode())
    elif once or not console.is_terminal:
        console.print(command.render(command.read_status(store), time.time()), highlight=False)
    else:
        command.follow(store, console, _stop_on_signals())


@main.command()
@click.option("--images", type=click.Path(path_type=Path), multiple=True, help="Photos to use instead of made ones.")
@click.option("--photos", "count", type=click.IntRange(min=1), default=500, show_default=True, help="How many photos.")
@click.option("--seed", type=int, help="Decides about kills and faults.  [default: a random one]")
@click.option("--kills", type=click.IntRange(min=0), default=20, show_default=True, help="Workers to kill.")
@click.option("--faults", type=click.IntRange(min=0), default=200, show_default=True, help="Fewest faults to count.")
@click.option("--timeout", "timeout_seconds", type=float, default=240.0, show_default=True, help="Bound, seconds.")
@click.option(
    "--json", "json_path", type=click.Path(path_type=Path, dir_okay=False), help="Write the report there, too."
)
def chaos(
    images: tuple[Path, ...],
    count: int,
    seed: int | None,
    kills: int,
    faults: int,
    timeout_seconds: float,
    json_path: Path | None,
) -> None:
    """Prove that nothing is lost: break the stack while photos flow through it, then check the buckets.

    Kills workers, restarts the controller, throttles, fails and delays the cloud and delivers jobs twice.  Prints
    JSON; ends with status 0 only if nothing was lost or doubled, everything is empty again, and as many kills and
    faults came as were asked for.
    """
    from commands.chaos import run_chaos
    from commands.photos import collect, make_crops

    _stop_on_signals(raising=True)
    errors = Console(stderr=True)
    seed = secrets.randbelow(1_000_000) if seed is None else seed
    errors.print(f"Seed {seed}.", highlight=False)
    with tempfile.TemporaryDirectory() as folder:
        found = collect(images)[0] if images else make_crops(count, seed, Path(folder))
        report = run_chaos(
            list(itertools.islice(itertools.cycle(found), count)),
            seed=seed,
            kills=kills,
            faults=faults,
            timeout_seconds=timeout_seconds,
            connect=_clients,
            console=errors,
        )
    for problem in report.problems:
        errors.print(problem, style="red", markup=False, highlight=False)
    text = json.dumps(report.fields())
    click.echo(text)
    if json_path is not None:
        json_path.write_text(text + "\n", "utf-8")
    sys.exit(1 if report.problems else 0)


@main.command()
@click.option(
    "--trace",
    "traces",
    metavar="NAME|FILE.csv",
    multiple=True,
    help="A built-in trace (burst, by-hand, curve, crowd, drip, on-off, internet), or a CSV file with a header and the "
    "columns seconds and, if wanted, images; may be given again.  [default: all built-in ones]",
)
@click.option("--profile", help="balanced, fast or thrifty.  [default: EIC_PROFILE, else balanced]")
@click.option("--seed", type=click.IntRange(min=0), default=1, show_default=True, help="Decides about all chance.")
@click.option("--json", "json_path", type=click.Path(path_type=Path, dir_okay=False), help="Write all figures there.")
@click.option("--picture", type=click.Path(path_type=Path, dir_okay=False), help="Draw them there: .png or .svg.")
def simulate(
    traces: tuple[str, ...], profile: str | None, seed: int, json_path: Path | None, picture: Path | None
) -> None:
    """Replay arrivals through the real scaling policy, and compare its cost and waits with others'.

    The others: min(visible messages, maximum), AWS's target tracking on the backlog per instance, KEDA's SQS scaler
    at its defaults, and a clairvoyant that pays the least for the wait that ours reached.  Takes the EIC_… settings
    of the policy, so that other values can be tried.  docs/reference/simulation.md says what is assumed.
    """
    from commands import simulate as command

    environment = {**os.environ, **({} if profile is None else {"EIC_PROFILE": profile})}
    chosen = command.find_traces(traces)
    comparisons = command.run(chosen, Settings.from_environment(environment), seed, Console(stderr=True))
    console.print(command.tables(comparisons))
    console.print(command.summary(comparisons), highlight=False, soft_wrap=True)
    if json_path is not None:
        command.write_json(comparisons, json_path)
    if picture is not None:
        command.write_picture(comparisons, picture)


@main.command()
@click.option(
    "--out",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("docs/images"),
    show_default=True,
    help="Folder for the pictures.",
)
def screenshots(out: Path) -> None:
    """Make the documentation's pictures of the pages: a local stack, real photos, Chromium."""
    from commands.screenshots import take

    _stop_on_signals(raising=True)
    # Workers that take a while to boot, so that warming up can be seen; few, so that they take a while to finish.
    with _local_stack(3, {"target_latency_seconds": 10.0}, boot_seconds=30.0) as stack:
        take(stack.web_url, out, lambda path: console.print(f"{path}, {path.stat().st_size // 1000} KB"))


@main.group(cls=_Benchmarks)
def bench() -> None:
    """Measure speed, start and memory on this machine."""


@main.group(cls=_Later)
def image() -> None:
    """The app tier's machine image on AWS: build, list, prune."""


@main.group(cls=_Model)
def model() -> None:
    """Model bundles: build, list, add, promote, roll back, compare a candidate."""


@main.group(cls=_Later)
def rollout() -> None:
    """Rolling updates of the fleet: start, status, abort."""


@main.group(cls=_Later)
def token() -> None:
    """Access tokens for the web tier: create, list, revoke."""


@main.command(**_LATER)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def deploy(arguments: tuple[str, ...]) -> None:
    """Create or update the stack on AWS."""
    _run_later("deploy", arguments)


@main.command(**_LATER)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def status(arguments: tuple[str, ...]) -> None:
    """Show the stack on AWS: its state, addresses, alarms and fleet."""
    _run_later("status", arguments)


@main.command(**_LATER)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def destroy(arguments: tuple[str, ...]) -> None:
    """Remove the stack from AWS, and everything that costs."""
    _run_later("destroy", arguments)


@main.command(**_LATER)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def train(arguments: tuple[str, ...]) -> None:
    """Train a classifier on your own images."""
    _run_later("train", arguments, "training.command")


@main.command(**_LATER)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def evaluate(arguments: tuple[str, ...]) -> None:
    """Measure how good model bundles are on labelled photos."""
    _run_later("evaluate", arguments, "evaluation.command")


@main.command(**_LATER)
@click.argument("arguments", nargs=-1, type=click.UNPROCESSED)
def export(arguments: tuple[str, ...]) -> None:
    """Make a model bundle of a training run, quantized and checked."""
    _run_later("export", arguments, "training.export_command")


def _run_later(name: str, arguments: tuple[str, ...], module: str = "commands.deploy") -> None:
    """Runs a command of `module`, loaded now, which takes its options itself."""
    command: click.Command = getattr(importlib.import_module(module), name)
    command.main(args=list(arguments), prog_name=f"elastic {name}", standalone_mode=False)


@main.group()
def dlq() -> None:
    """The dead-letter queue: jobs that failed too often."""


@dlq.command("list")
@click.option("--limit", type=click.IntRange(min=1), default=100, show_default=True, help="Show at most so many.")
def dlq_list(limit: int) -> None:
    """Show dead letters; they stay where they are."""
    from rich.table import Table

    letters = _dead_letters()
    found = letters.peek(limit)
    if not found:
        click.echo("No dead letters.")
        return
    table = Table("image", "batch", "key", title=f"{letters.count()} dead letters", title_justify="left")
    for letter in found:
        row = (letter.job.name, letter.job.batch_id, letter.job.key) if letter.job else ("(not a job)", "", "")
        table.add_row(*(Text(text) for text in row))
    console.print(table)


@dlq.command("redrive")
@click.option("--limit", type=click.IntRange(min=1), default=10_000, show_default=True, help="Redrive at most so many.")
def dlq_redrive(limit: int) -> None:
    """Send dead letters back to the job queue, to be tried again."""
    click.echo(f"{_dead_letters().redrive(limit)} jobs sent back to the job queue.")


def _dead_letters() -> DeadLetters:
    from aws.clients import Clients
    from aws.dead_letters import DeadLetters
    from aws.queue import JobQueue

    settings = _join()
    client = Clients()["sqs"]
    return DeadLetters(JobQueue(client, settings.dead_letter_queue_name), JobQueue(client, settings.queue_name))


def _join() -> Settings:
    """The settings of the local stack, if one runs and the environment names no other cloud."""
    from commands.session import join_local_stack

    if join_local_stack() is not None:
        click.echo(f"Joining the local stack at {os.environ['AWS_ENDPOINT_URL']}.", err=True)
    return Settings.from_environment(os.environ)


@contextlib.contextmanager
def _local_stack(max_size: int | None, settings: dict[str, Any] | None = None, **options: Any) -> Iterator[LocalStack]:
    from local_cloud.stack import LocalStack

    started = time.monotonic()
    limit = {} if max_size is None else {"max_size": max_size}
    stack = LocalStack({**(settings or {}), **limit}, **options)
    with console.status("Starting the embedded cloud, the web tier and the controller …"):
        stack.__enter__()
    try:
        console.print(f"Started in {time.monotonic() - started:.1f} s.", highlight=False)
        yield stack
    finally:
        stack.stop()


def _clients(stack: LocalStack) -> Clients:
    from aws.clients import Clients

    os.environ.update({name: value for name, value in stack.environment.items() if name.startswith("AWS_")})
    return Clients()


def _stop_on_signals(raising: bool = False) -> threading.Event:
    """An event that SIGINT and SIGTERM set; `raising`: they end the command as Ctrl-C does, with its clean-up."""
    stop = threading.Event()

    def handle(*_: object) -> None:
        stop.set()
        if raising:
            raise KeyboardInterrupt

    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, handle)
    return stop


def _print_addresses(stack: LocalStack) -> None:
    aws = f"aws --endpoint-url {stack.endpoint_url}"
    settings = stack.settings
    console.print(
        f"\n  Page        {stack.web_url}\n"
        f"  Cloud       {stack.endpoint_url}\n"
        f"  Logs        {_short(stack.log_directory)}\n\n"
        f"Watch the cloud (any credentials do):\n"
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


def _say(sentence: str) -> None:
    console.print(Text(sentence), soft_wrap=True)


def _short(path: Path) -> str:
    with contextlib.suppress(ValueError):
        return str(path.relative_to(Path.cwd()))
    return str(path)


if __name__ == "__main__":
    main()
