"""No page, script or sentence has English text that the message catalogues do not know."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

import pytest
from jinja2 import Environment, nodes

from core.paths import REPOSITORY_ROOT
from web_tier.languages.sentences import SENTENCES, recognize

# Names and file formats, the same in all languages.
NAMES = re.compile(r"Elastic Image Classifier|API|CSV|JSON|UTC|%\+d")
# Stands for a value that is known only when the page is rendered.
VALUE = "\ufffc"
GETTEXT = ("_", "gettext", "ngettext")
SHOWN_ATTRIBUTES = ("title", "aria-label", "alt", "placeholder", "content", "data-drop")
ENVIRONMENT = Environment(extensions=["jinja2.ext.i18n"], autoescape=True)


class Shown(HTMLParser):
    """Collects what a person reads of a page: text, and attributes that are read out or shown."""

    def __init__(self) -> None:
        super().__init__()
        self.texts: list[str] = []
        self.silent = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.silent += tag in ("script", "code")
        viewport = tag == "meta"
        self.texts += [value or "" for name, value in attrs if name in SHOWN_ATTRIBUTES and not viewport]

    def handle_endtag(self, tag: str) -> None:
        self.silent -= tag in ("script", "code")

    def handle_data(self, data: str) -> None:
        if not self.silent:
            self.texts.append(data)


def constants(node: nodes.Node) -> Iterator[str]:
    """The texts that an expression may put into the page."""
    if isinstance(node, nodes.TemplateData):
        yield node.data
    elif isinstance(node, nodes.Const):
        yield node.value if isinstance(node.value, str) else VALUE
    elif isinstance(node, nodes.CondExpr):
        yield from constants(node.expr1)
        yield from constants(node.expr2) if node.expr2 else ()
    elif isinstance(node, nodes.Filter) and node.node is not None:
        yield from constants(node.node)
    elif isinstance(node, nodes.Concat):
        for part in node.nodes:
            yield from constants(part)
    elif isinstance(node, nodes.Add | nodes.Or):
        yield from constants(node.left)
        yield from constants(node.right)
    else:
        # The value of a variable, or of a call: of a message, or checked where it is defined.
        yield VALUE


def bare_texts(template: str) -> list[str]:
    """Texts with letters that a template shows and that do not come from the catalogues."""
    tree = ENVIRONMENT.parse(template)
    shown = Shown()
    parts = (text for output in tree.find_all(nodes.Output) for part in output.nodes for text in constants(part))
    # A tag whose name is a variable.
    shown.feed(re.sub(rf"<(/?){VALUE}", r"<\1span", "".join(parts)))
    shown.close()
    lists = [pair for assigned in tree.find_all(nodes.For) for pair in assigned.iter.find_all(nodes.Tuple)]
    named = [item.value for pair in lists for item in pair.items[1:] if isinstance(item, nodes.Const)]
    called = [
        argument.value
        for call in tree.find_all(nodes.Call)
        if isinstance(call.node, nodes.Name) and call.node.name not in (*GETTEXT, "url_for", "has_scope", "code")
        for argument in call.args[1:]
        if isinstance(argument, nodes.Const)
    ]
    found = [*shown.texts, *(text for text in (*named, *called) if isinstance(text, str))]
    return [text.strip(f" \n{VALUE}") for text in found if re.search(r"[A-Za-z]", NAMES.sub("", text))]


@pytest.mark.parametrize("path", sorted((REPOSITORY_ROOT / "templates").glob("*.html")), ids=lambda path: path.name)
def test_templates_have_no_bare_text(path: Path) -> None:
    assert bare_texts(path.read_text("utf-8")) == []


@pytest.mark.parametrize(
    ("template", "found"),
    [
        ('<p>{{ _("Upload") }} 7</p>', []),
        ("<p>Upload</p>", ["Upload"]),
        ('<p title="Upload">{{ name }}</p>', ["Upload"]),
        ('<p class="title">{{ "one" if count == 1 else _("many") }}</p>', ["one"]),
        ('<p>{{ "files" ~ count }}</p>', ["files"]),
        ('{% for key, label in [("all", "All"), ("sure", _("Sure"))] %}{{ label }}{% endfor %}', ["All"]),
        ("<code>elastic up</code>", []),
    ],
)
def test_bare_text_is_found(template: str, found: list[str]) -> None:
    assert bare_texts(template) == found


# Strings of scripts that are no messages: one word without spaces, a selector, a media type, a class list.
STRING = re.compile(r"""(?P<call>\b[\w$]+\()?\s*(?:"(?P<double>(?:[^"\\\n]|\\.)*)"|`(?P<template>(?:[^`\\]|\\.)*)`)""")
COMMENT = re.compile(r"^\s*//.*$", re.MULTILINE)
NO_MESSAGE = re.compile(
    r"image/|^[a-z-]+ \$\{[^}]*\}$|^(0 0|auto)\b|sans-serif|^input, textarea|jpg jpeg|ppm pgm|\[tabindex"
)
# Errors for programmers, and the parts of file names.
UNSEEN = ("no list of runs", "pasted ", "layer-", "state-")


