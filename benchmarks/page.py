"""Benchmark of the page with a large batch in a browser: results, the page's longest task, the web tier's memory.

``python -m benchmarks.page [--images N] [--workers N] [--json FILE]``, or ``elastic bench page``.

Chromium, web tier, embedded cloud and workers share the machine's cores.  Without workers, a thread stores results in
their place without classifying, faster than the machine's workers could.
"""

from __future__ import annotations

import json
import math
import tempfile
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
from rich.console import Console
from rich.table import Table

from benchmarks.chromium import browser
from benchmarks.report import json_option, machine, write_json
from benchmarks.web_memory import MemoryWatch, answer_all
from benchmarks.worker_process import cloud_environment
from core.errors import ElasticError
from core.paths import REPOSITORY_ROOT
from local_cloud.sample_photos import make_crops
from local_cloud.stack import LocalStack

if TYPE_CHECKING:
    from playwright.sync_api import Page

_LOG_DIRECTORY = REPOSITORY_ROOT / "var" / "log" / "benchmarks"
_SEED = 7
# Without a new result on the page for this long, the run has failed.
_STANDSTILL_SECONDS = 120.0
_LOOK_SECONDS = 2.0
# The processor time of every task is traced for this long after the files are chosen; Chromium's trace buffer is
# limited.
_TRACED_SECONDS = 60.0
# The longest task's milliseconds and the number of tasks above 50, in `window.tasks`.  The browser's own work before
# the change event, reading each chosen file's metadata, is not the page's and is left out.
_MEASURE_TASKS = """
window.tasks = { longest: 0, long: 0 };
let chosen = 0;
addEventListener("change", () => { chosen = performance.now(); }, true);
new PerformanceObserver((list) => {
  for (const { startTime, duration } of list.getEntries()) {
    const own = startTime + duration - Math.max(startTime, chosen);
    window.tasks.long += own > 50;
    window.tasks.longest = Math.max(window.tasks.longest, own);
  }
}).observe({ type: "longtask", buffered: true });
"""
_PROGRESS = "() => [document.getElementById('batch').dataset.state, document.getElementById('answered-bar').value]"


def run(images: int, workers: int, console: Console) -> dict[str, Any]:
    """Uploads `images` small photos in one batch through Chromium; returns the report.

    ``answered``, ``seconds`` (from choosing the files to the last result), ``longest_task_ms`` and ``long_tasks``
    (above 50 ms) of the page's main thread, ``longest_task_cpu_ms`` (of the first minute: without the time in which the
    machine's cores were busy with something else), ``peak_pss_mib`` of the web tier's processes together.

    Raises:
        ElasticError: Playwright or Chromium is missing, or an image was not answered.
    """
    about_machine = machine()
    with tempfile.TemporaryDirectory() as folder:
        console.print(f"Generating {images:,} photos …")
        photos = make_crops(images, _SEED, Path(folder))
        stack = LocalStack({"max_size": max(1, workers)}, controller=workers > 0, log_directory=_LOG_DIRECTORY)
        with browser() as chromium, stack, _worker_substitute(stack, not workers), _memory(stack) as memory:
            page = chromium.new_page(base_url=stack.web_url, viewport={"width": 1280, "height": 800})
            page.add_init_script(_MEASURE_TASKS)
            page.goto("/")
            idle_mib = memory.peak_pss_mib
            started = time.perf_counter()
            page.set_input_files("#files", photos)
            # Until here the browser has read each file's metadata.
            chromium.start_tracing(page=page, categories=["toplevel"])
            _watch(page, images, console, _TRACED_SECONDS)
            trace = chromium.stop_tracing()
            answered = _watch(page, images, console)
            seconds = time.perf_counter() - started
            tasks = page.evaluate("window.tasks")
    if answered < images:
        raise ElasticError(f"{answered:,} of {images:,} images were answered")
    return {
        "images": images,
        "answered": answered,
        "seconds": round(seconds, 1),
        "images_per_second": round(answered / seconds, 1),
        "longest_task_ms": round(tasks["longest"]),
        "long_tasks": tasks["long"],
        "longest_task_cpu_ms": longest_cpu_ms(trace),
        "idle_pss_mib": round(idle_mib, 1),
        "peak_pss_mib": round(memory.peak_pss_mib, 1),
        "workers": workers,
        "machine": about_machine,
    }


def _memory(stack: LocalStack) -> MemoryWatch:
    return MemoryWatch(stack.process("web-tier").pid)


@contextmanager
def _worker_substitute(stack: LocalStack, needed: bool) -> Iterator[None]:
    """Stores results in the place of workers until the end of the block, if `needed`."""
    if not needed:
        yield
        return
    stop = threading.Event()
    with cloud_environment(stack.endpoint_url) as clients, ThreadPoolExecutor(1) as pool:
        answering = pool.submit(answer_all, stack, clients, stop)
        try:
            yield
        finally:
            stop.set()
        answering.result()


def longest_cpu_ms(trace: bytes) -> float:
    """The most processor time, in milliseconds, of one task of a page's main thread.

    Args:
        trace: a trace of Chromium with the category ``toplevel``.
    """
    events = json.loads(trace)["traceEvents"]
    main = {
        (event["pid"], event["tid"])
        for event in events
        if event["name"] == "thread_name" and event["args"]["name"] == "CrRendererMain"
    }
    own = [event["tdur"] for event in events if (event["pid"], event["tid"]) in main and "tdur" in event]
    return round(max(own, default=0) / 1000, 1)


def _watch(page: Page, images: int, console: Console, most_seconds: float = math.inf) -> int:
    """Scrolls through the page until the batch is done, stalled, or `most_seconds` have passed; returns the results."""
    began = time.monotonic()
    answered, changed = 0, began
    for look in range(1_000_000):
        state, now = page.evaluate(_PROGRESS)
        if now != answered:
            answered, changed = int(now), time.monotonic()
        now_seconds = time.monotonic()
        if state == "done" or now_seconds - changed > _STANDSTILL_SECONDS or now_seconds - began > most_seconds:
            break
        if look % 10 == 0:
            console.print(f"{state}: {answered:,} of {images:,}", highlight=False)
        page.evaluate(f"scrollTo(0, document.documentElement.scrollHeight * {look % 11 / 10})")
        page.wait_for_timeout(1000 * _LOOK_SECONDS)
    return answered


@click.command("page")
@click.option(
    "--images", default=10_000, show_default=True, type=click.IntRange(1, 10_000), help="Photos in the batch."
)
@click.option("--workers", default=2, show_default=True, type=click.IntRange(0, 15), help="Maximum number of workers.")
@json_option
def command(images: int, workers: int, json_path: Path | None) -> None:
    """Measure the page while a large batch goes through Chromium.

    Reports whether all photos are answered, the page's longest task and the web tier's memory.  Without workers a
    thread stores results instead of classifying, faster than workers could.
    """
    console = Console()
    report = run(images, workers, console)
    table = Table(title="A batch through the page", title_justify="left", show_header=False)
    for name in (
        "answered",
        "seconds",
        "images_per_second",
        "longest_task_ms",
        "long_tasks",
        "longest_task_cpu_ms",
        "idle_pss_mib",
        "peak_pss_mib",
    ):
        table.add_row(name.replace("_", " "), f"{report[name]:,}")
    console.print(table)
    if json_path is not None:
        write_json(report, json_path)


if __name__ == "__main__":
    command()
