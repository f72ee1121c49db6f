"""The message catalogues are complete, well-formed and up to date with the code."""

from __future__ import annotations

import io
import json
import re
from collections.abc import Iterator
from functools import cache
from gettext import c2py

import pytest
from babel.messages.catalog import Catalog, Message
from babel.messages.mofile import read_mo, write_mo

from core.languages import ENGLISH, LANGUAGES
from web_tier.languages import catalogues
from web_tier.languages.catalogues import Paths, translated_languages
from web_tier.languages.choice import FOLDER

PLACEHOLDER = re.compile(r"%\((\w+)\)s|%%")


@cache
def template() -> Catalog:
    return catalogues.extract()


@cache
def catalogue(language: str) -> Catalog:
    return catalogues.read(language)


def messages_of(catalog: Catalog) -> Iterator[Message]:
    return (message for message in catalog if message.id)


def texts(of: object) -> list[str]:
    return [str(text) for text in of] if isinstance(of, list | tuple) else [str(of)]


@pytest.mark.parametrize("language", translated_languages())
def test_every_message_is_translated(language: str) -> None:
    catalog = catalogue(language)
    lacking = [
        message.id
        for message in messages_of(catalog)
        if message.fuzzy
        or not all(texts(message.string))
        or (message.pluralizable and len(texts(message.string)) != catalog.num_plurals)
    ]
    assert lacking == [], f"translate them in {Paths.of(language).source}, then run `make translations`"


@pytest.mark.parametrize("language", translated_languages())
def test_translations_have_the_placeholders_of_the_message(language: str) -> None:
    for message in messages_of(catalogue(language)):
        wanted = sorted(set(PLACEHOLDER.findall(texts(message.id)[-1])))
        for text in texts(message.string):
            found = sorted(set(PLACEHOLDER.findall(text)))
            # "Das Bild wird gelöscht": a form for one thing may leave out its number.
            missing = set(wanted) - set(found)
            assert set(found) <= set(wanted) and missing <= ({"count"} if message.pluralizable else set()), message.id
            assert "%" not in PLACEHOLDER.sub("", text), message.id


@pytest.mark.parametrize("language", translated_languages())
def test_translations_are_safe_in_pages(language: str) -> None:
    """Jinja takes translations for HTML, also within attributes in double quotes."""
    for message in messages_of(catalogue(language)):
        for text in texts(message.string):
            assert not re.search(r'[<>&"]', text), message.id
            assert text == text.strip() or message.id[0] in ",;" or text[0] == "\u00a0", message.id


@pytest.mark.parametrize("language", translated_languages())
def test_the_catalogue_is_up_to_date_with_the_code(language: str) -> None:
    wanted = {(tuple(texts(message.id)), tuple(sorted(message.locations))) for message in messages_of(template())}
    there = {
        (tuple(texts(message.id)), tuple(sorted((name, 0) for name, _line in message.locations)))
        for message in messages_of(catalogue(language))
    }
    assert there == wanted, "run `make translations`, and translate what is new"
    assert not catalogue(language).obsolete


@pytest.mark.parametrize("language", translated_languages())
def test_the_compiled_files_are_those_of_the_catalogue(language: str) -> None:
    paths, catalog, buffer = Paths.of(language), catalogue(language), io.BytesIO()
    write_mo(buffer, catalog)
    of_source, stored = (
        {tuple(texts(message.id)): message.string for message in read_mo(io.BytesIO(compiled)) if message.id}
        for compiled in (buffer.getvalue(), paths.compiled.read_bytes())
    )
    assert stored == of_source, "run `make translations`"
    assert paths.scripts.read_text("utf-8") == catalogues.script_text(catalog), "run `make translations`"


@pytest.mark.parametrize("language", translated_languages())
def test_scripts_find_the_plural_form_of_every_count(language: str) -> None:
    forms = json.loads(Paths.of(language).scripts.read_text("utf-8"))["plural"]
    plural = c2py(catalogue(language).plural_expr)
    for count in (*range(1100), 1_000_001, 123_456):
        form = forms[count if count < len(forms) else 100 + count % 100]
        assert int(form) == plural(count), count


def test_each_language_but_english_has_a_catalogue() -> None:
    folders = {path.name for path in FOLDER.iterdir() if path.is_dir()}
    assert folders == LANGUAGES.keys() - {ENGLISH}


def test_the_terms_are_noted_for_translators() -> None:
    for language in translated_languages():
        catalog = catalogue(language)
        for term in ("batch", "worker", "fleet", "backlog", "queue", "label", "unsure"):
            assert f"{term} =" in re.sub(r"\n# ", " ", catalog.header_comment), (language, term)
