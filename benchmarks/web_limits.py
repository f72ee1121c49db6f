"""Benchmark of the web tier under the worst input that it accepts: memory of a process, uploads beside slow clients.

``python -m benchmarks.web_limits [--json FILE]``, or ``elastic bench web-limits``.

Each kind of input is sent by many clients at once, to a web tier of its own, since processes keep memory that they have
had.  Embedded cloud, servers and clients share the machine's cores; no worker runs.
"""

from __future__ import annotations

import base64
import contextlib
import http.client
import json
import os
import socket
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import click
import numpy as np
from rich.console import Console
from rich.table import Table

from api_client.client import ApiClient
from benchmarks.photos import load_photos
from benchmarks.report import json_option, machine, write_json
from benchmarks.slow_clients import SlowClients
from benchmarks.web_memory import MemoryWatch
from core.errors import ElasticError
from core.paths import REPOSITORY_ROOT
from local_cloud.stack import LocalStack

_MIB = 1024 * 1024
_LOG_DIRECTORY = REPOSITORY_ROOT / "var" / "log" / "benchmarks"
SLOW_CLIENTS = 2000
UPLOADS = 40
_TIMEOUT_SECONDS = 120.0

Send = Callable[[str], int]


def post(url: str, body: bytes, content_type: str) -> int:
    """Posts a body; returns the status."""
    parts = urlsplit(url)
    connection = http.client.HTTPConnection(parts.hostname or "", parts.port, timeout=_TIMEOUT_SECONDS)
    with contextlib.closing(connection):
        connection.request("POST", f"{parts.path}?{parts.query}", body, {"Content-Type": content_type})
        response = connection.getresponse()
        response.read()
        return response.status


def large_json() -> tuple[int, Send]:
    """JSON of one image of 23 MiB in base64, which is refused for its size after it has been decoded."""
    data = base64.b64encode(os.urandom(23 * _MIB)).decode()
    body = json.dumps({"images": [{"name": "a.jpg", "data": data}]}).encode()
    return 10, lambda images: post(images, body, "application/json")


def many_values() -> tuple[int, Send]:
    """A plan of the most files, with long names."""
    files = [{"name": f"{'a folder/' * 25}{number}.jpg", "size_bytes": number} for number in range(100_000)]
    body = json.dumps({"files": files}, separators=(",", ":")).encode()
    return 10, lambda images: post(images.replace("/images", "/plan"), body, "application/json")


def empty_values() -> tuple[int, Send]:
    """JSON with as many empty objects as a plan may have values."""
    body = b'{"files":[' + b"{}," * 154_000 + b"{}]}"
    return 10, lambda images: post(images.replace("/images", "/plan"), body, "application/json")


def many_small_files() -> tuple[int, Send]:
    """Forms with files just small enough to be kept in memory while they wait to be stored."""
    part = b'--x\r\nContent-Disposition: form-data; name="f"; filename="a.jpg"\r\n\r\n' + bytes(_MIB - 1024) + b"\r\n"
    body = part * 10 + b"--x--\r\n"
    return 50, lambda images: post(images, body, "multipart/form-data; boundary=x")


def slow_viewers(photo: bytes) -> tuple[int, Send]:
    """Viewers of an image of 10 MiB that take nothing of it for a while."""
    image = photo + bytes(10 * _MIB - len(photo))
    part = b'--x\r\nContent-Disposition: form-data; name="f"; filename="a.jpg"\r\n\r\n' + image + b"\r\n--x--\r\n"

    def send(images: str) -> int:
        post(f"{images}?offset=0", part, "multipart/form-data; boundary=x")
        parts = urlsplit(images)
        batch_id = parts.path.split("/")[4]
        with socket.create_connection((parts.hostname or "", parts.port or 80)) as viewer:
            viewer.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            path = f"/batches/{batch_id}/images/00000-a.jpg"
            viewer.sendall(f"GET {path} HTTP/1.1\r\nHost: localhost\r\n\r\n".encode())
            start = viewer.recv(64)
            time.sleep(3.0)  # slow on purpose: what the server holds for it meanwhile is measured
        return int(start.split()[1]) if start else 0

    return 40, send


