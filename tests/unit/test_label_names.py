"""Names of labels from the wordnets of other languages, and the review that chooses among them."""

from __future__ import annotations

import pytest

from core.errors import TrainingError
from training.imagenet_names import names_of_synsets
from training.label_names import CHOICES_FILE, FIRST, LANGUAGES, make_table, name_of, parse_choices, parse_wordnet
from web_tier.languages.labels import NONE, TABLE_FILE, names_in, parse_table

CHOICES = parse_choices(CHOICES_FILE.read_text("utf-8"))
LABELS = names_of_synsets()


def test_words_of_a_wordnet() -> None:
    text = """INSERT INTO french_synset VALUES ("n#04562935","château_d''eau réservoir",NULL,NULL);
INSERT INTO french_synset VALUES ("v#00001740","inspirer",NULL,NULL);
INSERT INTO spanish_synset VALUES ('n#01440764',"tenca tinca_tinca",NULL,NULL);"""
    assert parse_wordnet(text) == {"04562935": ["château_d'eau", "réservoir"], "01440764": ["tenca", "tinca_tinca"]}


@pytest.mark.parametrize(
    ("words", "label", "choice", "name"),
    [
        (["tenca", "tinca_tinca"], "tench", FIRST, "tenca"),
        (["ave", "pez_de_colores"], "goldfish", "pez_de_colores", "pez de colores"),
        (["timbre-poste"], "frying pan", NONE, NONE),
        ([], "frying pan", FIRST, NONE),
        (["Requin-marteau"], "hammerhead", FIRST, "requin-marteau"),
        (["Monstre_de_Gila"], "Gila monster", FIRST, "Monstre de Gila"),
        (["VTT"], "mountain bike", FIRST, "VTT"),
    ],
)
def test_name_of_a_label(words: list[str], label: str, choice: str, name: str) -> None:
    assert name_of(words, label, choice) == name


def test_a_choice_that_the_source_lacks_is_an_error() -> None:
    with pytest.raises(TrainingError, match="tench: carpa is not in the source, which has tenca"):
        name_of(["tenca"], "tench", "carpa")


def test_the_table_is_read_as_it_was_written() -> None:
    sources = {"es": {"n1": ["tenca"]}, "fr": {"n1": ["tanche", "x"], "n2": ["y"]}, "zh": {}}
    text = make_table(sources, {"n2": {"fr": NONE}}, [("n1", "tench"), ("n2", "goldfish")])
    assert parse_table(text) == {"es": {"tench": "tenca"}, "fr": {"tench": "tanche"}, "zh": {}}


def test_the_table_has_all_labels_in_their_order() -> None:
    rows = [line.split("\t") for line in TABLE_FILE.read_text("utf-8").splitlines() if not line.startswith("#")]
    assert [(row[0], row[1]) for row in rows[1:]] == list(LABELS.items())
    assert {len(row) for row in rows} == {2 + len(LANGUAGES)}


@pytest.mark.parametrize("language", LANGUAGES)
def test_the_table_follows_the_review(language: str) -> None:
    names = names_in(language)
    assert CHOICES.keys() <= LABELS.keys()
    for synset, chosen in CHOICES.items():
        label, choice = LABELS[synset], chosen[language]
        if choice == NONE:
            assert label not in names
        elif choice != FIRST:
            assert name_of([choice], label, choice) == names[label]
