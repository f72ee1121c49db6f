"""Data sets: what is read, what is refused, and with which sentence."""

from __future__ import annotations

import hashlib
import io
import os
import pickle
import tarfile
from pathlib import Path

import numpy as np
import pytest
import scipy.io
from click.testing import CliRunner
from PIL import Image

from cli import main
from core.errors import TrainingError
from tests.serving import serving, sha256
from tests.training.helpers import SHAPES, write_shapes
from training.datasets import archives, cifar10, detect, load_dataset
from training.datasets.cifar10 import load_arrays, read_cifar10, read_cifar10_folder
from training.datasets.folders import read_folders
from training.datasets.manifests import read_manifest
from training.datasets.published import PUBLISHED, PublishedDataset, PublishedFile
from training.datasets.stanford_dogs import read_stanford_dogs
from training.download import check_form


def _image(path: Path, colour: str = "red") -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", (8, 8), colour).save(path)
    return path


def test_a_folder_for_each_class(tmp_path: Path) -> None:
    write_shapes(tmp_path / "shapes", 2)
    (tmp_path / "shapes" / "circle" / "notes.txt").write_text("not an image")
    dataset = read_folders(tmp_path / "shapes")
    assert (dataset.name, dataset.labels, dataset.synsets) == ("shapes", SHAPES, None)
    assert [(s.name, s.label, s.part) for s in dataset.samples][:3] == [
        ("circle/000.png", 0, None),
        ("circle/001.png", 0, None),
        ("square/000.png", 1, None),
    ]


def test_parts_and_synsets_are_taken_from_folders(tmp_path: Path) -> None:
    for part in ("train", "val"):
        _image(tmp_path / part / "n02085620-Chihuahua" / "images" / f"{part}1.jpg")
        _image(tmp_path / part / "n02085782" / f"{part}2.jpg")
    (tmp_path / "words.txt").write_text("n02085782\tJapanese spaniel, Japanese chin\n")
    dataset = read_folders(tmp_path)
    assert dataset.labels == ("Chihuahua", "Japanese spaniel")
    assert dataset.synsets == ("n02085620", "n02085782")
    assert {sample.part for sample in dataset.samples} == {"train", "validation"}


def test_synsets_of_one_name_stay_apart(tmp_path: Path) -> None:
    for synset in ("n03710637", "n03710721"):
        _image(tmp_path / f"{synset}-maillot" / "a.png")
    assert read_folders(tmp_path).labels == ("maillot (n03710637)", "maillot (n03710721)")


@pytest.mark.parametrize(
    ("files", "sentence"),
    [
        ([], "holds no images"),
        (["cat/a.png"], "a single class, cat"),
        (["train/cat/a.png", "train/dog/a.png", "test/cow/a.png"], "no training image of cow"),
    ],
)
def test_folders_that_cannot_be_learned_from(tmp_path: Path, files: list[str], sentence: str) -> None:
    for file in files:
        _image(tmp_path / file)
    with pytest.raises(TrainingError, match=sentence):
        read_folders(tmp_path)


def test_manifest_with_numbers_and_names(tmp_path: Path) -> None:
    (tmp_path / "labels.txt").write_text("cat\ndog\n")
    (tmp_path / "set.lst").write_text("0\t1.000000\tb/1.jpg\n1\t0\ta.jpg\n\n")
    dataset = read_manifest(tmp_path / "set.lst")
    assert dataset.labels == ("cat", "dog")
    assert [(s.name, s.label, s.path) for s in dataset.samples] == [
        ("b/1.jpg", 1, tmp_path / "b" / "1.jpg"),
        ("a.jpg", 0, tmp_path / "a.jpg"),
    ]


def test_numbered_labels_sort_as_numbers(tmp_path: Path) -> None:
    (tmp_path / "set.lst").write_text("0\t10\ta.jpg\n1\t9\tb.jpg\n")
    assert [sample.label for sample in read_manifest(tmp_path / "set.lst").samples] == [1, 0]


@pytest.mark.parametrize(
    ("line", "sentence"),
    [
        ("0 1 a.jpg", "line 2 has 1 columns"),
        ("0\t1\t2\ta.jpg", "line 2 has 4 columns"),
        ("0\t1\t../../etc/passwd", "leads out of the manifest's folder"),
        ("0\t1\t/etc/passwd", "leads out of the manifest's folder"),
    ],
)
def test_manifest_mistakes_are_named(tmp_path: Path, line: str, sentence: str) -> None:
    (tmp_path / "set.lst").write_text(f"0\tcat\ta.jpg\n{line}\n")
    with pytest.raises(TrainingError, match=sentence):
        read_manifest(tmp_path / "set.lst")


