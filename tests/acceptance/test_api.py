"""The API with real processes: waiting for single answers while the fleet boots, odd files by every route, events."""

from __future__ import annotations

import base64
import http.server
import json
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import requests

from core.paths import REPOSITORY_ROOT
from core.webhooks import signed_headers
from tests.bench import Bench, running_bench
from tests.bundles import measured
from tests.notebooks.execution import NOTEBOOKS, execute, needs_packages, pictures, printed
from tests.waiting import PATIENCE_SECONDS, wait_until

pytestmark = pytest.mark.acceptance

CLASSIFY_NOTEBOOK = NOTEBOOKS / "classify.ipynb"
CONCURRENT = 100
VIEWERS = 200


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    settings = {
        # Only the first test begins without an instance; the others find the fleet as it left it.
        "scale_in_stabilization_seconds": 300,
        "visibility_timeout_seconds": 5,
        "janitor_interval_seconds": 0.5,
        "webhook_allow_private": 1,
        "max_size": 3,
    }
    with running_bench(settings, tmp_path_factory.mktemp("log")) as bench:
        yield bench


def post_compat(url: str, path: Path) -> requests.Response:
    with path.open("rb") as file:
        return requests.post(f"{url}/", files={"inputFile": (path.name, file)}, timeout=PATIENCE_SECONDS)


def classify_alone(url: str, path: Path) -> str:
    """One image through the synchronous API; returns its label."""
    body, headers = path.read_bytes(), {"Content-Type": "image/jpeg"}
    answer = requests.post(
        f"{url}/api/v1/classify", data=body, headers=headers, params={"name": path.name}, timeout=PATIENCE_SECONDS
    )
    while answer.status_code == 202:
        time.sleep(0.5)
        answer = requests.get(f"{url}{answer.json()['result_url']}", timeout=PATIENCE_SECONDS)
    return str(answer.json()["label"])


def test_a_hundred_wait_at_once_while_the_fleet_starts_from_zero(
    bench: Bench, make_images: Callable[..., list[Path]]
) -> None:
    """Half of them by the form of the systems before this one, half by the API."""
    url, paths = bench.stack.web_url, make_images(CONCURRENT)
    assert bench.fleet.describe() == []
    with ThreadPoolExecutor(CONCURRENT) as pool:
        by_form = pool.map(lambda path: post_compat(url, path), paths[::2])
        by_api = list(pool.map(lambda path: classify_alone(url, path), paths[1::2]))
        answers = list(by_form)
    assert {(answer.status_code, answer.headers["Content-Type"]) for answer in answers} == {
        (200, "text/plain; charset=utf-8")
    }
    labels = [answer["label"] for answer in bench.classify(paths)]
    named = zip(paths[::2], labels[::2], strict=True)
    assert [answer.text for answer in answers] == [f"{path.name}:{label}" for path, label in named]
    assert by_api == labels[1::2]


def test_an_archive_has_the_labels_of_its_photos_by_the_api_and_by_the_command(
    bench: Bench, photos: list[tuple[Path, str]], tmp_path: Path
) -> None:
    url, paths = bench.stack.web_url, [path for path, _ in photos[:4]]
    labels = [answer["label"] for answer in bench.classify(paths)]
    archive = tmp_path / "trip.zip"
    with zipfile.ZipFile(archive, "w") as packed:
        for path in paths:
            packed.write(path, f"day 1/{path.name}")
        packed.writestr("__MACOSX/._x.jpg", b"x")
    batch_id = bench.api.create_batch()
    with archive.open("rb") as file:
        images = f"{url}/api/v1/batches/{batch_id}/images"
        answer = requests.post(images, files={"images": ("trip.zip", file)}, timeout=PATIENCE_SECONDS).json()
    assert answer["archives"] == [{"name": "trip.zip", "files": 4, "hidden": 1, "others": 0, "known": 0}]
    answers = bench.answers(batch_id, 4)
    assert [(answer["name"], answer["label"]) for answer in answers] == [
        (f"trip.zip/day 1/{path.name}", label) for path, label in zip(paths, labels, strict=True)
    ]
    command = [sys.executable, "-m", "cli", "classify", "--url", url, "--json", str(archive)]
    run = subprocess.run(command, capture_output=True, text=True, cwd=REPOSITORY_ROOT, timeout=PATIENCE_SECONDS)
    assert run.returncode == 0, run.stderr
    found = {entry["name"]: entry["label"] for entry in map(json.loads, run.stdout.splitlines())}
    assert found == {f"{archive}/day 1/{path.name}": label for path, label in zip(paths, labels, strict=True)}


