"""The upload service: nothing lost, nothing mixed up, whatever fails for one file."""

from __future__ import annotations

import math
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from io import BytesIO

import pytest

from aws.in_memory import InMemoryImageStore, InMemoryJobQueue, InMemoryResultStore
from core.errors import AlreadyExistsError, CloudError
from core.formats import ACCEPTED_TEXT
from core.jobs import ClassificationJob, image_key, position_of
from tests.web import JPEG, File, WebBench
from web_tier.domain.multipart import UploadedFile, UploadFormatError
from web_tier.domain.upload_service import Refusal, UploadService


@pytest.fixture
def bench() -> WebBench:
    return WebBench()


def photos(count: int) -> list[File]:
    return [(f"{number}.jpg", JPEG) for number in range(count)]


def test_each_image_is_stored_under_its_key_and_gets_one_job(bench: WebBench) -> None:
    batch_id = bench.create_batch()
    answer = bench.upload(batch_id, [("Übung.jpg", JPEG), ("a b.png", JPEG)], offset=7)
    keys = [f"{batch_id}/00007-Ubung.jpg", f"{batch_id}/00008-a_b.png"]
    assert answer == {
        "accepted": [{"name": "Übung.jpg", "key": keys[0]}, {"name": "a b.png", "key": keys[1]}],
        "rejected": [],
        "not_stored": [],
        "archives": [],
    }
    assert [bench.images.get(key) for key in keys] == [JPEG, JPEG]
    assert [(job.key, job.name, job.batch_id, job.bucket) for job in bench.queue.jobs] == [
        (keys[0], "Übung.jpg", batch_id, bench.images.bucket),
        (keys[1], "a b.png", batch_id, bench.images.bucket),
    ]


def test_jobs_travel_in_tens_and_only_after_their_images(bench: WebBench) -> None:
    stored_when_sent = []
    send = bench.queue.send

    def watch(jobs: list[ClassificationJob]) -> int:
        stored_when_sent.append(all(job.key in bench.images.objects for job in jobs))
        return send(jobs)

    bench.queue.send = watch  # type: ignore[assignment]
    bench.upload(bench.create_batch(), photos(25))
    assert [len(jobs) for method, jobs in bench.queue.calls if method == "send"] == [10, 10, 5]
    assert stored_when_sent == [True, True, True]


def test_a_refused_file_is_stored_as_a_result_and_the_others_go_on(bench: WebBench) -> None:
    batch_id = bench.create_batch()
    answer = bench.upload(
        batch_id, [("a.jpg", JPEG), ("empty.jpg", b""), ("text, b.jpg", b"no image"), ("c.jpg", JPEG)]
    )
    assert [file["name"] for file in answer["accepted"]] == ["a.jpg", "c.jpg"]
    assert answer["rejected"] == [
        {"name": "empty.jpg", "key": f"{batch_id}/00001-empty.jpg", "code": "empty", "error": "the file is empty"},
        {
            "name": "text, b.jpg",
            "key": f"{batch_id}/00002-text_b.jpg",
            "code": "not_an_image",
            "error": f"the file is not an image of a known format; accepted are {ACCEPTED_TEXT}",
        },
    ]
    assert bench.results.line(f"{batch_id}/00001-empty.jpg") == "empty.jpg, error: the file is empty"
    assert bench.results.get(f"{batch_id}/00002-text_b.jpg").worker_id == "web-tier"
    assert set(bench.images.objects) == {f"{batch_id}/00000-a.jpg", f"{batch_id}/00003-c.jpg"}
    assert len(bench.queue.jobs) == 2


def test_the_limits_of_the_settings_rule() -> None:
    bench = WebBench(max_image_bytes=len(JPEG), max_image_pixels=48)
    big = JPEG + b"\0"
    answer = bench.upload(bench.create_batch(), [("a.jpg", JPEG), ("big.jpg", big)])
    assert [file["code"] for file in answer["rejected"]] == ["too_large"]
    bench = WebBench(max_image_pixels=47)
    answer = bench.upload(bench.create_batch(), [("a.jpg", JPEG)])
    assert answer["rejected"][0]["error"] == "the image has 48 pixels, more than the limit of 47"