def _lists(folder: Path, **lines: str) -> None:
    """A list for each keyword, of paths below their class's folder, separated by spaces."""
    for name, paths in lines.items():
        (folder / f"{name}.lst").write_text("".join(f"{path}\n" for path in paths.split()))


@pytest.mark.parametrize("given", ["X_train.lst", ".", "X_test.lst"])
def test_a_pair_of_lists_is_taken_as_it_is(tmp_path: Path, given: str) -> None:
    _lists(tmp_path, X_train="cat/1.jpg dog/2.jpg cat/3.jpg", X_test="dog/4.jpg", X_val="cat/5.jpg")
    assert detect(tmp_path / given) == "lst"
    dataset = load_dataset(tmp_path / given, "auto", tmp_path)
    assert (dataset.name, dataset.labels) == ("X_train", ("cat", "dog"))
    assert {sample.name: (dataset.labels[sample.label], sample.part) for sample in dataset.samples} == {
        "cat/1.jpg": ("cat", "train"),
        "dog/2.jpg": ("dog", "train"),
        "cat/3.jpg": ("cat", "train"),
        "dog/4.jpg": ("dog", "test"),
        "cat/5.jpg": ("cat", "validation"),
    }


@pytest.mark.parametrize(
    ("train", "test"),
    [("X_0_train", "X_0_test"), ("train-fold1", "test-fold1"), ("fold1.train", "fold1.test"), ("TRAIN", "test")],
)
def test_each_fold_has_its_own_test_list(tmp_path: Path, train: str, test: str) -> None:
    _lists(
        tmp_path, **{train: "a/1.jpg b/2.jpg", test: "a/3.jpg", "X_1_train": "a/3.jpg b/4.jpg", "X_1_test": "b/9.jpg"}
    )
    dataset = read_manifest(tmp_path / f"{train}.lst")
    assert [(sample.name, sample.part) for sample in dataset.samples] == [
        ("a/1.jpg", "train"),
        ("b/2.jpg", "train"),
        ("a/3.jpg", "test"),
    ]
    with pytest.raises(
        TrainingError, match=r"has 2 sets of lists \(.*X_1_train.lst.*\); give the training list of one"
    ):
        read_manifest(tmp_path)


def test_lists_with_an_image_in_common_are_refused(tmp_path: Path) -> None:
    _lists(tmp_path, X_train="a/1.jpg b/2.jpg a/3.jpg", X_test="a/../a/1.jpg b/2.jpg", X_val="a/4.jpg a/3.jpg")
    with pytest.raises(TrainingError) as refused:
        read_manifest(tmp_path / "X_train.lst")
    assert str(refused.value) == (
        "X_train.lst and X_test.lst share 2 images, such as a/../a/1.jpg, b/2.jpg; "
        "X_train.lst and X_val.lst share 1 images, such as a/3.jpg.  Each image may be in one list only"
    )


@pytest.mark.parametrize(
    ("lists", "given", "sentence"),
    [
        ({"X_test": "a/1.jpg b/2.jpg"}, "X_test.lst", "is a test list, and there is no training list of that name"),
        ({"X_train": "a/1.jpg b/2.jpg", "X_test": "c/3.jpg"}, "X_train.lst", "X_train.lst: no training image of c"),
        ({"X_train": "a/1.jpg b/2.jpg"}, ".", "has no pair of lists such as X_train.lst and X_test.lst"),
    ],
)
def test_incomplete_pairs_are_refused(tmp_path: Path, lists: dict[str, str], given: str, sentence: str) -> None:
    _lists(tmp_path, **lists)
    with pytest.raises(TrainingError, match=sentence):
        load_dataset(tmp_path / given, "lst", tmp_path)


def test_a_training_list_alone_is_split(tmp_path: Path) -> None:
    _lists(tmp_path, X_train="a/1.jpg b/2.jpg", strain="a/3.jpg b/3.jpg", contest="a/4.jpg b/4.jpg")
    for name in ("X_train", "strain", "contest"):
        assert {sample.part for sample in read_manifest(tmp_path / f"{name}.lst").samples} == {None}


