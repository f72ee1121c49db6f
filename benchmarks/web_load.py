"""Upload from several clients at once with Locust, in a process of its own, since Locust patches the standard library.

``python -m benchmarks.web_load`` reads a `Plan` as JSON from standard input and prints a `Load` as JSON.
"""

from __future__ import annotations

import dataclasses
import itertools
import json
import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from core.errors import ElasticError
from core.paths import REPOSITORY_ROOT

# Number of distinct request bodies; building one for each request would compete with the servers for the processor.
_BODIES = 10
_TIMEOUT_SECONDS = 600.0


@dataclass(frozen=True, slots=True)
class Plan:
    """The load: `requests` forms of `images_per_request` images; each client sends its next after the response.

    `paths` has one path for each client, relative to `base_url`; `photos` are names of image files.
    """

    base_url: str
    paths: list[str]
    requests: int
    images_per_request: int
    photos: list[str]


@dataclass(frozen=True, slots=True)
class Load:
    """The measurements: seconds from the first request to the last response, and the latency of each request."""

    seconds: float
    latencies_seconds: list[float]


def send(plan: Plan) -> Load:
    """Runs a plan in another process.

    Raises:
        ElasticError: an image was not accepted, or the process failed.
    """
    done = subprocess.run(
        [sys.executable, "-m", "benchmarks.web_load"],
        input=json.dumps(dataclasses.asdict(plan)),
        capture_output=True,
        text=True,
        cwd=REPOSITORY_ROOT,
        timeout=_TIMEOUT_SECONDS,
    )
    if done.returncode:
        raise ElasticError(f"uploading failed: {done.stderr.strip()[-500:]}")
    return Load(**json.loads(done.stdout))


def forms(photos: list[bytes], images_per_request: int) -> list[tuple[bytes, str]]:
    """Makes bodies of forms with their content types; the forms cycle through the photos."""
    # Imported late: in the load process, Locust must be imported first.
    from urllib3 import encode_multipart_formdata

    endless = itertools.cycle(enumerate(photos))
    found = []
    for _ in range(_BODIES):
        files = itertools.islice(endless, images_per_request)
        parts = [("images", (f"photo-{number:03d}.jpg", body, "image/jpeg")) for number, body in files]
        found.append(encode_multipart_formdata(parts))
    return found


def carry_out(plan: Plan) -> Load:
    """Runs a plan in this process, which must be a separate one."""
    # Importing either patches sockets and threads of the whole process.
    import gevent.event
    from locust import FastHttpUser, constant, task
    from locust.env import Environment
    from locust.exception import StopUser

    bodies = itertools.cycle(forms([Path(name).read_bytes() for name in plan.photos], plan.images_per_request))
    paths = iter(plan.paths)
    tickets = iter(range(plan.requests))
    start, finished = gevent.event.Event(), gevent.event.Event()
    latencies: list[float] = []
    problems: list[str] = []

    class Uploader(FastHttpUser):
        """One client, with a batch of its own."""

        host = plan.base_url
        wait_time = constant(0)
        connection_timeout = network_timeout = _TIMEOUT_SECONDS

        def on_start(self) -> None:
            self.path = next(paths)
            self.offset = 0
            start.wait()

        @task
        def upload(self) -> None:
            if next(tickets, None) is None:
                raise StopUser
            body, content_type = next(bodies)
            with self.client.post(
                f"{self.path}?offset={self.offset}",
                data=body,  # type: ignore[arg-type]  # bytes are sent unchanged
                headers={"Content-Type": content_type},
                name="upload",
                catch_response=True,
            ) as response:
                self.offset += plan.images_per_request
                text = response.text or ""
                if response.status_code != 200 or len(json.loads(text)["accepted"]) != plan.images_per_request:
                    problems.append(f"{response.status_code} {text[:200]} {response.error or ''}")

    def note(response_time: float, **_: Any) -> None:
        latencies.append(response_time / 1000)
        if len(latencies) == plan.requests or problems:
            finished.set()

    environment = Environment(user_classes=[Uploader])
    environment.events.request.add_listener(note)  # type: ignore[no-untyped-call]
    runner = environment.create_local_runner()
    runner.start(len(plan.paths), spawn_rate=len(plan.paths), wait=True)
    started = time.perf_counter()
    start.set()
    finished.wait(_TIMEOUT_SECONDS)
    seconds = time.perf_counter() - started
    runner.quit()
    if problems or len(latencies) < plan.requests:
        raise ElasticError(problems[0] if problems else f"{len(latencies)} of {plan.requests} requests were answered")
    return Load(seconds, latencies)


if __name__ == "__main__":
    try:
        print(json.dumps(dataclasses.asdict(carry_out(Plan(**json.load(sys.stdin))))))
    except ElasticError as error:
        sys.exit(str(error))
