"""What others put into buckets and queues concerns that one object alone: loops go on, other objects are served."""

from __future__ import annotations

import base64
import json
import logging
from pathlib import Path
from typing import Any

import pytest

from app_tier.bundle import load_bundle
from aws.in_memory import InMemoryStateStore
from aws.models import ModelError, ModelStore
from aws.tokens import TokenStore, UsageStore
from controller.housekeeping.webhooks import Webhooks
from controller.status.prediction_monitor import KEY as REFERENCE_KEY
from core.errors import BundleError
from core.fleet_status import KEY as STATUS_KEY
from core.heartbeat import Heartbeat, key_of
from core.jobs import ClassificationResult, Prediction, image_key
from core.releases import KEY as RELEASE_KEY
from core.releases import Release, ReleaseRecord
from core.tokens import new_token
from tests.bundles import make_bundle
from tests.unit import test_janitor, test_reconciler, test_webhooks, test_worker
from tests.web import WebBench
from web_tier.domain.result_pagination import Cursor, CursorError

DEEP = b"[" * 20_000
TIMES = {"v": 1, "at": 1.0, "started_at": 1.0}
JSON_BODIES = {
    "deep": DEEP,
    "deep in a field": json.dumps(TIMES).encode()[:-1] + b', "model": ' + b"[" * 1900 + b"]" * 1900 + b"}",
    "a text for a number": json.dumps({**TIMES, "answered": "5"}).encode(),
    "a list for a text": json.dumps({**TIMES, "model": [1]}).encode(),
    "a lone surrogate": rb'{"v": 1, "at": 1.0, "started_at": 1.0, "model": "\ud800"}',
    "NaN": b'{"v": 1, "at": 1.0, "started_at": 1.0, "images_per_second": NaN}',
    "an infinite number": b'{"v": 1, "at": 1.0, "started_at": 1.0, "images_per_second": 1e999}',
    "a number that sums to an infinite one": b'{"v": 1, "at": 1.0, "started_at": 1.0, "images_per_second": 1.7e308}',
    "a negative count": json.dumps({**TIMES, "answers": {"labels": {"a": -9}, "confidence": [-9] * 10}}).encode(),
    "an unhashable failure": json.dumps({**TIMES, "failure": {"a": 1}}).encode(),
    "not text": b"\xff\xfe",
}
hostile = pytest.mark.parametrize("body", JSON_BODIES.values(), ids=JSON_BODIES)


# --- the control loop ----------------------------------------------------------------------------


@hostile
def test_a_hostile_heartbeat_does_not_end_the_control_loop(body: bytes) -> None:
    cloud = test_reconciler.Cloud()
    controller = cloud.controller()
    cloud.work_arrives(25)
    controller.run(10)
    victim, other, *_rest = cloud.fleet.instances
    for number in range(10):
        cloud.mute = {victim, other}
        cloud.store.put(key_of(victim), body + b" " * number)
        cloud.store.put(key_of(other), body + b" " * number)
        controller.run(1)
    assert len(cloud.fleet.instances) == 3, "who reports, even nonsense, lives"
    json.loads(cloud.store.objects[STATUS_KEY].body, parse_constant=lambda name: pytest.fail(name))
    assert cloud.status().controller_id == controller.lease.holder


@pytest.mark.parametrize(
    "key", ["workers/", "workers/photo.jpg", "workers/a/b.json", "workers/.json", "workers/\U0001f408.json"]
)
def test_a_foreign_object_among_heartbeats_is_no_worker(key: str) -> None:
    cloud = test_reconciler.Cloud()
    controller = cloud.controller()
    cloud.store.put(key, Heartbeat(1.0, 1.0, answered=5).encode())
    cloud.work_arrives(5)
    controller.run(30)
    assert key in cloud.store.objects, "it is not ours to delete"
    assert cloud.status().answered == 0


@pytest.mark.parametrize("key", [STATUS_KEY, REFERENCE_KEY, "controller/lease.json"])
@hostile
def test_a_hostile_object_of_the_controller_does_not_end_it(key: str, body: bytes) -> None:
    cloud = test_reconciler.Cloud()
    cloud.store.put(key, body)
    cloud.work_arrives(25)
    controller = cloud.controller()
    controller.run(2 * int(test_reconciler.LEASE_SECONDS))
    assert len(cloud.fleet.instances) == 3 and controller.lease.held()


