"""`elastic distil`: train a network on a teacher's answers; checks the options before TensorFlow is imported."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path
from typing import Any

import click
from rich.console import Console

from cli.options import quiet
from cli.session import progress_console
from cli.training_run import new_folder, out_option, precision_option, read_resumable, seed_option, stoppable
from core.errors import TrainingError
from core.standard_error import silenced_stderr
from training.architectures import ARCHITECTURES
from training.config import OPTIMIZERS
from training.distillation.config import DistillationConfig, make_config
from training.distillation.photos import choose_photos
from training.distillation.teacher_folder import check_teacher
from training.requirement import require_tensorflow
from training.run_folder import RUN_FILE, read_run

CACHE = Path("var/distillation-cache")
_FOLDER = click.Path(path_type=Path, exists=True, file_okay=False)
_PHOTOS = click.Path(path_type=Path, exists=True)


@click.command()
@click.argument("photos", nargs=-1, type=_PHOTOS)
@click.option("--teacher", type=_FOLDER, help="The teacher: a model bundle's folder, or a training run's.")
@click.option(
    "--exclude",
    type=_PHOTOS,
    multiple=True,
    help="Photos that the student will be tested on; repeatable.  Photos that resemble them are left out.",
)
@out_option
@click.option(
    "--resume", type=click.Path(path_type=Path, file_okay=False), help="Resume the run in this folder; without PHOTOS."
)
@click.option(
    "--architecture",
    type=click.Choice(tuple(ARCHITECTURES)),
    default="resnet50",
    show_default=True,
    help="The student.",
)
@click.option(
    "--weights",
    metavar="none|FILE",
    help="The student's initial weights: random ones, or a .h5, .npz or .keras file.  [default: none]",
)
@click.option("--side", type=click.IntRange(8, 1024), help="Height and width of the student's input, pixels.")
@click.option(
    "--frozen-until",
    metavar="LAYER|none",
    help="Keep the layers up to this one as --weights has them, and cache their output; none: train all layers, on "
    "views made anew for each step, which needs a GPU.  [default: the architecture's, with --weights; else none]",
)
@click.option(
    "--views-per-photo",
    type=click.IntRange(min=1),
    default=3,
    show_default=True,
    help="Random crops of each photo to cache.",
)
@click.option("--epochs", type=click.IntRange(min=1), default=30, show_default=True, help="Epochs.")
@click.option(
    "--views-per-epoch",
    type=click.IntRange(min=1),
    default=32_768,
    show_default=True,
    help="Views in an epoch, after which a checkpoint is written: a few minutes on two cores.",
)
@click.option("--batch-size", type=click.IntRange(min=1), default=128, show_default=True, help="Views in a step.")
@click.option("--optimizer", type=click.Choice(OPTIMIZERS), default="adamw", show_default=True, help="Optimizer.")
@click.option(
    "--learning-rate",
    type=click.FloatRange(min=0, min_open=True),
    default=1e-3,
    show_default=True,
    help="Peak learning rate; a cosine takes it to 0.",
)
@click.option("--weight-decay", type=click.FloatRange(min=0), default=0.02, show_default=True, help="As in AdamW.")
@click.option(
    "--clip-norm",
    type=click.FloatRange(min=0),
    default=1.0,
    show_default=True,
    help="Limit of the global gradient norm; 0: none.",
)
@click.option(
    "--warmup-epochs", type=click.FloatRange(min=0), default=1.0, show_default=True, help="Epochs of linear warm-up."
)
@click.option(
    "--regression-weight",
    type=click.FloatRange(min=0),
    default=10.0,
    show_default=True,
    help="Weight of the logits' square error against the cross-entropy; it fades to 0 after 60 % of the epochs.",
)
@precision_option
@seed_option
@click.option(
    "--cache",
    type=click.Path(path_type=Path, file_okay=False),
    default=CACHE,
    show_default=True,
    help="Folder for cached features, 52 KiB a view for ResNet-50 at 160 pixels; may be deleted after the run.",
)
@quiet
def distil(
    photos: tuple[Path, ...],
    exclude: tuple[Path, ...],
    out: Path | None,
    resume: Path | None,
    cache: Path,
    **options: Any,
) -> None:
    """Train a network on a teacher's answers to photos without labels.

    PHOTOS are files and folders.  The teacher sees several random crops of each photo; the student, a new network,
    learns to give the same probabilities.  It gets the teacher's labels.

    For example, ResNet-50 from ImageNet's first four stages, taught by EfficientNet-Lite (`elastic model build
    efficientnet-lite2` makes the teacher):

        elastic distil photos/ --teacher efficientnet-lite2-imagenet --weights conv1-to-conv4.npz

    `elastic export` makes a bundle of the run's folder.  Ctrl-C loses the current epoch only; --resume continues.
    """
    console = Console()
    if (resume is None) == (not photos):
        raise click.UsageError("Give either PHOTOS, or --resume with a run's folder.")
    if resume is not None:
        config, folder = DistillationConfig.from_fields(read_resumable(resume)["hyperparameters"]), resume
    else:
        if options["teacher"] is None:
            raise click.UsageError("Give a --teacher.")
        check_teacher(options["teacher"])
        options["teacher"] = str(options["teacher"].resolve())
        config = make_config(photos, exclude, options)
        folder = new_folder(out, config.architecture)
    require_tensorflow()
    with stoppable(folder, "elastic distil", console):
        _distil(config, folder, cache, progress_console(stderr=False))


def _distil(config: DistillationConfig, folder: Path, cache: Path, console: Console) -> None:
    with console.status("Looking at the photos …"):
        photos = choose_photos(config)
    os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
    with console.status("Loading TensorFlow …"), silenced_stderr():
        from training import precision
        from training.distillation.run import Distillation, cache_name
        from training.distillation.teachers import open_teacher

        numbers = precision.choose(config.precision)
        teacher = open_teacher(Path(config.teacher))
    if (folder / RUN_FILE).exists() and read_run(folder)["dataset"]["digest"] != photos.digest:
        raise TrainingError("the photos have changed since the run began; start a new one")
    console.print(
        f"{len(photos.train):,} photos to train, {len(photos.validation):,} to validate; left out, since they resemble "
        f"excluded ones: {len(photos.near_duplicates):,}",
        highlight=False,
        soft_wrap=True,
    )
    config = dataclasses.replace(config, precision=numbers)
    run = Distillation(config, teacher, photos, folder, cache / cache_name(config, teacher, photos), console).run()
    agreement = run["validation"]["agreement"]
    Console().print(
        f"Best epoch {run['best_epoch']}: the teacher's answer for {agreement:.1%} of {run['validation']['images']:,} "
        f"validation photos\nThe run's folder: {folder}",
        highlight=False,
        soft_wrap=True,
    )
