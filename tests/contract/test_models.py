"""The model store and the record of releases on the embedded S3 and on a fake."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from aws.clients import Clients
from aws.in_memory import InMemoryStateStore
from aws.models import ModelError, ModelStore
from aws.releases import ReleaseStore
from aws.state import StateStore
from core.errors import CloudError, DecodeError
from core.object_keys import MODEL_FILES
from core.releases import KEY, Release, ReleaseRecord
from core.settings import Settings
from tests.bundles import make_bundle


@pytest.fixture(params=["embedded", "fake"])
def state(request: pytest.FixtureRequest) -> Iterator[StateStore | InMemoryStateStore]:
    """Both sides of the contract."""
    if request.param == "fake":
        yield InMemoryStateStore()
        return
    clients: Clients = request.getfixturevalue("clients")
    settings: Settings = request.getfixturevalue("settings")
    yield StateStore(clients["s3"], settings.state_bucket)


def test_a_version_that_was_added_is_listed_and_fetched_as_it_was(state: StateStore, tmp_path: Path) -> None:
    store, folder = ModelStore(state), make_bundle(tmp_path / "b", version="2", top1=0.75)
    added = store.add(folder, 100.0)
    assert (added.full_name, added.top1, added.added_at) == ("twenty@2", 0.75, 100.0)
    assert added.size_bytes == sum(path.stat().st_size for path in folder.iterdir())
    second = store.add(make_bundle(tmp_path / "c", version="3"), 200.0)
    assert store.list() == [second, added]
    fetched = store.fetch("twenty@2", tmp_path / "cache")
    assert {p.name: p.read_bytes() for p in fetched.iterdir()} == {p.name: p.read_bytes() for p in folder.iterdir()}


def test_files_that_versions_share_are_stored_once(state: StateStore, tmp_path: Path) -> None:
    store = ModelStore(state)
    store.add(make_bundle(tmp_path / "b", version="1"), 1.0)
    store.add(make_bundle(tmp_path / "c", version="2"), 2.0)
    # Two manifests, and model, labels and card once.
    assert len(list(state.list(MODEL_FILES))) == 5


def test_a_version_never_changes(state: StateStore, tmp_path: Path) -> None:
    store, folder = ModelStore(state), make_bundle(tmp_path / "b")
    store.add(folder, 1.0)
    with pytest.raises(ModelError, match="already, with the same files"):
        store.add(folder, 2.0)
    with pytest.raises(ModelError, match="with other files; versions never change"):
        store.add(make_bundle(tmp_path / "c", model=b"another"), 2.0)
    assert store.get("twenty@1").added_at == 1.0


def test_of_many_that_add_the_same_version_one_does(state: StateStore, tmp_path: Path) -> None:
    folders = [make_bundle(tmp_path / str(n), model=str(n).encode()) for n in range(6)]

    def add(folder: Path) -> bool:
        try:
            ModelStore(state).add(folder, float(folder.name))
        except ModelError:
            return False
        return True

    with ThreadPoolExecutor(6) as pool:
        done = list(pool.map(add, folders))
    assert sum(done) == 1
    fetched = ModelStore(state).fetch("twenty@1", tmp_path / "cache")
    assert (fetched / "model.tflite").read_bytes() == str(done.index(True)).encode()


def test_what_is_baked_in_is_not_fetched(state: StateStore, tmp_path: Path) -> None:
    store, folder = ModelStore(state), make_bundle(tmp_path / "b")
    store.add(folder, 1.0)
    assert store.fetch("twenty@1", tmp_path / "cache", folder) == folder
    other = make_bundle(tmp_path / "c", model=b"another")
    assert store.fetch("twenty@1", tmp_path / "cache", other).parent == tmp_path / "cache"
    assert not list((tmp_path / "cache").glob(".fetching-*"))


def test_a_damaged_cache_is_fetched_again(state: StateStore, tmp_path: Path) -> None:
    store, folder = ModelStore(state), make_bundle(tmp_path / "b")
    store.add(folder, 1.0)
    fetched = store.fetch("twenty@1", tmp_path / "cache")
    (fetched / "model.tflite").write_bytes(b"damaged")
    with ThreadPoolExecutor(4) as pool:
        assert set(pool.map(lambda _: store.fetch("twenty@1", tmp_path / "cache"), range(4))) == {fetched}
    assert (fetched / "model.tflite").read_bytes() == (folder / "model.tflite").read_bytes()


def test_a_file_that_the_store_has_lost_or_that_was_altered_is_refused(state: StateStore, tmp_path: Path) -> None:
    store = ModelStore(state)
    version = store.add(make_bundle(tmp_path / "b"), 1.0)
    key = MODEL_FILES.key_of(version.files["model.tflite"].sha256)
    state.put(key, b"altered")
    with pytest.raises(ModelError, match="is not the file that was added"):
        store.fetch("twenty@1", tmp_path / "cache")
    state.delete(key)
    with pytest.raises(ModelError, match="has lost"):
        store.fetch("twenty@1", tmp_path / "cache")
    assert [path.name for path in (tmp_path / "cache").iterdir()] == [".lock"]


@pytest.mark.parametrize(
    ("spoil", "sentence"),
    [
        (lambda folder: (folder / "labels.txt").unlink(), "labels.txt missing"),
        (lambda folder: (folder / "notes.txt").write_text("x"), "no part of a bundle: notes.txt"),
        (lambda folder: (folder / "model.tflite").write_bytes(b"other"), "is not the file that bundle.json describes"),
        (lambda folder: (folder / "bundle.json").write_text("{"), "is not a bundle's manifest"),
        (lambda folder: (folder / "bundle.json").write_text("[]"), "is not a bundle's manifest"),
        (lambda folder: shutil.rmtree(folder), "cannot be read"),
    ],
)
def test_what_is_no_bundle_is_refused_and_nothing_stored(spoil: object, sentence: str, tmp_path: Path) -> None:
    state: Any = InMemoryStateStore()
    folder = make_bundle(tmp_path / "b")
    spoil(folder)  # type: ignore[operator]
    with pytest.raises(ModelError, match=sentence):
        ModelStore(state).add(folder, 1.0)
    assert state.objects == {}


@pytest.mark.parametrize("name", ["twenty", "@1", "twenty@", "../x@1", "a/b@1", "twenty@1/2", "twenty@ 1"])
def test_a_name_that_is_none_is_refused(name: str) -> None:
    with pytest.raises(ModelError, match="not a model's name and version"):
        ModelStore(InMemoryStateStore()).get(name)  # type: ignore[arg-type]


def test_an_unknown_version_is_reported(state: StateStore) -> None:
    with pytest.raises(ModelError, match="the model store has no twenty@9"):
        ModelStore(state).get("twenty@9")


def test_an_upload_that_fails_leaves_no_version(tmp_path: Path) -> None:
    state: Any = InMemoryStateStore()
    state.fail_next("create")
    with pytest.raises(CloudError):
        ModelStore(state).add(make_bundle(tmp_path / "b"), 1.0)
    assert ModelStore(state).list() == []
    # A retry within botocore that meets its own write is no conflict.
    state.answer_with_conflict_after_effect("create")
    assert ModelStore(state).add(make_bundle(tmp_path / "c"), 2.0).full_name == "twenty@1"


@pytest.mark.parametrize("method", ["create", "replace"])
def test_a_change_of_the_record_that_meets_its_own_write_is_no_conflict(method: str) -> None:
    state: Any = InMemoryStateStore()
    if method == "replace":
        state.put(KEY, ReleaseRecord().encode())
    state.answer_with_conflict_after_effect(method)
    changed = ReleaseStore(state).change(lambda record: record.begun("", "m@2", 1.0))
    assert ReleaseStore(state).read() == changed and changed.target == Release(1, "", "m@2")


def test_the_record_is_changed_conditionally(state: StateStore) -> None:
    store = ReleaseStore(state)
    assert store.read() == ReleaseRecord()

    def begin_late(record: ReleaseRecord) -> ReleaseRecord:
        if not state.get(KEY):
            state.put(KEY, ReleaseRecord(last_number=4).encode())  # another process was faster
        return record.begun("", "m@2", 1.0)

    assert store.change(begin_late).target == Release(5, "", "m@2")
    assert store.read().target == Release(5, "", "m@2")
    state.put(KEY, json.dumps({"v": 99}).encode())
    with pytest.raises(DecodeError):
        store.read()