@needs_packages
def test_the_notebook_on_the_python_client_runs(bench: Bench, tmp_path: Path) -> None:
    done = execute(CLASSIFY_NOTEBOOK, tmp_path, ELASTIC_URL=bench.stack.web_url)
    assert pictures(done) == pictures(CLASSIFY_NOTEBOOK) > 3
    # Results come in another order each time.
    found, stored = (
        sorted(line for line in printed(path).splitlines() if " -> " in line) for path in (done, CLASSIFY_NOTEBOOK)
    )
    assert found == stored and len(stored) == 13


# --- odd files by every route --------------------------------------------------------------------


def by_form(bench: Bench, batch_id: str, paths: list[Path]) -> None:
    bench.api.upload(batch_id, paths, lambda count: None)


def by_json(bench: Bench, batch_id: str, paths: list[Path]) -> None:
    images = [{"name": path.name, "data": base64.b64encode(path.read_bytes()).decode()} for path in paths]
    url = f"{bench.stack.web_url}/api/v1/batches/{batch_id}/images"
    answer = requests.post(url, json={"images": images}, timeout=PATIENCE_SECONDS)
    assert answer.ok, answer.text


def by_presigned_post(bench: Bench, batch_id: str, paths: list[Path]) -> None:
    """As a client must, an empty file is left out: a permission is for at least one byte."""
    url = f"{bench.stack.web_url}/api/v1/batches/{batch_id}/uploads"
    files = [{"name": path.name, "size_bytes": path.stat().st_size} for path in paths if path.stat().st_size]
    permitted = requests.post(url, json={"files": files}, timeout=PATIENCE_SECONDS).json()["uploads"]
    bodies = {path.name: path.read_bytes() for path in paths}
    for upload in permitted:
        body = bodies[upload["name"]]
        posted = requests.post(
            upload["url"], data=upload["fields"], files={"file": ("x", body)}, timeout=PATIENCE_SECONDS
        )
        assert posted.status_code == 204, posted.text
    keys = [upload["key"] for upload in permitted]
    report = requests.post(f"{url}/complete", json={"keys": keys}, timeout=PATIENCE_SECONDS).json()
    assert len(report["accepted"]) == len(files)


@pytest.mark.parametrize("send", [by_form, by_json, by_presigned_post])
def test_odd_images_in_a_batch(
    bench: Bench, odd_images: list[tuple[Path, bool]], send: Callable[[Bench, str, list[Path]], None]
) -> None:
    expected = {path.name: decodes for path, decodes in odd_images}
    if send is by_presigned_post:
        expected = {path.name: decodes for path, decodes in odd_images if path.stat().st_size}
    batch_id = bench.api.create_batch()
    send(bench, batch_id, [path for path, _decodes in odd_images])
    answers = bench.answers(batch_id, len(expected))
    assert {answer["name"]: answer["status"] == "classified" for answer in answers} == expected
    assert all(answer["error"]["sentence"] for answer in answers if answer["status"] == "failed")


def test_odd_images_through_the_plain_form(bench: Bench, odd_images: list[tuple[Path, bool]]) -> None:
    files = [("images", (path.name, path.read_bytes())) for path, _decodes in odd_images]
    answer = requests.post(
        f"{bench.stack.web_url}/batches", files=files, allow_redirects=False, timeout=PATIENCE_SECONDS
    )
    assert answer.status_code == 303
    answers = bench.answers(answer.headers["Location"].rpartition("/")[2], len(odd_images))
    reported = {answer["name"]: answer["status"] == "classified" for answer in answers}
    assert reported == {path.name: decodes for path, decodes in odd_images}