@pytest.mark.parametrize(
    "note",
    [
        DEEP.decode(),
        "\\ud800",
        '{"count": -3, "token": "t", "at": 1700000000.0, "release": {}}',
        '{"count": 3, "token": "t", "at": 1e999, "release": {}}',
        '{"count": 1e400, "token": "t", "at": 1700000000.0, "release": {}}',
        '{"count": 3, "token": "t", "at": 1700000000.0, "release": []}',
        '{"count": 3, "token": "t", "at": 1700000000.0, "release": {"number": [], "model": 5}}',
    ],
)
def test_a_hostile_note_in_the_lease_launches_nothing(note: str) -> None:
    cloud = test_reconciler.Cloud()
    claim = {"v": 1, "holder": "x", "generation": 1, "sequence": 1, "ttl_seconds": 1, "note": note, "released": True}
    cloud.store.put("controller/lease.json", json.dumps(claim).encode())
    controller = cloud.controller()
    controller.run(5)
    assert controller.lease.held() and not cloud.fleet.count("launch")
    cloud.work_arrives(5)
    controller.run(2)
    assert len(cloud.fleet.instances) == 1


def test_a_lease_for_ever_ends_like_any_other() -> None:
    cloud = test_reconciler.Cloud()
    claim = {"v": 1, "holder": "x", "generation": 1, "sequence": 1, "ttl_seconds": 1e10}
    cloud.store.put("controller/lease.json", json.dumps(claim).encode())
    controller = cloud.controller()
    controller.run(2 * int(test_reconciler.LEASE_SECONDS))
    assert controller.lease.held()


