"""A pseudo-locale: every message in Arabic letters, longer than in English, and written from right to left."""

from __future__ import annotations

import re
from pathlib import Path

from babel.messages.catalog import Catalog
from babel.messages.mofile import write_mo

from web_tier.languages import catalogues, script_messages

LANGUAGE = "ar"
# Translations of short texts are longer than English ones by half and more.
GROWTH = 1.5
_LETTERS = "ابتثجحخدذرزسشصضطظعغفقكلمنه"
_PLACEHOLDER = re.compile(r"(%\(\w+\)s|%%)")


def pseudo(text: str) -> str:
    """A text whose words are in Arabic letters and longer; placeholders stay."""
    parts = _PLACEHOLDER.split(text)
    parts[::2] = [re.sub(r"[A-Za-z]+", _longer, part) for part in parts[::2]]
    return "".join(parts)


def _longer(match: re.Match[str]) -> str:
    word = match.group().lower()
    length = round(len(word) * GROWTH)
    return "".join(_LETTERS[ord(word[index % len(word)]) - ord("a")] for index in range(length))


def write(folder: Path) -> None:
    """Write the compiled catalogue, and the messages of the scripts, into a folder like ``translations/``."""
    catalog = Catalog(LANGUAGE)
    catalog.update(catalogues.extract())
    for message in catalog:
        if isinstance(message.id, list | tuple):
            message.string = (pseudo(message.id[1]),) * catalog.num_plurals
        elif message.id:
            message.string = pseudo(message.id)
    catalog.fuzzy = False
    messages = folder / LANGUAGE / "LC_MESSAGES"
    messages.mkdir(parents=True)
    with (messages / "messages.mo").open("wb") as file:
        write_mo(file, catalog)
    (folder / LANGUAGE / script_messages.FILE).write_text(catalogues.script_text(catalog), "utf-8")
