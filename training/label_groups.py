"""Derive the groups of ImageNet's labels, such as "beagle" → hound < dog < mammal < animal, from WordNet's hierarchy.

``python -m training.label_groups DATA_NOUN`` writes the table that the web tier reads.  `DATA_NOUN` is WordNet 3.0's
file ``data.noun``, for example from Debian's package wordnet-base; its offsets are the numbers in ImageNet's synsets.
Its format: https://wordnet.princeton.edu/documentation/wndb5wn
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path

import click

from core.errors import TrainingError
from training.imagenet_names import class_names, labels
from web_tier.domain.label_groups import NONE, TABLE_FILE, WITHIN

Hypernyms = Mapping[str, Sequence[str]]

# Groups that are shown beside a label ("beagle, a dog"), each with the synsets below which its members are.  Every name
# can be counted, and its article is "an" exactly where it begins with a vowel.
EVERYDAY_GROUPS: Mapping[str, Sequence[str]] = {
    # Animals.
    "animal": ["n00015388"],
    "bear": ["n02131653"],
    "big cat": ["n02127808"],
    "bird": ["n01503061"],
    "butterfly": ["n02274259"],
    "cat": ["n02120997"],  # the feline: lynx and cougar too
    "crab": ["n01976957"],
    "crustacean": ["n01974773"],
    "dog": ["n02084071"],
    "elephant": ["n02503517"],
    "fish": ["n02512053"],
    "fox": ["n02118333"],
    "frog": ["n01639765"],
    "insect": ["n02159955"],
    "lizard": ["n01674464"],
    "mammal": ["n01861778"],
    "mollusc": ["n01940736"],
    "monkey": ["n02484322"],
    "pig": ["n02395003"],
    "reptile": ["n01661091"],
    "rodent": ["n02329401"],
    "salamander": ["n01629276"],
    "shark": ["n01482330"],
    "snake": ["n01726692"],
    "spider": ["n01772222"],
    "turtle": ["n01662784"],
    "whale": ["n02062744"],
    "worm": ["n01922303"],
    # Plants and food.
    "dessert": ["n07609840"],
    "dish": ["n07557434"],
    "drink": ["n07881800"],
    "flower": ["n11669921"],
    "fruit": ["n07705931"],
    "fungus": ["n12992868"],
    "kind of bread": ["n07679356"],
    "vegetable": ["n07707451"],
    # Vehicles.
    "aircraft": ["n02686568"],
    "bicycle": ["n02834778"],
    "boat": ["n02858304", "n04128837"],
    "bus": ["n02924116"],
    "car": ["n02958343"],
    "cart": ["n02970849", "n03484083"],
    "locomotive": ["n03684823"],
    "railway car": ["n02959942"],
    "ship": ["n04194289"],
    "sled": ["n04235291"],
    "truck": ["n04490091"],
    "vehicle": ["n04524313"],
    # Clothes and what is worn.
    "bag": ["n02773037"],
    "coat": ["n03057021"],
    "hat": ["n03497657"],
    "helmet": ["n03513137"],
    "necktie": ["n03815615"],
    "piece of armor": ["n02739668"],
    "piece of clothing": ["n03051540"],
    "shoe": ["n03380867"],
    "skirt": ["n04230808"],
    "swimsuit": ["n04371563"],
    # Things in and around the house.
    "ball": ["n02778669"],
    "bed": ["n02818832", "n02766320"],
    "bottle": ["n02876657"],
    "box": ["n02883344"],
    "camera": ["n02942699"],
    "chair": ["n03001627"],
    "clock": ["n03046257"],
    "computer": ["n03196324"],
    "container": ["n03094503"],
    "electronic device": ["n03278248", "n03277771"],
    "household appliance": ["n03528263"],
    "kitchen utensil": ["n03621049", "n04516672"],
    "light": ["n04263760"],
    "machine": ["n03699975"],
    "measuring instrument": ["n03733925"],
    "medical instrument": ["n03739693"],
    "musical instrument": ["n03800933"],
    "optical instrument": ["n03852280"],
    "pen": ["n03906997"],
    "piece of furniture": ["n03405725"],
    "piece of sports equipment": ["n04285146"],
    "telephone": ["n04401088"],
    "toiletry": ["n04447443", "n03714235"],
    "tool": ["n04451818"],
    "toy": ["n03964744"],
    "weapon": ["n04565375"],
    # Buildings and landscape.
    "bridge": ["n02898711"],
    "building": ["n02913152", "n03259505"],
    "fence": ["n03327234"],
    "landform": ["n09287968"],
    "monument": ["n03743902"],
    "place of worship": ["n03953416"],
    "shop": ["n03748162"],
    "structure": ["n04341686"],
    "person": ["n00007846"],
}

# Groups that answer for an unsure model, but are shown beside no label: a wider group is plainer, or a narrower one.
OTHER_GROUPS: Mapping[str, Sequence[str]] = {
    "amphibian": ["n01627424"],
    "antelope": ["n02419796"],
    "ape": ["n02470325"],
    "beetle": ["n02164464"],
    "bird of prey": ["n01604330"],
    "crocodile or alligator": ["n01696633"],
    "duck": ["n01846331"],
    "gun": ["n03467984"],
    "kind of food": ["n07555863", "n00021265"],
    "hoofed animal": ["n02370806"],
    "hound": ["n02087551"],
    "marsupial": ["n01874434"],
    "motor vehicle": ["n03791235"],
    "parrot": ["n01816887"],
    "piece of headgear": ["n03502509"],
    "poodle": ["n02113335"],
    "primate": ["n02469914"],
    "retriever": ["n02099029"],
    "sheepdog": ["n02104523"],
    "spaniel": ["n02101108", "n02086346"],
    "stringed instrument": ["n04338517"],
    "terrier": ["n02092468"],
    "wading bird": ["n02000954"],
    "watercraft": ["n04530566"],
    "wild dog": ["n02115335"],
    "wind instrument": ["n04586932"],
    "wolf": ["n02114100"],
}

# Links of WordNet, from a synset to its hypernym, that do not hold for what ImageNet's photos show.
IGNORED_LINKS = {
    ("n02666196", "n02938886"),  # abacus → calculator (a machine)
    ("n04238763", "n02708224"),  # slide rule → analog computer (a machine)
    ("n06359193", "n03082979"),  # web site → computer
    ("n03529860", "n04417809"),  # home theater → theater (a building)
    ("n04162706", "n04125853"),  # seat belt → safety belt (clothing)
    ("n04023962", "n02778669"),  # punching bag → ball
    ("n03633091", "n04531098"),  # ladle → vessel (a container)
    ("n04284002", "n03094503"),  # spoon → container
    ("n02978881", "n03094503"),  # cassette → container
    ("n07560652", "n00021265"),  # fare, a menu's → food
    ("n07800091", "n00021265"),  # feed, such as hay → food
}


@dataclass(frozen=True, slots=True)
class WordNet:
    """WordNet's nouns: the direct hypernyms of each synset, in WordNet's order, and the licence."""

    hypernyms: Hypernyms
    licence: tuple[str, ...]


def read_data_noun(path: Path) -> WordNet:
    """Reads WordNet's ``data.noun``.

    Raises:
        TrainingError: the file cannot be read, or is not WordNet's.
    """
    try:
        lines = path.read_text("utf-8").splitlines()
        # The licence's lines are numbered and begin with spaces; no synset's does.
        licence = [line.split(maxsplit=1)[1:] for line in takewhile(lambda line: line.startswith("  "), lines)]
        hypernyms = dict(map(_synset_and_hypernyms, lines[len(licence) :]))
    except (OSError, ValueError, IndexError) as error:
        raise TrainingError(f"{path} cannot be read as WordNet's data.noun: {error}") from error
    return WordNet(hypernyms, tuple("".join(words).rstrip() for words in licence))


def _synset_and_hypernyms(line: str) -> tuple[str, tuple[str, ...]]:
    # offset, file, type, number of words (hex), each word with an id, number of pointers, and four fields for each:
    # symbol, offset, part of speech, source and target.
    fields = line.partition(" | ")[0].split()
    first = 4 + 2 * int(fields[3], 16)
    pointers = fields[first + 1 : first + 1 + 4 * int(fields[first])]
    parents = zip(pointers[0::4], pointers[1::4], strict=True)
    # ``@`` is a hypernym, ``@i`` the class of a single thing.
    return f"n{fields[0]}", tuple(f"n{offset}" for symbol, offset in parents if symbol in ("@", "@i"))


def group_path(synset: str, hypernyms: Hypernyms, groups: Mapping[str, Sequence[str]]) -> tuple[str, ...]:
    """The groups of a class, from the narrowest to the widest, each within the next.

    Of several groups above a class or a group, those that contain another of them are left for later; of the others,
    the nearest is taken, and of two that are equally near the one that WordNet names first.

    Args:
        groups: the synsets of each group; what is below one of them is a member.

    Raises:
        TrainingError: WordNet does not have the synset.
    """
    if synset not in hypernyms:
        raise TrainingError(f"WordNet 3.0 has no noun {synset}")
    names = {member: name for name, members in groups.items() for member in members}
    path: list[str] = []
    at: str | None = synset
    while at is not None:
        above = [other for other in _ancestors(at, hypernyms) if other in names and names[other] not in path]
        wider = {name for other in above for name in _ancestors(other, hypernyms)}
        at = next((other for other in above if other not in wider), None)
        if at is not None:
            path.append(names[at])
    return tuple(path)


def _ancestors(synset: str, hypernyms: Hypernyms) -> list[str]:
    """All hypernyms of a synset, the nearest first, those at an equal distance in WordNet's order."""
    found: dict[str, None] = {}
    level = [synset]
    while level:
        above = [parent for child in level for parent in hypernyms[child] if (child, parent) not in IGNORED_LINKS]
        level = [parent for parent in dict.fromkeys(above) if parent not in found]
        found.update(dict.fromkeys(level))
    return list(found)