@hostile
def test_while_the_record_of_releases_cannot_be_read_rollouts_are_held_and_scaling_goes_on(
    body: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    cloud = test_reconciler.Cloud()
    release = Release(3, "", "m@3")
    good = ReleaseRecord(current=release, last_number=3)
    cloud.store.put(RELEASE_KEY, good.encode())
    controller = cloud.controller()
    cloud.work_arrives(15)
    controller.run(10)
    before = set(cloud.fleet.instances)
    cloud.store.put(RELEASE_KEY, body)
    controller.run(5)
    cloud.work_arrives(20)
    controller.run(20)
    assert len(cloud.fleet.instances) == 4 and before <= set(cloud.fleet.instances)
    assert {instance.release for instance in cloud.fleet.instances.values()} == {3}, "as it was read last"
    assert cloud.store.objects[RELEASE_KEY].body == body, "it is left for an operator"
    [remark] = cloud.status().remarks
    assert remark.alarming and "held" in remark.sentence and RELEASE_KEY in remark.sentence
    assert "rollouts are held" in cloud.status().decisions[-1].reason
    errors = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert len(errors) == 1, "reported once"

    cloud.store.put(RELEASE_KEY, good.begun("", "m@4", cloud.clock()).encode())
    controller.run(40)
    assert {instance.release for instance in cloud.fleet.instances.values()} == {4}, "and once mended, all goes on"
    assert not [one for one in cloud.status().remarks if one.alarming]


def test_a_controller_that_has_never_read_a_record_scales_and_drains_nothing() -> None:
    cloud = test_reconciler.Cloud()
    running = {cloud.fleet.add("app-tier-1", release=3), cloud.fleet.add("app-tier-2", release=3)}
    cloud.store.put(RELEASE_KEY, DEEP)
    cloud.work_arrives(35)
    cloud.controller().run(10)
    assert len(cloud.fleet.instances) == 4 and running <= set(cloud.fleet.instances)


# --- queues --------------------------------------------------------------------------------------

BATCH = "20260102-030405-0123456789ab"
MESSAGES = {
    "deep": DEEP.decode(),
    "a lone surrogate in its name": json.dumps(
        {
            "v": 1,
            "job_id": "1",
            "batch_id": BATCH,
            "bucket": "b",
            "key": image_key(BATCH, 0, "a"),
            "name": "\ud800.jpg",
        }
    ),
    "a raw surrogate": '{"v": 1, "job_id": "\ud800"}',
    "a long name": json.dumps(
        {"v": 1, "job_id": "1", "batch_id": BATCH, "bucket": "b", "key": image_key(BATCH, 0, "a"), "name": "x" * 20_000}
    ),
}
messages = pytest.mark.parametrize("body", MESSAGES.values(), ids=MESSAGES)


@messages
def test_a_hostile_message_does_not_end_the_worker(body: str) -> None:
    bench = test_worker.Bench()
    bench.queue.put_body(body)
    (key,) = bench.upload("beagle")
    with bench.running():
        test_worker.until(lambda: key in bench.results.objects)
    assert bench.line(key) == "beagle.jpg, beagle"


@messages
def test_a_hostile_dead_letter_does_not_end_the_janitor(body: str) -> None:
    bench = test_janitor.Bench()
    job = bench.upload(1)
    bench.dead.put_body(body)
    bench.dead.send([job])
    bench.janitor.round()
    assert "error: the image could not be classified" in bench.results.line(job.key)
    assert bench.janitor._dead_letters.redrive(10) == 1, "the other one is no job and stays"


# --- the input bucket ----------------------------------------------------------------------------


def test_a_foreign_object_under_a_batch_is_no_upload() -> None:
    bench = test_janitor.Bench()
    bench.images.put(f"{bench.batch}/anything.jpg", b"pixels", "anything.jpg")
    bench.images.put(f"{bench.batch}/", b"", "a folder of S3's console")
    bench.clock.advance(300)
    for _round in range(5):
        bench.janitor.round()
        bench.clock.advance(240)
    assert bench.queue.backlog().total == 0
    orphan = bench.upload(1)
    bench.clock.advance(61)
    bench.janitor.round()
    assert [job.key for job in bench.queue.jobs] == [orphan.key]


def test_a_foreign_record_among_batches_is_no_batch() -> None:
    bench = test_janitor.Bench()
    bench.images.batches["photo.jpg"] = "{}"
    bench.images.batches["99991231-235959-"] = "{}"
    orphan = bench.upload(1)
    bench.clock.advance(61)
    bench.janitor.round()
    assert [job.key for job in bench.queue.jobs] == [orphan.key]
    assert {argument for method, argument in bench.images.calls if method == "list"} == {bench.batch}


@pytest.mark.parametrize("name", ["x" * 2000, "\u202egpj.exe", "", "a\nb"])
def test_an_orphan_that_another_program_named_becomes_a_job(name: str) -> None:
    bench = test_janitor.Bench()
    key = image_key(bench.batch, 1, "a.jpg")
    bench.images.put(key, b"pixels", name)
    bench.clock.advance(61)
    bench.janitor.round()
    assert [job.key for job in bench.queue.jobs] == [key]


def test_an_image_that_is_gone_is_answered_although_its_batchs_record_cannot_be_read() -> None:
    bench = test_worker.Bench()
    (key,) = bench.upload("beagle")
    bench.images.delete([key])
    bench.images.batches[test_worker.BATCH] = DEEP.decode()
    with bench.running():
        test_worker.until(lambda: key in bench.results.objects)
    assert "no longer stored" in bench.line(key)


# --- the web tier --------------------------------------------------------------------------------


@hostile
def test_a_hostile_heartbeat_is_no_model(body: bytes) -> None:
    bench = WebBench()
    bench.state.put(key_of("i-1"), body)
    bench.state.put(key_of("i-2"), Heartbeat(1.0, 0.0, "other@2").encode())
    models = bench.get("/api/v1/models")["models"]
    assert {"model": "other@2", "workers": 1, "default": False} in models


@pytest.mark.parametrize("at", ["1e300", "-1e300", "1e13", '"now"', "null"])
def test_a_hostile_status_is_none(at: str) -> None:
    bench = WebBench()
    from tests.unit.test_web_system import status

    body = status("i-1").encode().replace(b'"at":1.0', b'"at":' + at.encode(), 1)
    assert at.encode() in body
    bench.state.put(STATUS_KEY, body)
    for path in ("/fleet", f"/batches/{bench.create_batch()}"):
        assert bench.client.get(path).status_code == 200
    assert bench.client.get("/api/v1/fleet").status_code == 404


DETAIL = {"job_id": "", "model": "m@1", "worker_id": "w", "predictions": [["beagle", 0.9]], "stage_ms": {}}
DETAILS = {
    "deep": "[" * 1900,
    "deep in a field": json.dumps(DETAIL)[:-1] + ', "x": ' + "[" * 900 + "]" * 900 + "}",
    "an infinite score": json.dumps(DETAIL).replace("0.9", "1e999"),
    "a score that is no number": json.dumps(DETAIL).replace("0.9", "NaN"),
    "a score beyond 1": json.dumps(DETAIL).replace("0.9", "17"),
    "a text for a score": json.dumps(DETAIL).replace("0.9", '"0.9"'),
    "a lone surrogate": json.dumps(DETAIL).replace("beagle", "\\ud800"),
    "a number for a label": json.dumps(DETAIL).replace('"beagle"', "5"),
    "a list for a stage's time": json.dumps({**DETAIL, "stage_ms": {"fetch": [1]}}),
    "a list for a job's id": json.dumps({**DETAIL, "job_id": [1]}),
    "a list for a failure's code": json.dumps(
        {**DETAIL, "predictions": [], "failure": {"code": [1], "sentence": {"a": 1}}}
    ),
}


@pytest.mark.parametrize("detail", DETAILS.values(), ids=DETAILS)
@pytest.mark.parametrize("path", ["/api/v1/batches/{}/results", "/batches/{}", "/api/v1/batches/{}/results.csv"])
def test_a_hostile_result_is_a_failure_of_that_image_alone(path: str, detail: str) -> None:
    bench = WebBench()
    batch_id = bench.create_batch()
    good, bad = image_key(batch_id, 0, "good.jpg"), image_key(batch_id, 1, "bad.jpg")
    for key in (good, bad):
        bench.results.put(ClassificationResult(key, key[-8:], (Prediction("church", 0.9),)))
    bench.results.objects[bad].metadata["result"] = detail
    response = bench.client.get(path.format(batch_id))
    assert response.status_code == 200
    if "json" in (response.content_type or ""):
        rows = json.loads(response.text, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))["results"]
        assert [row["error"] and row["error"]["code"] for row in rows] == [None, "unreadable"]
    elif "csv" in (response.content_type or ""):
        assert "church" in response.text