def test_a_file_that_s3_refuses_is_reported_and_has_no_job(bench: WebBench) -> None:
    batch_id = bench.create_batch()
    bench.images.fail_next("put", where=lambda key: key.endswith("-1.jpg"))
    answer = bench.upload(batch_id, photos(3), offset=40)
    assert [file["name"] for file in answer["accepted"]] == ["0.jpg", "2.jpg"]
    assert answer["not_stored"] == [
        {"name": "1.jpg", "position": 41, "code": "not_stored", "error": "could not be stored, please try again"}
    ]
    assert sorted(job.name for job in bench.queue.jobs) == ["0.jpg", "2.jpg"]


def test_a_refusal_that_cannot_be_stored_is_reported(bench: WebBench) -> None:
    bench.results.fail_next("put")
    answer = bench.upload(bench.create_batch(), [("empty.jpg", b""), ("a.jpg", JPEG)])
    assert ([f["name"] for f in answer["accepted"]], answer["rejected"]) == (["a.jpg"], [])
    assert [f["name"] for f in answer["not_stored"]] == ["empty.jpg"]


def test_jobs_that_sqs_refuses_are_reported_and_the_other_tens_go_on(bench: WebBench) -> None:
    bench.queue.fail_next("send", where=lambda jobs: jobs[0].name == "10.jpg")
    answer = bench.upload(bench.create_batch(), photos(25))
    assert len(answer["accepted"]) == 15
    assert {(file["name"], file["code"]) for file in answer["not_stored"]} == {
        (f"{number}.jpg", "not_queued") for number in range(10, 20)
    }


def test_everything_failing_is_still_an_answer_for_every_file(bench: WebBench) -> None:
    bench.images.fail_next("put", times=math.inf)
    answer = bench.upload(bench.create_batch(), photos(12), offset=0)
    assert [file["position"] for file in answer["not_stored"]] == list(range(12))


def test_repeating_a_request_with_its_offset_changes_nothing(bench: WebBench) -> None:
    batch_id = bench.create_batch()
    files = [*photos(3), ("empty.jpg", b"")]
    first = bench.upload(batch_id, files, offset=20)
    assert bench.upload(batch_id, files, offset=20) == first
    bench.answer()
    assert (len(bench.images.objects), len(bench.results.objects)) == (3, 4)


def test_without_an_offset_positions_go_on_after_what_is_there(bench: WebBench) -> None:
    batch_id = bench.create_batch()
    bench.upload(batch_id, photos(2))
    bench.upload(batch_id, [("empty.jpg", b"")])
    bench.upload(batch_id, photos(1))
    keys = sorted(set(bench.images.objects) | set(bench.results.objects))
    assert [key.partition("/")[2] for key in keys] == ["00000-0.jpg", "00001-1.jpg", "00002-empty.jpg", "00003-0.jpg"]


def test_two_requests_without_offset_never_overwrite_each_other(bench: WebBench) -> None:
    batch_id = bench.create_batch()
    original_list = bench.images.list
    # Both requests see an empty batch, as if they had begun at the same moment.
    bench.images.list = lambda batch_id: iter(())
    with ThreadPoolExecutor(4) as pool:
        answers = list(pool.map(lambda _: bench.upload(batch_id, [("dog.jpg", JPEG)] * 10), range(4)))
    bench.images.list = original_list
    keys = [file["key"] for answer in answers for file in answer["accepted"]]
    assert len(set(keys)) == len(bench.images.objects) == 40


def test_a_name_taken_at_its_position_moves_on(bench: WebBench) -> None:
    bench.images.fail_next("put", error=AlreadyExistsError())
    batch_id = bench.create_batch()
    answer = bench.upload(batch_id, [("dog.jpg", JPEG)])
    assert answer["accepted"] == [{"name": "dog.jpg", "key": image_key(batch_id, 1, "dog.jpg")}]
    assert bench.images.get(image_key(batch_id, 1, "dog.jpg")) == JPEG