def test_odd_images_one_by_one(bench: Bench, odd_images: list[tuple[Path, bool]]) -> None:
    url = f"{bench.stack.web_url}/api/v1/classify"

    def as_form(path: Path) -> bool:
        answer = requests.post(url, files={"image": (path.name, path.read_bytes())}, timeout=PATIENCE_SECONDS)
        return bool(answer.json()["status"] == "classified")

    def as_body(path: Path) -> bool:
        headers = {"Content-Type": "application/octet-stream"}
        return bool(
            requests.post(url, data=path.read_bytes(), headers=headers, timeout=PATIENCE_SECONDS).json()["label"]
        )

    def as_json(path: Path) -> bool:
        body = {"name": path.name, "data": base64.b64encode(path.read_bytes()).decode()}
        return bool(requests.post(url, json=body, timeout=PATIENCE_SECONDS).json()["label"])

    def as_input_file(path: Path) -> bool:
        answer = post_compat(bench.stack.web_url, path)
        assert answer.text.startswith(f"{path.name}:")
        assert answer.text.startswith(f"{path.name}:error: ") == (answer.status_code == 422)
        return answer.status_code == 200

    expected = [decodes for _path, decodes in odd_images]
    with ThreadPoolExecutor(16) as pool:
        for send in (as_form, as_body, as_json, as_input_file):
            reported = list(pool.map(send, [path for path, _decodes in odd_images]))
            assert reported == expected, send.__name__


# --- events --------------------------------------------------------------------------------------


class Viewer:
    """Reads a batch's events in a thread until the stream ends."""

    def __init__(self, url: str) -> None:
        self.names: set[str] = set()
        self.finished = False
        self._thread = threading.Thread(target=self._read, args=(url,), daemon=True)
        self._thread.start()

    def _read(self, url: str) -> None:
        kind = ""
        with requests.get(url, stream=True, timeout=PATIENCE_SECONDS) as response:
            for line in response.iter_lines(chunk_size=None):
                field, _, value = line.decode().partition(": ")
                if field == "event":
                    kind = value
                elif field == "data" and kind == "results":
                    self.names.update(result["name"] for result in json.loads(value)["results"])
                self.finished = self.finished or kind == "complete"

    def join(self) -> None:
        self._thread.join(PATIENCE_SECONDS)


def test_many_viewers_of_a_batch_do_not_keep_others_from_uploading(
    bench: Bench, make_images: Callable[..., list[Path]]
) -> None:
    paths = make_images(40)
    batch_id = bench.upload(paths[:20])
    url = f"{bench.stack.web_url}/api/v1/batches/{batch_id}/events"
    bench.answers(batch_id, 20)
    # Complete for the moment; one more that no worker can answer yet keeps the streams open.
    bench.images.put(f"{batch_id}/00099-held.jpg", paths[0].read_bytes(), "held.jpg")
    viewers = [Viewer(url) for _number in range(VIEWERS)]
    wait_until(lambda: all(len(viewer.names) == 20 for viewer in viewers), "not all viewers were served")
    bench.classify(make_images(20, folder="others", seed=1))
    assert not any(viewer.finished for viewer in viewers), "they do not watch any more"
    bench.images.delete([f"{batch_id}/00099-held.jpg"])
    bench.api.upload(batch_id, paths, lambda count: None)
    for viewer in viewers:
        viewer.join()
    assert all(viewer.finished and viewer.names >= {path.name for path in paths[:20]} for viewer in viewers)


# --- the end of a batch --------------------------------------------------------------------------


def test_cancelling_while_workers_work_leaves_one_answer_for_each_image(
    bench: Bench, make_images: Callable[..., list[Path]]
) -> None:
    paths = make_images(200)
    batch_id = bench.upload(paths)
    wait_until(lambda: len(list(bench.results.list(f"{batch_id}/"))) > 3, "nothing was answered")
    reported = requests.post(f"{bench.stack.web_url}/api/v1/batches/{batch_id}/cancel", timeout=PATIENCE_SECONDS).json()
    assert reported["complete"] and reported["cancelled"] > 0
    wait_until(lambda: bench.queue.backlog().total == 0, "the jobs never drained")
    answers = bench.answers(batch_id, len(paths))
    assert [answer["name"] for answer in answers] == [path.name for path in paths]
    codes = {answer["error"]["code"] if answer["error"] else "" for answer in answers}
    assert codes == {"", "cancelled"}
    refused = requests.post(
        f"{bench.stack.web_url}/api/v1/batches/{batch_id}/images",
        files={"a": ("a.jpg", b"x")},
        timeout=PATIENCE_SECONDS,
    )
    assert refused.status_code == 409