@pytest.mark.parametrize("body", [b"a\rb, c", b'"a, b', DEEP, b"\xff", b"x" * 200_000 + b", y"])
def test_a_hostile_line_is_a_failure_of_that_image_alone(body: bytes) -> None:
    bench = WebBench()
    batch_id = bench.create_batch()
    key = image_key(batch_id, 0, "bad.jpg")
    bench.results.put(ClassificationResult(key, "bad.jpg", (Prediction("church", 0.9),)))
    metadata = bench.results.objects[key].metadata
    bench.results.put_garbage(key, body)
    bench.results.objects[key].metadata.update(metadata)
    [row] = bench.get(f"/api/v1/batches/{batch_id}/results")["results"]
    assert row["error"]["code"] == "unreadable"


@hostile
def test_a_batch_whose_record_cannot_be_read_is_unknown_and_the_others_are_listed(body: bytes) -> None:
    bench = WebBench()
    good, bad = bench.create_batch(), bench.create_batch()
    bench.images.batches[bad] = body.decode(errors="replace") + "}"
    assert bench.client.get(f"/api/v1/batches/{bad}").status_code == 404
    assert bench.client.get("/").status_code == 200
    assert [row["batch_id"] for row in bench.get("/api/v1/batches")["batches"]] == [good]


CURSORS = [
    DEEP,
    b"[1," + b"[" * 500 + b"]" * 500 + b",null]",
    b'[1e999,"",null]',
    b'[1,"\\ud800",null]',
    b'[1,"",null,1]',
    b"[" + b"9" * 5000 + b',"",null]',
    b'{"seconds": 1, "key": "", "newest_seconds": null}',
]


@pytest.mark.parametrize("cursor", CURSORS, ids=range(len(CURSORS)))
def test_a_hostile_cursor_is_refused(cursor: bytes) -> None:
    text = base64.urlsafe_b64encode(cursor).decode().rstrip("=")
    with pytest.raises(CursorError):
        Cursor.decode(text)
    bench = WebBench()
    path = f"/api/v1/batches/{bench.create_batch()}/results"
    assert bench.client.get(path, query_string={"cursor": text}).status_code in (400, 422)