def test_files_beyond_the_limit_of_a_batch_are_reported_by_name() -> None:
    bench = WebBench(max_batch_images=3)
    answer = bench.upload(bench.create_batch(), photos(5))
    assert [file["name"] for file in answer["accepted"]] == ["0.jpg", "1.jpg", "2.jpg"]
    assert [(file["name"], file["code"]) for file in answer["not_stored"]] == [
        ("3.jpg", "batch_full"),
        ("4.jpg", "batch_full"),
    ]
    assert answer["not_stored"][0]["error"] == "the batch is full: it can have 3 images"


def test_the_same_names_in_two_batches_do_not_mix(bench: WebBench) -> None:
    one, two = bench.create_batch(), bench.create_batch()
    bench.upload(one, [("dog.jpg", JPEG)])
    bench.upload(two, [("dog.jpg", JPEG), ("dog.jpg", JPEG)])
    bench.answer()
    assert [bench.get(f"/api/v1/batches/{batch_id}")["answered"] for batch_id in (one, two)] == [1, 2]


def test_when_the_body_breaks_off_the_complete_files_are_processed() -> None:
    images, results, queue = InMemoryImageStore(), InMemoryResultStore(), InMemoryJobQueue()

    def files() -> Iterator[UploadedFile]:
        for number in range(12):
            yield UploadedFile(f"{number}.jpg", len(JPEG), BytesIO(JPEG))
        raise UploadFormatError

    with ThreadPoolExecutor(4) as pool:
        service = UploadService(WebBench().settings, images, results, queue, pool)  # type: ignore[arg-type]
        with pytest.raises(UploadFormatError):
            service.accept("20260101-000000-aaaaaaaaaaaa", files(), 0)
    assert len(images.objects) == len(queue.jobs) == 12


def test_each_file_is_admitted_in_order_and_positions_go_on_over_the_refused(bench: WebBench) -> None:
    asked: list[str] = []

    def admit(file: UploadedFile) -> Refusal | None:
        asked.append(file.filename)
        return Refusal("full", "no more today") if file.filename in ("1.jpg", "3.jpg") else None

    bodies = [BytesIO(JPEG) for _number in range(5)]
    files = (UploadedFile(f"{number}.jpg", len(JPEG), body) for number, body in enumerate(bodies))
    with ThreadPoolExecutor(2) as pool:
        service = UploadService(bench.settings, bench.images, bench.results, bench.queue, pool)  # type: ignore[arg-type]
        report = service.accept("20260101-000000-aaaaaaaaaaaa", files, None, admit)
    assert asked == [f"{number}.jpg" for number in range(5)]
    assert [position_of(entry.key) for entry in report.accepted] == [0, 2, 4]
    assert [(entry.name, entry.position, entry.code, entry.sentence) for entry in report.not_stored] == [
        ("1.jpg", 1, "full", "no more today"),
        ("3.jpg", 3, "full", "no more today"),
    ]
    assert report.received_bytes == 5 * len(JPEG)
    assert all(body.closed for body in bodies)


def test_when_admission_fails_the_files_before_it_are_processed_and_its_body_is_closed(bench: WebBench) -> None:
    def admit(file: UploadedFile) -> None:
        if file.filename == "2.jpg":
            raise CloudError("the store of quotas does not answer")

    bodies = [BytesIO(JPEG) for _number in range(3)]
    files = (UploadedFile(f"{number}.jpg", len(JPEG), body) for number, body in enumerate(bodies))
    with ThreadPoolExecutor(2) as pool:
        service = UploadService(bench.settings, bench.images, bench.results, bench.queue, pool)  # type: ignore[arg-type]
        with pytest.raises(CloudError):
            service.accept("20260101-000000-aaaaaaaaaaaa", files, 0, admit)
    assert len(bench.images.objects) == len(bench.queue.jobs) == 2
    assert all(body.closed for body in bodies)


def test_every_body_is_closed(bench: WebBench) -> None:
    bodies = [BytesIO(JPEG), BytesIO(b""), BytesIO(JPEG)]
    files = [UploadedFile("a.jpg", len(body.getvalue()), body) for body in bodies]
    bench.images.fail_next("put")
    with ThreadPoolExecutor(1) as pool:
        service = UploadService(bench.settings, bench.images, bench.results, bench.queue, pool)  # type: ignore[arg-type]
        service.accept("20260101-000000-aaaaaaaaaaaa", files, 0)
    assert all(body.closed for body in bodies)
