"""`elastic model` and `elastic rollout`: their views of the model store and of the release record."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from app_tier import smoke_test
from aws.in_memory import InMemoryStateStore
from aws.models import ModelError, ModelVersion
from cli.model import agreement_of, before, check, find, shadow_of, state_of
from cli.rollout import follow, lines_of, table_of
from core.errors import BundleError
from core.releases import ReleaseError, ReleaseRecord
from core.shadow import KEY, Shadow

OLD = ReleaseRecord()
ROLLING = OLD.begun("", "m@2", 1.0)
DONE = ROLLING.settled(2.0)
RETURNING = DONE.begun("", "m@3", 3.0).returning("failed", "3 instances failed", 4.0)
AFTER_TWO = DONE.begun("ami-1", "m@4", 5.0).settled(6.0)


@pytest.mark.parametrize(
    ("model", "record", "shadow", "state"),
    [
        ("m@2", OLD, Shadow(), ""),
        ("m@2", ROLLING, Shadow(), "candidate"),
        ("m@2", DONE, Shadow(), "current"),
        ("m@3", RETURNING, Shadow(), "being rolled back"),
        ("m@2", AFTER_TWO, Shadow(), "previous"),
        ("m@9", DONE, Shadow("m@9", 0.25), "candidate, 25% of the photos"),
        ("m@2", DONE, Shadow("m@2", 0.25), "current"),
    ],
)
def test_each_version_has_its_state(model: str, record: ReleaseRecord, shadow: Shadow, state: str) -> None:
    assert state_of(model, record, shadow) == state


def test_a_rollback_returns_to_the_previous_release() -> None:
    assert before(DONE) == ("", "") and before(AFTER_TWO) == ("", "m@2")
    with pytest.raises(ReleaseError, match="nothing to roll back to"):
        before(OLD)


def version(name: str) -> ModelVersion:
    model, _, number = name.partition("@")
    return ModelVersion(model, number, {}, None, 0.0)


def test_a_version_is_found_by_its_full_name_or_by_an_unambiguous_version() -> None:
    versions = [version("m@1"), version("m@2"), version("n@2")]
    assert find(versions, "m@2").full_name == "m@2" and find(versions, "1").full_name == "m@1"
    with pytest.raises(ModelError, match="2 names 2 versions; the model store has m@2, n@2"):
        find(versions, "2")
    with pytest.raises(ModelError, match="9 names no versions; the model store has m@1, m@2, n@2"):
        find(versions, "9")
    with pytest.raises(ModelError, match="the model store has nothing"):
        find([], "9")


def test_a_bundle_that_fails_its_smoke_test_is_refused_with_the_reason(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(folder: Path) -> str:
        raise BundleError("a label too few")

    monkeypatch.setattr(smoke_test, "run_apart", fail)
    with pytest.raises(ModelError, match="b was not added: a label too few"):
        check(Path("b"))


def test_a_smoke_test_in_another_process_says_what_failed() -> None:
    def run(status: int, out: str, error: str) -> Any:
        return lambda *_, **__: SimpleNamespace(returncode=status, stdout=out, stderr=error)

    assert smoke_test.run_apart(Path("b"), run=run(0, "a worker can run here\n", "")) == "a worker can run here"
    with pytest.raises(BundleError, match=r"^a label too few$"):
        smoke_test.run_apart(Path("b"), run=run(1, "", "a warning\na label too few\n"))
    with pytest.raises(BundleError, match="it ended with status 3"):
        smoke_test.run_apart(Path("b"), run=run(3, "", ""))


def test_the_candidate_and_its_agreement_are_read() -> None:
    state: Any = InMemoryStateStore()
    assert shadow_of(state) == Shadow()
    state.put(KEY, Shadow("m@2", 0.5).encode())
    assert shadow_of(state) == Shadow("m@2", 0.5)
    assert agreement_of("m@2", None) is None


def test_the_status_shows_the_present_release_the_rollout_and_the_past() -> None:
    assert lines_of(OLD, None) == ["The fleet runs release 0 (the image's model)."]
    lines = lines_of(RETURNING, None)
    assert lines[0].endswith("release 1 (model m@2).") and "3 instances failed" in lines[1]
    assert table_of(RETURNING).row_count == 2


class Releases:
    """A record that changes with each read."""

    def __init__(self, *records: ReleaseRecord) -> None:
        self.records = list(records)

    def read(self) -> ReleaseRecord:
        return self.records.pop(0) if len(self.records) > 1 else self.records[0]


def test_following_prints_each_step_and_fails_with_the_rollout(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("cli.rollout.POLL_SECONDS", 0.0)
    trouble = dataclasses.replace(ROLLING, reason="1 instances failed")
    done: Any = Releases(ROLLING, trouble, trouble, DONE)
    follow(done, wait=True)
    printed = capsys.readouterr()
    assert printed.err.count("1 instances failed") == 1 and "the fleet runs release 1 (model m@2)" in printed.out
    bad: Any = Releases(RETURNING, RETURNING.settled(9.0))
    with pytest.raises(ReleaseError, match=r"m@3.* failed: 3 instances failed"):
        follow(bad, wait=True)
    follow(bad, wait=True, fails=False)
    follow(bad, wait=False)