# --- tokens, models, webhooks --------------------------------------------------------------------


def test_a_hostile_token_opens_nothing_and_the_others_are_listed() -> None:
    state: Any = InMemoryStateStore()
    _text, good = new_token("ada", ["read"], 1.0)
    _text, other = new_token("eve", ["read"], 1.0)
    state.put(good.key, good.encode())
    state.put(f"tokens/{'0' * 16}.json", DEEP)
    state.put(f"tokens/{'1' * 16}.json", other.encode())
    for key in ("tokens/", "tokens/photo.jpg", "tokens/x/y.json"):
        state.put(key, other.encode())
    assert list(TokenStore(state).all()) == [good]
    assert TokenStore(state).find("0" * 16) is None
    assert TokenStore(state).find("1" * 16) is None, "a copy under another id is no token"


@pytest.mark.parametrize(
    "body",
    [
        DEEP,
        b'{"v": 1, "day": "2026-11-21", "images": 1e999}',
        b'{"v": 1, "day": "2026-11-21", "images": []}',
        b'{"v": 1, "day": "tomorrow", "images": 10}',
    ],
)
def test_a_hostile_count_of_images_begins_anew(body: bytes) -> None:
    state: Any = InMemoryStateStore()
    state.put(f"usage/{'0' * 16}.json", body)
    assert UsageStore(state).take("0" * 16, "2026-11-21", 5, 10) == 5
    assert UsageStore(state).take("0" * 16, "2026-11-21", 6, 10) == 5


def test_a_hostile_version_is_no_model_and_the_others_are_listed(tmp_path: Path) -> None:
    state: Any = InMemoryStateStore()
    store = ModelStore(state)
    added = store.add(make_bundle(tmp_path / "bundle"), 1.0)
    state.put("models/versions/deep/1.json", DEEP)
    state.put("models/versions/copied/1.json", added.encode())
    state.put("models/versions/photo.jpg", b"pixels")
    assert store.list() == [added]
    for full_name in ("deep@1", "copied@1"):
        with pytest.raises(ModelError, match=full_name):
            store.get(full_name)


@pytest.mark.parametrize(
    "manifest", [DEEP, b"[1]", b'{"v": NaN}', b"\xff", b'{"sha256": [1]}', b'{"sha256": {"\\ud800": 1}}']
)
def test_a_hostile_manifest_is_no_bundle(tmp_path: Path, manifest: bytes) -> None:
    folder = make_bundle(tmp_path / "bundle")
    (folder / "bundle.json").write_bytes(manifest)
    with pytest.raises(BundleError):
        load_bundle(folder)
    with pytest.raises(ModelError):
        ModelStore(InMemoryStateStore()).add(folder, 1.0)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "change",
    [
        {"secret": "none"},
        {"url": 5},
        {"attempts": "1"},
        {"created_at": []},
        {"batch_id": "20991231-000000-0123456789ab"},
    ],
    ids=lambda change: next(iter(change)),
)
def test_a_hostile_webhook_does_not_hold_up_the_others(change: dict[str, Any]) -> None:
    bench = test_webhooks.Bench()
    bench.complete()
    first = "20200101-000000-0123456789ab"  # looked at before the bench's own
    key = image_key(first, 0, "a.jpg")
    bench.images.put(key, b"x", "a.jpg")
    bench.results.put(ClassificationResult(key, "a.jpg", (Prediction("a", 1.0),)))
    bench.clock.advance(60)
    note = {"v": 1, "batch_id": first, "url": "https://example.org/", "secret": test_webhooks.SECRET}
    note |= {"created_at": bench.clock(), "attempts": 0, "not_before": 0.0} | change
    bench.state.put(f"webhooks/{first}.json", json.dumps(note).encode())
    bench.state.put("webhooks/", b"")
    bench.webhooks.round()
    assert len(bench.sent) == 1 and isinstance(bench.webhooks, Webhooks)
    assert list(bench.state.objects) == ["webhooks/"], "what is no note is dropped, what is not ours is left"