@pytest.fixture
def breeds(tmp_path: Path) -> Path:
    for name in ("n1-beagle", "n02109961-Eskimo_dog", "n02110063-malamute", "n02110185-Siberian_husky"):
        _image(tmp_path / "breeds" / name.replace("n1-", "n02088364-") / "1.png")
    return tmp_path / "breeds"


@pytest.mark.parametrize(
    ("classes", "kept"),
    [
        ("", ["beagle", "Eskimo_dog", "malamute", "Siberian_husky"]),
        ("2", ["beagle", "Eskimo_dog"]),
        ("malamute, eskimo dog", ["Eskimo_dog", "malamute"]),
        ("n02110185,Beagle,", ["beagle", "Siberian_husky"]),
    ],
)
def test_some_classes_of_a_data_set(breeds: Path, classes: str, kept: list[str]) -> None:
    dataset = load_dataset(breeds, "auto", breeds, classes)
    assert list(dataset.labels) == kept
    assert [sample.label for sample in dataset.samples] == list(range(len(kept)))
    assert all(dataset.labels[sample.label] in sample.name for sample in dataset.samples)
    assert dataset.synsets is not None and all(
        synset in sample.name for synset, sample in zip(dataset.synsets, dataset.samples, strict=True)
    )


@pytest.mark.parametrize(
    ("classes", "sentence"),
    [
        ("husky", "breeds has no class husky; similar ones: Siberian_husky"),
        ("zebra,beagle", "breeds has no class zebra$"),
        ("5", "--classes 5: breeds has 4 classes"),
        ("1", "--classes 1 of breeds holds a single class, beagle"),
        ("0", "--classes 0 of breeds holds no images"),
    ],
)
def test_classes_that_cannot_be_selected(breeds: Path, classes: str, sentence: str) -> None:
    with pytest.raises(TrainingError, match=sentence):
        load_dataset(breeds, "auto", breeds, classes)


def _tar(path: Path, members: dict[str, bytes]) -> str:
    with tarfile.open(path, "w") as tar:
        for name, body in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(body)
            tar.addfile(info, io.BytesIO(body))
    return hashlib.sha256(path.read_bytes()).hexdigest()


@pytest.mark.parametrize("name", ["../outside.txt", "/outside.txt", "a/../../outside.txt"])
def test_archives_never_write_outside_their_folder(tmp_path: Path, name: str) -> None:
    _tar(tmp_path / "bad.tar", {"good.txt": b"1", name: b"2"})
    folder = tmp_path / "cache" / "bad"
    try:
        archives.extract(tmp_path / "bad.tar", folder)
    except TrainingError as error:
        assert "outside" in str(error)
        assert not folder.exists()
    else:  # an absolute path may also be made relative
        assert (folder / "outside.txt").read_bytes() == b"2"
    assert not Path("/outside.txt").exists()
    assert not list(tmp_path.glob("outside.txt")) + list((tmp_path / "cache").glob("outside.txt"))
    assert not list((tmp_path / "cache").glob(".bad*"))


def test_archives_with_links_out_or_devices_are_refused(tmp_path: Path) -> None:
    for kind, target in ((tarfile.SYMTYPE, "/etc/passwd"), (tarfile.CHRTYPE, "")):
        with tarfile.open(tmp_path / "bad.tar", "w") as tar:
            info = tarfile.TarInfo("member")
            info.type, info.linkname = kind, target
            tar.addfile(info)
        with pytest.raises(TrainingError, match="refused"):
            archives.extract(tmp_path / "bad.tar", tmp_path / "cache")


def _dogs(folder: Path) -> dict[str, str]:
    """Stanford Dogs in little: two breeds, two photos each."""
    photo = io.BytesIO()
    Image.new("RGB", (8, 8), "brown").save(photo, "JPEG")
    files = [
        f"{breed}/{number}.jpg" for breed in ("n02085620-Chihuahua", "n02116738-African_hunting_dog") for number in "12"
    ]
    lists = {}
    for name, chosen in (("train_list.mat", files[::2]), ("test_list.mat", files[1::2])):
        body = io.BytesIO()
        scipy.io.savemat(body, {"file_list": np.array([[file] for file in chosen], dtype=object)})
        lists[name] = body.getvalue()
    return {
        "images.tar": _tar(folder / "images.tar", {f"Images/{file}": photo.getvalue() for file in files}),
        "lists.tar": _tar(folder / "lists.tar", lists),
    }