def test_a_deleted_batch_stays_deleted_although_workers_hold_its_images(
    bench: Bench, make_images: Callable[..., list[Path]]
) -> None:
    batch_id = bench.upload(make_images(200))
    wait_until(lambda: len(list(bench.results.list(f"{batch_id}/"))) > 3, "nothing was answered")
    url = f"{bench.stack.web_url}/api/v1/batches/{batch_id}"
    assert requests.delete(url, timeout=PATIENCE_SECONDS).status_code == 204
    assert requests.delete(url, timeout=PATIENCE_SECONDS).status_code == 404
    wait_until(lambda: bench.queue.backlog().total == 0, "the jobs never drained")
    wait_until(lambda: not [*bench.images.list(batch_id), *bench.results.list(f"{batch_id}/")], "data came back")
    assert requests.get(url, timeout=PATIENCE_SECONDS).status_code == 404
    assert bench.dead_letters.backlog().total == 0


def test_completion_is_reported_by_a_signed_webhook_and_a_table_in_the_bucket(
    bench: Bench, make_images: Callable[..., list[Path]]
) -> None:
    received: list[tuple[dict[str, str], bytes]] = []

    class Receiver(http.server.BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            received.append(({name.lower(): value for name, value in self.headers.items()}, body))
            # The first attempt fails.
            self.send_response(500 if len(received) == 1 else 204)
            self.end_headers()

        def log_message(self, *_arguments: Any) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Receiver) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        hook = {"url": f"http://127.0.0.1:{server.server_port}/done"}
        created = requests.post(
            f"{bench.stack.web_url}/api/v1/batches", json={"webhook": hook}, timeout=PATIENCE_SECONDS
        ).json()
        bench.api.upload(created["batch_id"], make_images(5), lambda count: None)
        wait_until(lambda: len(received) >= 2, "the webhook never came twice")
        server.shutdown()
    for headers, body in received:
        assert json.loads(body)["data"]["batch_id"] == created["batch_id"]
        signed = signed_headers(
            created["webhook_secret"], headers["webhook-id"], int(headers["webhook-timestamp"]), body
        )
        assert signed["webhook-signature"] == headers["webhook-signature"]
    assert len({headers["webhook-id"] for headers, _body in received}) == 1
    wait_until(lambda: bench.results.table_digest(created["batch_id"]) is not None, "there was no table of the results")
    assert len(list(bench.results.list(f"{created['batch_id']}/"))) == 5


# --- operations ----------------------------------------------------------------------------------


def test_the_fleet_and_its_model_are_reported(bench: Bench, make_images: Callable[..., list[Path]]) -> None:
    bench.classify(make_images(3))
    base = f"{bench.stack.web_url}/api/v1"
    fleet = requests.get(f"{base}/fleet", timeout=PATIENCE_SECONDS).json()
    assert fleet["max_size"] == 3 and fleet["history"]
    [model] = requests.get(f"{base}/models", timeout=PATIENCE_SECONDS).json()["models"]
    assert model["default"] and model["top1"] == measured()["top1_int8"] and len(model["labels"]) == 1000


def test_readiness_and_the_metrics_of_all_processes(bench: Bench, make_images: Callable[..., list[Path]]) -> None:
    url = bench.stack.web_url
    assert requests.get(f"{url}/readyz", timeout=PATIENCE_SECONDS).json() == {"status": "ready"}

    def accepted() -> float:
        lines = requests.get(f"{url}/metrics", timeout=PATIENCE_SECONDS).text.splitlines()
        return sum(float(line.split()[-1]) for line in lines if line.startswith('eic_upload_files_total{outcome="acc'))

    before = accepted()
    bench.classify(make_images(60))
    assert accepted() == before + 60
