"""Other ways to decode and to run the model, each beside the worker's own: the processor's time, memory and labels.

``python -m benchmarks.inference [--images DIR] [--repeat N] [--json FILE]``.

The variants take turns, so that a load of the machine that changes meets all of them; the figure of each is its lowest
round.  Variants that need a package that is not installed (simplejpeg, cykooz-resizer) are left out.
"""

from __future__ import annotations

import functools
import gc
import importlib
import io
import itertools
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

import click
import numpy as np
from ai_edge_litert.interpreter import Interpreter
from numpy.typing import NDArray
from PIL import Image
from rich.console import Console

from app_tier.bundle import ModelBundle, load_bundle
from app_tier.classifier import Classifier, preprocess
from benchmarks.drain import decoder
from benchmarks.limits import BATCH_SIZE
from benchmarks.photos import load_photos
from benchmarks.report import json_option, machine, pss_mib, write_json
from benchmarks.worker import SHIPPED
from core.settings import Settings
from core.sizes import format_bytes

Pixels = NDArray[np.uint8]
Decode = Callable[[bytes], Pixels]
Run = Callable[[NDArray[np.float32]], NDArray[np.float32]]
BATCH_SIZES = (1, 2, 4, 8, 16, 32)
_IMAGES_PER_TURN = 32
# Two compiled models, as two interpreters.
_COPIES = 2