def table_text(classes: Iterable[tuple[str, str]], wordnet: WordNet) -> str:
    """The table of groups: a header with source and licence, then a line for each class.

    Args:
        classes: synset and label of each.

    Raises:
        TrainingError: WordNet does not have a class.
    """
    header = [
        "Groups of ImageNet's labels: synset, label, the group shown beside the label, and all groups from the",
        f'narrowest to the widest; "{NONE}": none.  Written by `python -m training.label_groups`; do not edit.',
        "",
        "The groups are derived from the nouns of WordNet 3.0 (https://wordnet.princeton.edu), whose licence is:",
        "",
        *wordnet.licence,
    ]
    lines = [f"# {line}".rstrip() for line in header]
    every = {**EVERYDAY_GROUPS, **OTHER_GROUPS}
    for synset, label in classes:
        path = group_path(synset, wordnet.hypernyms, every)
        shown = next((group for group in path if group in EVERYDAY_GROUPS), NONE)
        lines.append("\t".join((synset, label, shown, WITHIN.join(path) or NONE)))
    return "\n".join(lines) + "\n"


@click.command()
@click.argument("data_noun", type=click.Path(path_type=Path, exists=True, dir_okay=False))
def main(data_noun: Path) -> None:
    """Write the table of groups from WordNet's file data.noun."""
    classes = zip((synset for synset, _ in class_names()), labels(), strict=True)
    TABLE_FILE.write_text(table_text(classes, read_data_noun(data_noun)), "utf-8")


if __name__ == "__main__":
    main()
