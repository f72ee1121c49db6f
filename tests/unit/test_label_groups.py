"""Groups of labels: which label is in which group, and the group that answers for an unsure model."""

from __future__ import annotations

import itertools
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from core.jobs import Prediction
from core.paths import REPOSITORY_ROOT
from training.imagenet_names import class_names, labels
from training.label_groups import EVERYDAY_GROUPS, OTHER_GROUPS
from web_tier.domain.label_groups import (
    BEST_LABELS,
    MIN_GROUP_SCORE,
    MIN_SHARE_OF_BEST,
    TABLE_FILE,
    CommonGroup,
    LabelGroups,
    common_group,
    groups_of,
    imagenet_groups,
    parse_table,
    with_article,
)
from web_tier.languages.labels import in_plain_words

TABLE = imagenet_groups()


def predictions(*pairs: tuple[str, float]) -> list[Prediction]:
    return [Prediction(label, score) for label, score in pairs]


def group_of(*pairs: tuple[str, float]) -> CommonGroup | None:
    found = predictions(*pairs)
    return common_group(found, groups_of(found, TABLE))


@pytest.mark.parametrize(
    ("label", "shown", "path"),
    [
        ("tabby", "cat", "cat mammal animal"),
        ("beagle", "dog", "hound dog mammal animal"),
        ("hammerhead", "shark", "shark fish animal"),
        ("minivan", "car", "car,motor vehicle,vehicle"),
        ("kite", "bird", "bird of prey,bird,animal"),
        ("crane (machine)", "", ""),
        ("Cardigan", "dog", "dog mammal animal"),
        ("cardigan", "piece of clothing", "piece of clothing,"),
        ("home theater", "", ""),
        ("Band Aid", "", ""),
    ],
)
def test_groups_of_labels(label: str, shown: str, path: str) -> None:
    expected = tuple(filter(None, path.split(",") if "," in path else path.split()))
    assert TABLE[label] == LabelGroups(shown, expected)


def test_the_table_has_every_class_of_imagenet_and_of_the_shipped_model() -> None:
    rows = [line.split("\t")[:2] for line in TABLE_FILE.read_text("utf-8").splitlines() if not line.startswith("#")]
    assert [tuple(row) for row in rows] == list(zip((synset for synset, _ in class_names()), labels(), strict=True))
    bundle = REPOSITORY_ROOT / "models" / "resnet50-imagenet"
    synsets = json.loads((bundle / "bundle.json").read_text())["synsets"]
    shipped = zip(synsets, (bundle / "labels.txt").read_text("utf-8").splitlines(), strict=True)
    assert set(shipped) <= {(synset, label) for synset, label in rows}


def test_each_group_is_within_the_same_wider_one_everywhere_and_is_one_of_the_script() -> None:
    paths = [groups.path for groups in TABLE.values()]
    wider = {pair for path in paths for pair in itertools.pairwise((*path, ""))}
    assert len(wider) == len({group for group, _ in wider})
    assert {group for group, _ in wider} == {*EVERYDAY_GROUPS, *OTHER_GROUPS}
    assert not EVERYDAY_GROUPS.keys() & OTHER_GROUPS.keys()
    assert all(groups.shown in ("", *groups.path) for groups in TABLE.values())
    assert {groups.shown for groups in TABLE.values()} == {"", *EVERYDAY_GROUPS}


def test_the_table_names_its_source_and_has_its_licence() -> None:
    header = " ".join(
        line.removeprefix("#").strip() for line in TABLE_FILE.read_text("utf-8").splitlines() if line[0] == "#"
    )
    assert "WordNet 3.0 Copyright 2006 by Princeton University. All rights reserved." in " ".join(header.split())
    assert "https://wordnet.princeton.edu" in header
    assert 'IS PROVIDED "AS IS"' in header


@pytest.mark.parametrize(
    ("label", "group", "words"),
    [
        ("tabby", "cat", "tabby, a cat"),
        ("ant", "insect", "ant, an insect"),
        ("Egyptian cat", "cat", "Egyptian cat"),
        ("crane (bird)", "bird", "crane (bird)"),
        ("Indian elephant", "elephant", "Indian elephant"),
        ("Band Aid", None, "Band Aid"),
        ("Band Aid", "", "Band Aid"),
    ],
)
def test_labels_in_plain_words(label: str, group: str | None, words: str) -> None:
    assert in_plain_words(label, group) == words


def test_the_first_letter_of_each_group_decides_about_its_article() -> None:
    groups = {*EVERYDAY_GROUPS, *OTHER_GROUPS}
    # The exceptions of English: "a unit", "a one-way street", "an hour", "an heir".
    assert not [group for group in groups if group.startswith(("u", "eu", "one", "hour", "heir", "honest"))]
    assert all(group == group.lower() for group in groups)
    assert (with_article("amphibian"), with_article("hound")) == ("an amphibian", "a hound")