def run(photos: list[bytes], console: Console) -> dict[str, Any]:
    """Runs the benchmark; returns the report.

    ``memory`` has for each kind of input the number of clients, the statuses of their requests and the peak of one
    process; ``peak_process_mib`` is the largest of them.  ``slow_clients`` has the latencies of uploads meanwhile.
    """
    about_machine = machine()
    kinds: dict[str, Callable[[], tuple[int, Send]]] = {
        "JSON of 31 MiB": large_json,
        "plans of 100,000 files": many_values,
        "JSON of empty objects": empty_values,
        "forms with 10 files of 1 MiB": many_small_files,
        "slow viewers of 10 MiB": lambda: slow_viewers(photos[0]),
    }
    memory = {}
    for name, kind in kinds.items():
        console.print(f"{name} …")
        memory[name] = _peak(*kind())
    console.print("Slow clients …")
    slow = _uploads_beside_slow_clients(photos)
    report = {
        "peak_process_mib": max(found["peak_process_mib"] for found in memory.values()),
        "memory": memory,
        "slow_clients": slow,
        "machine": about_machine,
    }
    for table in _tables(report):
        console.print(table)
    return report


def _cloud() -> LocalStack:
    return LocalStack(controller=False, log_directory=_LOG_DIRECTORY)


def _peak(clients: int, send: Send) -> dict[str, Any]:
    with _cloud() as stack:
        api = ApiClient(stack.web_url)
        urls = [f"{stack.web_url}/api/v1/batches/{api.create_batch()}/images" for _ in range(clients)]
        with MemoryWatch(stack.process("web-tier").pid) as watch, ThreadPoolExecutor(clients) as pool:
            idle_mib = watch.peak_process_mib
            statuses = list(pool.map(send, urls))
    if set(statuses) - {200, 413, 422, 503}:
        raise ElasticError(f"unexpected statuses: {sorted(set(statuses))}")
    return {
        "clients": clients,
        "statuses": {str(status): statuses.count(status) for status in sorted(set(statuses))},
        "idle_process_mib": round(idle_mib, 1),
        "peak_process_mib": round(watch.peak_process_mib, 1),
    }


def _uploads_beside_slow_clients(photos: list[bytes]) -> dict[str, Any]:
    part = b'--x\r\nContent-Disposition: form-data; name="f"; filename="%d.jpg"\r\n\r\n%s\r\n'
    with _cloud() as stack:
        images = f"{stack.web_url}/api/v1/batches/{ApiClient(stack.web_url).create_batch()}/images"
        bodies = [part % (number, photos[number % len(photos)]) + b"--x--\r\n" for number in range(UPLOADS)]
        before = _seconds(images, bodies)
        with SlowClients(urlsplit(images).port or 80, SLOW_CLIENTS) as slow:
            beside = _seconds(images, bodies)
        opened = slow.opened
    return {
        "clients": SLOW_CLIENTS,
        "connections": opened,
        "uploads": UPLOADS,
        "before_p50_ms": _milliseconds(before, 50),
        "before_max_ms": _milliseconds(before, 100),
        "p50_ms": _milliseconds(beside, 50),
        "max_ms": _milliseconds(beside, 100),
    }


def _seconds(images: str, bodies: list[bytes]) -> list[float]:
    found = []
    for number, body in enumerate(bodies):
        started = time.perf_counter()
        status = post(f"{images}?offset={number}", body, "multipart/form-data; boundary=x")
        found.append(time.perf_counter() - started)
        if status != 200:
            raise ElasticError(f"an upload was answered with {status}")
    return found


def _milliseconds(seconds: list[float], percent: int) -> float:
    return round(float(np.percentile(seconds, percent)) * 1000, 1)


def _tables(report: dict[str, Any]) -> list[Table]:
    memory = Table(title="Memory of a process", title_justify="left")
    for title in ("input", "clients", "answers", "before, MiB", "peak, MiB"):
        memory.add_column(title)
    for name, found in report["memory"].items():
        answers = ", ".join(f"{count} × {status}" for status, count in found["statuses"].items())
        figures = (found["clients"], answers, found["idle_process_mib"], found["peak_process_mib"])
        memory.add_row(name, *map(str, figures))
    slow = Table(title=f"An upload beside {SLOW_CLIENTS:,} slow clients", title_justify="left")
    for title in ("", "p50, ms", "longest, ms"):
        slow.add_column(title)
    found = report["slow_clients"]
    slow.add_row("before", str(found["before_p50_ms"]), str(found["before_max_ms"]))
    slow.add_row("beside them", str(found["p50_ms"]), str(found["max_ms"]))
    return [memory, slow]


@click.command("web-limits")
@json_option
def command(json_path: Path | None) -> None:
    """Measure the web tier under the worst input that it accepts.

    The memory of a process while many clients send it at once, and uploads beside clients whose headers never end.
    """
    report = run(load_photos(None), Console())
    if json_path is not None:
        write_json(report, json_path)


if __name__ == "__main__":
    command()