def decoders(bundle: ModelBundle, settings: Settings) -> dict[str, Decode]:
    """Functions that decode a file to the model's input, by name; the first one is the worker's."""
    own, size = decoder(bundle, settings), (bundle.input.width, bundle.input.height)
    found: dict[str, Decode] = {"Pillow, as in the worker": lambda body: own(body).pixels}

    def resized(pixels: Pixels) -> Pixels:
        return np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.BICUBIC))

    if jpeg := _module("simplejpeg"):
        found["simplejpeg, Pillow resizes"] = lambda body: resized(_square(jpeg.decode_jpeg(body, "RGB")))
        found["simplejpeg at the smallest scale that suffices, Pillow resizes"] = lambda body: resized(
            _square(jpeg.decode_jpeg(body, "RGB", min_width=size[0], min_height=size[1]))
        )
    if resizing := _module("cykooz_resizer"):
        resizer = resizing.Resizer()
        bicubic = resizing.ResizeAlg.convolution(resizing.FilterType.catmull_rom)

        def with_simd(body: bytes) -> Pixels:
            image, result = Image.open(io.BytesIO(body)).convert("RGB"), Image.new("RGB", size)
            side = min(image.size)
            box = resizing.CropBox((image.width - side) // 2, (image.height - side) // 2, side, side)
            resizer.resize_pil(image, result, resizing.ResizeOptions(bicubic, crop_box=box))
            return np.asarray(result)

        found["Pillow decodes, cykooz-resizer resizes"] = with_simd
    return found


def runners(bundle: ModelBundle, folder: Path) -> dict[str, tuple[Run, int]]:
    """Functions that run the model on a batch, and the batch's size, by name.

    Args:
        folder: for the file of a weight cache.
    """
    found = {f"interpreter, batches of {size}": (_interpreter(bundle, size, 1), size) for size in BATCH_SIZES}
    found[f"interpreter with two threads, batches of {BATCH_SIZE}"] = _interpreter(bundle, BATCH_SIZE, 2), BATCH_SIZE
    before = pss_mib()
    plain = [_compiled(bundle, "") for _ in range(_COPIES)]
    between = pss_mib()
    cached = [_compiled(bundle, str(folder / "weights")) for _ in range(_COPIES)]
    after = pss_mib()
    found[f"compiled model ({format_bytes((between - before) / _COPIES * 2**20)} each)"] = plain[0], BATCH_SIZE
    found[f"compiled model, weight cache ({format_bytes((after - between) / _COPIES * 2**20)} each)"] = (
        cached[0],
        BATCH_SIZE,
    )
    return found


def _interpreter(bundle: ModelBundle, batch_size: int, threads: int) -> Run:
    interpreter = Interpreter(model_path=str(bundle.model_path), num_threads=threads)
    source, target = interpreter.get_input_details()[0]["index"], interpreter.get_output_details()[0]["index"]
    interpreter.resize_tensor_input(source, [batch_size, bundle.input.height, bundle.input.width, 3])
    interpreter.allocate_tensors()

    def run(batch: NDArray[np.float32]) -> NDArray[np.float32]:
        interpreter.set_tensor(source, batch)
        interpreter.invoke()
        result: NDArray[np.float32] = interpreter.get_tensor(target)
        return result

    return run


def _compiled(bundle: ModelBundle, weight_cache: str) -> Run:
    """Run the model with LiteRT's newer interface, once; two with the same weight cache share its pages."""
    from ai_edge_litert.compiled_model import CompiledModel, CpuOptions, Options

    options = Options(cpu_options=CpuOptions(num_threads=1, xnnpack_weight_cache_path=weight_cache))
    model = CompiledModel.from_file(str(bundle.model_path), options=options)
    model.resize_input_tensor(0, [BATCH_SIZE, bundle.input.height, bundle.input.width, 3], strict=False)
    sources, targets = model.create_input_buffers(0), model.create_output_buffers(0)

    def run(batch: NDArray[np.float32]) -> NDArray[np.float32]:
        sources[0].write(batch)
        model.run_by_index(0, sources, targets)
        values: NDArray[np.float32] = targets[0].read(BATCH_SIZE * bundle.outputs, np.float32)
        return values.reshape(BATCH_SIZE, bundle.outputs)

    run(np.zeros((BATCH_SIZE, bundle.input.height, bundle.input.width, 3), np.float32))
    return run


def _square(pixels: Pixels) -> Pixels:
    height, width = pixels.shape[:2]
    side = min(height, width)
    top, left = (height - side) // 2, (width - side) // 2
    return np.ascontiguousarray(pixels[top : top + side, left : left + side])


def _module(name: str) -> Any:
    try:
        return importlib.import_module(name)
    except ImportError:
        return None


def _milliseconds(turns: Mapping[str, Callable[[], int]], repeat: int) -> dict[str, float]:
    """The lowest CPU milliseconds of an image over the rounds; each turn returns how many images it had."""
    best = dict.fromkeys(turns, float("inf"))
    gc.collect()
    gc.freeze()
    for _ in range(repeat):
        for name, turn in turns.items():
            started = time.process_time()
            images = turn()
            best[name] = min(best[name], (time.process_time() - started) * 1000 / images)
    return {name: round(value, 3) for name, value in best.items()}


def run(photos: Sequence[bytes], repeat: int, console: Console) -> dict[str, Any]:
    """Measures all variants; returns the report."""
    settings = Settings(model_bundle=str(SHIPPED.resolve()))
    bundle = load_bundle(Path(settings.model_bundle))
    decoding = decoders(bundle, settings)
    own, *others = decoding

    def decode_all(decode: Decode) -> int:
        for body in photos:
            decode(body)
        return len(photos)

    report: dict[str, Any] = {"photos": len(photos), "machine": machine()}
    turns = {name: functools.partial(decode_all, decode) for name, decode in decoding.items()}
    report["decode_milliseconds"] = _milliseconds(turns, repeat)
    report["answers"] = _compare(bundle, photos, decoding[own], {name: decoding[name] for name in others})

    images = [decoding[own](body) for body in itertools.islice(itertools.cycle(photos), BATCH_SIZES[-1])]
    tensor = np.empty((len(images), bundle.input.height, bundle.input.width, 3), np.float32)
    preprocess(images, bundle.input, tensor)
    with tempfile.TemporaryDirectory() as folder:
        running = runners(bundle, Path(folder))

    def classify(run: Run, size: int) -> int:
        for _ in range(max(1, _IMAGES_PER_TURN // size)):
            run(tensor[:size])
        return max(_IMAGES_PER_TURN, size)

    turns = {name: functools.partial(classify, *pair) for name, pair in running.items()}
    report["classify_milliseconds"] = _milliseconds(turns, repeat)
    for title in ("decode_milliseconds", "classify_milliseconds", "answers"):
        console.print(title.replace("_", " "), style="bold")
        for name, value in report[title].items():
            console.print(f"  {name}: {value}", highlight=False)
    return report


def _compare(
    bundle: ModelBundle, photos: Sequence[bytes], own: Decode, others: Mapping[str, Decode]
) -> dict[str, dict[str, float]]:
    """How often another decoder's best label is the worker's, and the largest difference of a probability."""
    classifier = Classifier(bundle, 1, 1)

    def probabilities(decode: Decode) -> NDArray[np.float32]:
        batches = [photos[start : start + BATCH_SIZE] for start in range(0, len(photos), BATCH_SIZE)]
        return np.concatenate([classifier.probabilities([decode(body) for body in batch]) for batch in batches])

    expected = probabilities(own)
    return {
        name: {
            "same label": round(float((found.argmax(1) == expected.argmax(1)).mean()), 4),
            "largest difference": round(float(np.abs(found - expected).max()), 4),
        }
        for name, found in ((name, probabilities(decode)) for name, decode in others.items())
    }


@click.command("inference")
@click.option(
    "--images",
    type=click.Path(path_type=Path, exists=True, file_okay=False),
    help="Folder of photos.  [default: the sample photos]",
)
@click.option("--repeat", type=click.IntRange(min=1), default=5, show_default=True, help="Number of rounds.")
@json_option
def command(images: Path | None, repeat: int, json_path: Path | None) -> None:
    """Measure other ways to decode and to run the model."""
    report = run(load_photos(images), repeat, Console())
    if json_path is not None:
        write_json(report, json_path)


if __name__ == "__main__":
    command()