@pytest.mark.parametrize(
    ("best", "group"),
    [
        # Two hounds and other dogs: the dog, since the hounds alone have too little.
        ([("beagle", 0.4), ("basset", 0.3), ("boxer", 0.1), ("pug", 0.05), ("collie", 0.03)], ("dog", 0.88)),
        # The others matter little.
        ([("beagle", 0.48), ("basset", 0.3), ("tabby", 0.02), ("pug", 0.01), ("fig", 0.005)], ("hound", 0.78)),
        # A dog or a cat.
        ([("beagle", 0.4), ("tabby", 0.3), ("pug", 0.02), ("lynx", 0.01), ("collie", 0.005)], ("mammal", 0.735)),
        # All five are dogs, but all else is more likely.
        ([("beagle", 0.2), ("basset", 0.1), ("boxer", 0.09), ("pug", 0.05), ("collie", 0.05)], None),
        # Nothing in common.
        ([("beagle", 0.4), ("minivan", 0.3), ("fig", 0.05), ("pug", 0.01), ("collie", 0.01)], None),
        # A label without any group.
        ([("Band Aid", 0.49), ("hook", 0.3), ("fig", 0.05), ("pug", 0.01), ("collie", 0.01)], None),
        # Another model's labels, some of which are ImageNet's too.
        ([("jaguar", 0.49), ("beetle", 0.3), ("mustang", 0.05), ("impala", 0.03), ("fox", 0.01)], None),
        # Rounded scores.
        ([("beagle", 0.49999), ("basset", 0.49999), ("whippet", 0.00001), ("Saluki", 0.00001), ("borzoi", 0.00002)],
         ("hound", 1.0)),
        ([], None),
    ],
)  # fmt: skip
def test_the_group_in_doubt(best: list[tuple[str, float]], group: tuple[str, float] | None) -> None:
    found = group_of(*best)
    assert (found and (found.name, round(found.score, 4))) == group


def test_only_the_best_labels_count() -> None:
    best = [("beagle", 0.3), ("basset", 0.2), ("Saluki", 0.1), ("whippet", 0.05), ("borzoi", 0.05)]
    found = group_of(*best, ("fig", 0.05), ("minivan", 0.05))
    assert found is not None and (found.name, round(found.score, 6)) == ("hound", 0.7)


def test_labels_of_other_models_have_no_groups() -> None:
    cifar10 = predictions(("bird", 0.4), ("cat", 0.3), ("deer", 0.1), ("frog", 0.1), ("ship", 0.1))
    assert groups_of(cifar10, TABLE) == [LabelGroups()] * 5
    cars = predictions(("jaguar", 0.4), ("mustang", 0.3))
    assert groups_of(cars, TABLE) == [LabelGroups()] * 2
    breeds = predictions(("beagle", 0.4), ("pug", 0.3))
    assert [groups.shown for groups in groups_of(breeds, TABLE)] == ["dog", "dog"]


# Labels that have a group in common more often than by chance.
RELATED = st.sampled_from(["", "dog", "mammal", "animal", "vehicle"]).flatmap(
    lambda group: st.sampled_from(sorted(label for label in TABLE if not group or group in TABLE[label].path))
)


@given(
    st.lists(st.tuples(RELATED, st.floats(0.001, 1)), min_size=1, max_size=10, unique_by=lambda pair: pair[0]),
    st.floats(0.3, 1),
)
def test_a_group_in_doubt_has_the_probability_and_no_narrower_one_does(
    weighted: list[tuple[str, float]], total: float
) -> None:
    whole = sum(weight for _, weight in weighted)
    best = sorted(((label, weight * total / whole) for label, weight in weighted), key=lambda pair: -pair[1])

    def score(group: str) -> float:
        return sum(score for label, score in best[:BEST_LABELS] if group in TABLE[label].path)

    needed = max(MIN_GROUP_SCORE, MIN_SHARE_OF_BEST * sum(score for _, score in best[:BEST_LABELS]))
    found = group_of(*best)
    enough = [group for group in {*EVERYDAY_GROUPS, *OTHER_GROUPS} if score(group) >= needed]
    if found is None:
        assert not enough
    else:
        assert found.score == pytest.approx(score(found.name))
        # What else has enough contains it.
        path = TABLE[best[0][0]].path
        assert set(enough) == set(path[path.index(found.name) :])


def test_a_table_is_read_without_its_header() -> None:
    assert parse_table("# header\nn1\ta b\tdog\tdog < animal\nn2\tc\t-\t-\n") == {
        "a b": LabelGroups("dog", ("dog", "animal")),
        "c": LabelGroups(),
    }
