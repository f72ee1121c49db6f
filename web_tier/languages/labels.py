"""Names of ImageNet's labels in other languages, and labels in plain words.

`label_names.tsv` has the names; ``python -m training.label_names`` writes it.  They concern models with ImageNet's
labels only, as the groups do (`web_tier.domain.label_groups`).
"""

from __future__ import annotations

from collections.abc import Mapping
from functools import cache
from pathlib import Path

from core.languages import ENGLISH
from web_tier.domain.label_groups import with_article
from web_tier.languages.messages import gettext

TABLE_FILE = Path(__file__).with_name("label_names.tsv")
# In the table, where a label has no name in a language.
NONE = "-"


def parse_table(text: str) -> dict[str, dict[str, str]]:
    """The names of labels by language, from the table's text: after comments a heading of languages, then the rows."""
    rows = [line.split("\t") for line in text.splitlines() if not line.startswith("#")]
    (_synset, _label, *languages), *labels = rows
    return {
        language: {row[1]: row[2 + column] for row in labels if row[2 + column] != NONE}
        for column, language in enumerate(languages)
    }


@cache
def _names() -> Mapping[str, Mapping[str, str]]:
    return parse_table(TABLE_FILE.read_text("utf-8"))


def names_in(language: str) -> Mapping[str, str]:
    """The names of labels in a language, by label; of labels that have none there is no entry."""
    return {} if language == ENGLISH else _names().get(language, {})


def group_name(group: str) -> str:
    """A group with its article, in the language of the request."""
    return gettext(with_article(group))


def in_plain_words(label: str, group: str | None, label_local: str | None = None) -> str:
    """A label with its group, "tabby, a cat"; the label alone if it has none, or names it as "Egyptian cat" does."""
    shown = label_local or label
    if not group or (not label_local and group in label.lower()):
        return shown
    named = group_name(group)
    # Without the article, where there is one.
    if named.split(" ", 1)[-1].lower() in shown.lower():
        return shown
    return gettext("%(label)s, %(group)s", label=shown, group=named)