def test_stanford_dogs(tmp_path: Path) -> None:
    hashes = _dogs(tmp_path)
    dataset = read_stanford_dogs(tmp_path, tmp_path / "cache", hashes)
    assert dataset.labels == ("Chihuahua", "African_hunting_dog")
    assert dataset.synsets == ("n02085620", "n02116738")
    assert [(sample.label, sample.part) for sample in dataset.samples] == [
        (0, "train"),
        (1, "train"),
        (0, "test"),
        (1, "test"),
    ]
    assert all(sample.path is not None and sample.path.is_file() for sample in dataset.samples)
    # Unpacked once: without the archives' bodies it still works.
    (tmp_path / "images.tar").write_bytes(b"")
    assert len(read_stanford_dogs(tmp_path, tmp_path / "cache", hashes).samples) == 4


def test_altered_stanford_dogs_are_refused(tmp_path: Path) -> None:
    _dogs(tmp_path)
    with pytest.raises(TrainingError, match="not the published file"):
        load_dataset(tmp_path, "auto", tmp_path / "cache")
    assert not (tmp_path / "cache").exists()


def _cifar(path: Path, batch: bytes | None = None, protocol: int = 2) -> None:
    """CIFAR-10's archive in little: ten images a batch, the first green, the others grey."""
    rows = np.full((10, 3072), 128, np.uint8)
    rows[0] = np.repeat([0, 255, 0], 1024)
    good = pickle.dumps({b"data": rows, b"labels": list(range(10))}, protocol)
    names = [f"data_batch_{number}" for number in range(1, 6)] + ["test_batch"]
    members = {f"cifar-10-batches-py/{name}": good for name in names}
    members["cifar-10-batches-py/batches.meta"] = pickle.dumps({b"label_names": [b"class%d" % n for n in range(10)]})
    if batch is not None:
        members["cifar-10-batches-py/data_batch_3"] = batch
    with tarfile.open(path, "w:gz") as tar:
        for name, body in members.items():
            info = tarfile.TarInfo(name)
            info.size = len(body)
            tar.addfile(info, io.BytesIO(body))


@pytest.mark.parametrize("protocol", [2, 4])
def test_cifar10(tmp_path: Path, protocol: int) -> None:
    _cifar(tmp_path / cifar10.ARCHIVE, protocol=protocol)
    dataset = read_cifar10(tmp_path / cifar10.ARCHIVE, md5=None)
    assert dataset.labels[:2] == ("class0", "class1")
    assert [sum(s.part == part for s in dataset.samples) for part in ("train", "test")] == [50, 10]
    first = dataset.samples[0].pixels
    assert first is not None and first.shape == (32, 32, 3) and (first == (0, 255, 0)).all()


def test_other_archives_by_that_name_are_refused(tmp_path: Path) -> None:
    _cifar(tmp_path / cifar10.ARCHIVE)
    with pytest.raises(TrainingError, match="its md5 is"):
        load_dataset(tmp_path, "auto", tmp_path)
    (tmp_path / cifar10.ARCHIVE).write_bytes(b"not an archive")
    with pytest.raises(TrainingError, match="not CIFAR-10's archive"):
        read_cifar10(tmp_path / cifar10.ARCHIVE, md5=None)


def test_strings_of_python_2_are_read() -> None:
    # As Python 2 pickled {"data": 1, "labels": [3]}.
    assert load_arrays(b"\x80\x02}(U\x04dataK\x01U\x06labels]K\x03au.") == {"data": 1, "labels": [3]}


class _Evil:
    def __init__(self, marker: Path) -> None:
        self._marker = marker

    def __reduce__(self) -> tuple[object, ...]:
        return os.mkdir, (str(self._marker),)


def test_a_pickle_with_code_is_refused_and_not_run(tmp_path: Path) -> None:
    marker = tmp_path / "ran"
    body = pickle.dumps({b"data": _Evil(marker)})
    with pytest.raises(TrainingError, match=r"refused: the pickle asks for .*mkdir"):
        load_arrays(body)
    _cifar(tmp_path / cifar10.ARCHIVE, batch=body)
    with pytest.raises(TrainingError, match="refused"):
        read_cifar10(tmp_path / cifar10.ARCHIVE, md5=None)
    assert not marker.exists()