def bare_strings(script: str) -> list[str]:
    """Strings with two words or more, or a word that begins with a capital letter, outside of calls of gettext."""
    text = COMMENT.sub("", script)
    # What gettext gets is known to the catalogues; it has string literals only.
    text = re.sub(r'\bn?gettext\(\s*"(?:[^"\\]|\\.)*"(?:,\s*"(?:[^"\\]|\\.)*")?', "", text)
    found = []
    for match in STRING.finditer(text):
        value = match["double"] if match["double"] is not None else match["template"]
        words = re.sub(r"\$\{[^}]*\}?", "", value or "")
        if NO_MESSAGE.search(value) or value.startswith(UNSEEN) or NAMES.search(words):
            continue
        if re.search(r"[A-Za-z]{2,}[,.…]? +[A-Za-z]{2,}|[a-z] $|[.…]$", words) and re.search(r"[a-z]{2}", words):
            found.append(value)
    return found


@pytest.mark.parametrize("path", sorted((REPOSITORY_ROOT / "static").glob("*.js")), ids=lambda path: path.name)
def test_scripts_have_no_bare_text(path: Path) -> None:
    assert bare_strings(path.read_text("utf-8")) == []


@pytest.mark.parametrize(
    ("script", "found"),
    [
        ('set("files", gettext("Choose at least one image."));', []),
        ('set("files", "Choose at least one image.");', ["Choose at least one image."]),
        ("line = `${count} files were skipped`;", ["${count} files were skipped"]),
        ('ngettext("%(count)s file", "%(count)s files", 2, { count })', []),
        ("// A comment in English.", []),
    ],
)
def test_bare_strings_are_found(script: str, found: list[str]) -> None:
    assert bare_strings(script) == found


# --- sentences that other code makes ------------------------------------------------------------------------------

# Callables whose text is for people, and at which place it is.
MAKERS = {"abort": 1, "Failure": 1, "NotStored": 3, "Refusal": 1, "failure": 2, "try_again": 0}
MAKERS |= dict.fromkeys(("Unauthorized", "Forbidden", "TooManyRequests", "ServiceUnavailable"), 0)
IMAGE_ERRORS = {
    node.name: ast.get_docstring(node) or ""
    for node in ast.parse((REPOSITORY_ROOT / "core/errors.py").read_text("utf-8")).body
    if isinstance(node, ast.ClassDef)
    and any(isinstance(base, ast.Name) and base.id == "ImageError" for base in node.bases)
}
# Of commands, of the endpoint for programs, or of pydantic about the fields of a request.
ENGLISH_ONLY = re.compile(r"^not compared:|^the form needs a file in the field|has not been classified in time|^7: 7$")
FOLDERS = ("web_tier", "app_tier", "core", "controller/housekeeping")


def sample(node: ast.expr) -> str | None:
    """The text that an expression makes, its placeholders filled with figures; None where it is not written there."""
    if isinstance(node, ast.Constant) and isinstance(node.value, str):
        return node.value
    if isinstance(node, ast.JoinedStr):
        parts = [part.value if isinstance(part, ast.Constant) else "7" for part in node.values]
        return "".join(str(part) for part in parts)
    return None


def written_sentences() -> Iterator[tuple[str, str]]:
    """The sentences for people in the code, each with the file that has it."""
    for folder in FOLDERS:
        for path in sorted((REPOSITORY_ROOT / folder).rglob("*.py")):
            name = path.relative_to(REPOSITORY_ROOT).as_posix()
            for node in ast.walk(ast.parse(path.read_text("utf-8"))):
                if not isinstance(node, ast.Call) or not isinstance(node.func, ast.Name):
                    continue
                place = 0 if node.func.id in IMAGE_ERRORS else MAKERS.get(node.func.id)
                if place is None or len(node.args) <= place:
                    continue
                argument = node.args[place]
                either = [argument.body, argument.orelse] if isinstance(argument, ast.IfExp) else [argument]
                for text in filter(None, map(sample, either)):
                    yield name, text
    for text in IMAGE_ERRORS.values():
        yield "core/errors.py", text


def test_sentences_in_the_code_are_known_to_the_catalogues() -> None:
    found = list(written_sentences())
    unknown = [(name, text) for name, text in found if recognize(text) is None and not ENGLISH_ONLY.search(text)]
    assert unknown == [], "add their forms to web_tier/languages/sentences.py"
    assert len(found) > 80


def test_forms_of_sentences_differ() -> None:
    assert len(set(SENTENCES)) == len(SENTENCES)
    for form in SENTENCES:
        if "%" not in form:
            continue
        example = re.sub(r"%\((\w+)\)s", "12", form).replace("%%", "%")
        message, _values = recognize(example) or ("", {})
        assert message == form, f"an earlier form recognizes {example!r}"
