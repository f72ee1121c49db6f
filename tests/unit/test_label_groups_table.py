"""The table of groups from WordNet's file, by a few of its lines."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner

from core.errors import TrainingError
from training import label_groups
from training.label_groups import group_path, read_data_noun, table_text
from web_tier.domain.label_groups import TABLE_FILE

# Debian's package wordnet-base installs it here.
INSTALLED = Path("/usr/share/wordnet/data.noun")
# Of WordNet's pointers, hypernyms (@ and @i) are kept here, and one each of the others: hyponym (~), part (#p),
# derived (+).
LINES = """\
  1 This database is being provided to you.
  2
  3   Indented.
00001740 03 n 01 entity 0 000 | that which is perceived
00003553 03 n 02 whole 0 unit 0 002 @ 00001740 n 0000 + 00367685 v 0201 | an assemblage of parts
00015388 03 n 06 animal 0 animate_being 0 beast 0 brute 0 creature 0 fauna 0 001 @ 00003553 n 0000 | a living organism
01317541 05 n 02 domestic_animal 0 domesticated_animal 0 001 @ 00015388 n 0000 | any of various animals
01861778 05 n 02 mammal 0 mammalian 0 001 @ 00015388 n 0000 | any warm-blooded vertebrate
02075296 05 n 01 carnivore 0 001 @ 01861778 n 0000 | a flesh-eating mammal
02083346 05 n 02 canine 0 canid 0 001 @ 02075296 n 0000 | any of various fissiped mammals
02084071 05 n 03 dog 0 domestic_dog 0 Canis_familiaris 0 003 @ 02083346 n 0000 @ 01317541 n 0000 ~ 02087551 n 0000 | dog
02087551 05 n 02 hound 0 hound_dog 0 001 @ 02084071 n 0000 | any of several breeds of dog | used for hunting
02088364 05 n 01 beagle 0 001 @ 02087551 n 0000 | a small short-legged hound
02958343 06 n 05 car 0 auto 0 automobile 0 machine 1 motorcar 0 002 @ 04576211 n 0000 #p 03770679 n 0000 | a car
03094503 06 n 01 container 0 001 @ 00003553 n 0000 | any object that can be used to hold things
03770679 06 n 01 minivan 0 001 @ 02958343 n 0000 | a small box-shaped passenger van
04524313 06 n 01 vehicle 0 001 @ 00003553 n 0000 | a conveyance that transports people or objects
04576211 06 n 01 wheeled_vehicle 0 002 @ 04524313 n 0000 @ 03094503 n 0000 | a vehicle that moves on wheels
04284002 06 n 01 spoon 0 001 @ 03094503 n 0000 | a piece of cutlery
09999999 15 n 01 one_car 0 001 @i 02958343 n 0000 | a single thing
"""
GROUPS = {
    "animal": ["n00015388"],
    "mammal": ["n01861778"],
    "dog": ["n02084071"],
    "hound": ["n02087551"],
    "car": ["n02958343"],
    "vehicle": ["n04524313"],
    "container": ["n03094503"],
}


@pytest.fixture
def data_noun(tmp_path: Path) -> Path:
    path = tmp_path / "data.noun"
    path.write_text(LINES)
    return path


@pytest.mark.parametrize(
    ("synset", "path"),
    [
        # A dog is directly below "domestic animal" too, from where an animal is nearer than the mammal.
        ("n02088364", ["hound", "dog", "mammal", "animal"]),
        # A wheeled vehicle is a vehicle and a container; WordNet names the vehicle first.
        ("n03770679", ["car", "vehicle"]),
        # A link that is ignored.
        ("n04284002", []),
        ("n09999999", ["car", "vehicle"]),
        ("n00001740", []),
    ],
)
def test_the_groups_of_a_class(data_noun: Path, synset: str, path: list[str]) -> None:
    assert list(group_path(synset, read_data_noun(data_noun).hypernyms, GROUPS)) == path


def test_a_group_of_several_synsets_occurs_once(data_noun: Path) -> None:
    groups = {"beast": ["n00015388", "n02084071"]}
    assert group_path("n02088364", read_data_noun(data_noun).hypernyms, groups) == ("beast",)


def test_a_class_that_wordnet_does_not_have_is_named(data_noun: Path) -> None:
    with pytest.raises(TrainingError, match="no noun n00000001"):
        group_path("n00000001", read_data_noun(data_noun).hypernyms, GROUPS)


@pytest.mark.parametrize("content", [b"no synset\n", b"\xff\xfe", b"00001740 03 n 01 entity 0 xyz | that\n"])
def test_a_file_that_is_not_wordnets_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "data.noun"
    path.write_bytes(content)
    with pytest.raises(TrainingError, match=r"data\.noun"):
        read_data_noun(path)


def test_the_table_has_the_licence_and_a_line_for_each_class(data_noun: Path) -> None:
    classes = [("n02088364", "beagle"), ("n04284002", "spoon")]
    lines = table_text(classes, read_data_noun(data_noun)).splitlines()
    assert lines[-5:] == [
        "# This database is being provided to you.",
        "#",
        "# Indented.",
        "n02088364\tbeagle\tdog\thound < dog < mammal < animal",
        "n04284002\tspoon\t-\t-",
    ]


def test_the_command_writes_the_table(data_noun: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(label_groups, "TABLE_FILE", tmp_path / "table.tsv")
    monkeypatch.setattr(label_groups, "class_names", lambda: [("n03770679", "minivan")])
    monkeypatch.setattr(label_groups, "labels", lambda: ["minivan"])
    done = CliRunner().invoke(label_groups.main, [str(data_noun)])
    assert done.exit_code == 0, done.output
    assert (tmp_path / "table.tsv").read_text().endswith("n03770679\tminivan\tcar\tcar < vehicle\n")


def test_the_committed_table_is_what_wordnet_gives(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if not INSTALLED.exists():
        pytest.skip(f"WordNet's nouns, {INSTALLED}, are not installed (package wordnet-base)")
    monkeypatch.setattr(label_groups, "TABLE_FILE", tmp_path / "table.tsv")
    assert CliRunner().invoke(label_groups.main, [str(INSTALLED)]).exit_code == 0
    assert (tmp_path / "table.tsv").read_bytes() == TABLE_FILE.read_bytes()