@pytest.mark.parametrize(
    ("name", "kind"), [("set.lst", "lst"), (cifar10.ARCHIVE, "cifar10"), ("images.tar", "stanford-dogs")]
)
def test_the_form_is_seen_by_the_name(tmp_path: Path, name: str, kind: str) -> None:
    (tmp_path / name).touch()
    assert detect(tmp_path / name) == kind
    assert detect(tmp_path) == (kind if kind != "lst" else "folders")


def test_what_is_no_data_set_gets_a_sentence(tmp_path: Path) -> None:
    (tmp_path / "photo.jpg").touch()
    with pytest.raises(TrainingError, match="is not a data set: give a folder"):
        load_dataset(tmp_path / "photo.jpg", "auto", tmp_path)
    with pytest.raises(TrainingError, match="does not exist"):
        load_dataset(tmp_path / "nowhere", "auto", tmp_path)


def test_extracted_cifar10_is_read_like_its_archive(tmp_path: Path) -> None:
    _cifar(tmp_path / "archive.tar.gz")
    archives.extract(tmp_path / "archive.tar.gz", tmp_path / "set")
    folder = tmp_path / "set" / cifar10.FOLDER
    assert detect(tmp_path / "set") == detect(folder) == "cifar10"
    archived = read_cifar10(tmp_path / "archive.tar.gz", md5=None)
    extracted = read_cifar10_folder(folder, md5={})
    assert extracted.labels == archived.labels
    for one, other in zip(extracted.samples, archived.samples, strict=True):
        assert (one.name, one.label, one.part) == (other.name, other.label, other.part)
        np.testing.assert_array_equal(one.pixels, other.pixels)
    # These are not the published files.
    with pytest.raises(TrainingError, match=r"batches.meta is not the published file: its md5 is"):
        load_dataset(tmp_path / "set", "auto", tmp_path)
    (folder / "data_batch_2").unlink()
    with pytest.raises(TrainingError, match="data_batch_2 is missing"):
        read_cifar10_folder(folder, md5={})


@pytest.mark.parametrize("lists", [".", "lists"])
def test_extracted_stanford_dogs_are_read_like_their_archives(tmp_path: Path, lists: str) -> None:
    hashes = _dogs(tmp_path)
    folder = tmp_path / "dogs"
    for archive, target in (("images.tar", folder), ("lists.tar", folder / lists)):
        with tarfile.open(tmp_path / archive) as tar:
            tar.extractall(target, filter="data")
    (folder / "Annotation" / "n02085620-Chihuahua").mkdir(parents=True)
    assert detect(folder) == "stanford-dogs"
    archived = read_stanford_dogs(tmp_path, tmp_path / "cache", hashes)
    extracted = load_dataset(folder, "auto", tmp_path / "cache")
    assert (extracted.labels, extracted.synsets) == (archived.labels, archived.synsets)
    assert [(s.name, s.label, s.part) for s in extracted.samples] == [
        (s.name, s.label, s.part) for s in archived.samples
    ]
    assert all(sample.path is not None and folder in sample.path.parents for sample in extracted.samples)


def test_a_download_names_its_address_and_its_check(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    served = tmp_path / "served"
    served.mkdir()
    (served / "set.tar").write_bytes(b"published")
    with serving(served) as address:
        files = [PublishedFile(f"{address}/set.tar", sha256(content)) for content in (b"published", b"altered")]
        for name, file in zip(("good", "bad"), files, strict=True):
            monkeypatch.setitem(PUBLISHED, "cifar10", PublishedDataset("https://example.org/", (file,)))
            result = CliRunner().invoke(main, ["train", str(tmp_path / name), "--download", "cifar10"])
            digits = file.hash.partition(":")[2]
            assert f"{file.url} to " in result.output and f"published sha256, {digits}" in result.output
            assert "https://example.org/" in result.output
            assert (result.exit_code == 0) == (name == "good") == (tmp_path / name / "set.tar").exists()
    assert (tmp_path / "good" / "set.tar").read_bytes() == b"published"


def test_the_published_files_have_the_form_that_a_download_checks() -> None:
    for dataset in PUBLISHED.values():
        for file in dataset.files:
            check_form(file.hash)
            assert file.url.startswith(dataset.page.rpartition("/")[0])
