"""Message catalogues: extraction from the code, update, compilation.  Not imported by the web tier.

``python -m web_tier.languages.catalogues`` (`make translations`) brings ``translations/`` up to date with the code: new
messages get empty translations, which a test reports, and messages that are gone are removed.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from gettext import c2py
from pathlib import Path
from typing import Any

from babel.messages.catalog import Catalog, Message
from babel.messages.extract import DEFAULT_KEYWORDS, extract_from_dir
from babel.messages.mofile import write_mo
from babel.messages.pofile import read_po, write_po

from core.languages import ENGLISH, LANGUAGES
from core.paths import REPOSITORY_ROOT
from web_tier.domain.label_groups import imagenet_groups, with_article
from web_tier.languages import script_messages
from web_tier.languages.choice import FOLDER

_KEYWORDS = {**DEFAULT_KEYWORDS, "N_": None}
# Folder → which of its files have messages, and Babel's name of the method that finds them.
_SOURCES = {
    "web_tier": [("**.py", "python")],
    "templates": [("**.html", "jinja2.ext:babel_extract")],
    "static": [("**.js", "javascript")],
}
_PROJECT = "Elastic Image Classifier"
_LINE_LENGTH = 120


@dataclass(frozen=True, slots=True)
class Paths:
    """The files of one language: the catalogue, its compiled form, and the messages of the scripts."""

    source: Path
    compiled: Path
    scripts: Path

    @classmethod
    def of(cls, language: str) -> Paths:
        """The files of a language below ``translations/``."""
        folder = FOLDER / language
        messages = folder / "LC_MESSAGES"
        return cls(messages / "messages.po", messages / "messages.mo", folder / script_messages.FILE)


def translated_languages() -> list[str]:
    """The languages that have a catalogue: all but the source."""
    return [language for language in LANGUAGES if language != ENGLISH]


def extract() -> Catalog:
    """All messages of pages, scripts and the web tier's code, and the groups of labels."""
    catalog = Catalog(project=_PROJECT)
    for folder, message, comments in _found():
        catalog.add(message, locations=[(folder, 0)], auto_comments=comments)
    for group in sorted({name for groups in imagenet_groups().values() for name in (groups.shown, *groups.path)}):
        if group:
            comment = "A group of labels, with its article; lower case where the language allows it."
            catalog.add(with_article(group), locations=[("label_groups.tsv", 0)], auto_comments=[comment])
    return catalog


def _found() -> Iterator[tuple[str, str | tuple[str, ...], list[str]]]:
    for folder, methods in _SOURCES.items():
        entries = extract_from_dir(
            REPOSITORY_ROOT / folder, methods, {"**.html": {"trimmed": "true"}}, _KEYWORDS, strip_comment_tags=True
        )
        for _file, _line, message, comments, _context in entries:
            yield folder, message, comments


def read(language: str) -> Catalog:
    """The catalogue of a language as it is stored."""
    with Paths.of(language).source.open("rb") as file:
        return read_po(file, locale=language)


def script_text(catalog: Catalog) -> str:
    """The content of `script_messages.FILE`: what the scripts show, and the groups of labels."""
    wanted = {"static", "label_groups.tsv"}
    messages = {
        _key(message): list(message.string) if isinstance(message.string, tuple) else str(message.string)
        for message in catalog
        if message.id and any(folder in wanted for folder, _line in message.locations)
    }
    return script_messages.encode(messages, c2py(catalog.plural_expr))


def _key(message: Message) -> str:
    return str(message.id[0] if isinstance(message.id, list | tuple) else message.id)


def _new(language: str) -> Catalog:
    created_at = datetime.now(UTC)
    fields: dict[str, Any] = {"creation_date": created_at, "revision_date": created_at, "last_translator": "-"}
    fields |= {"language_team": "-", "msgid_bugs_address": "-", "version": "1"}
    return Catalog(language, project=_PROJECT, fuzzy=False, **fields)


def update() -> None:
    """Bring all catalogues, their compiled forms and the scripts' messages up to date with the code."""
    template = extract()
    for language in translated_languages():
        paths = Paths.of(language)
        catalog = read(language) if paths.source.exists() else _new(language)
        created_at = catalog.creation_date
        catalog.update(template, no_fuzzy_matching=True, update_header_comment=False)
        catalog.obsolete.clear()
        # The time of the extraction would change every file each time.
        catalog.creation_date = created_at
        paths.source.parent.mkdir(parents=True, exist_ok=True)
        with paths.source.open("wb") as file:
            write_po(file, catalog, width=_LINE_LENGTH, sort_output=True, include_lineno=False)
        with paths.compiled.open("wb") as file:
            write_mo(file, catalog)
        paths.scripts.write_text(script_text(catalog), "utf-8")


if __name__ == "__main__":
    update()
