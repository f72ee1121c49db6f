"""MkDocs hooks: publish the files of the repository that pages link to and that lie outside of docs/.

A page links to them by their path in the repository (``../../models/…``), so that the link works on the hosting
platform, too.  In the site they lie under ``repository/``.
"""

from __future__ import annotations

import logging
import os
import posixpath
import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files, InclusionLevel
from mkdocs.structure.pages import Page

FOLDER = "repository"
# An inline link's target up to its anchor.
_TARGET = re.compile(r"(?<=\]\()\.\./[^)#\s]+")


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Keep a line for each of the Python modules out of the log."""
    logging.getLogger("mkdocs.plugins.api-autonav").setLevel(logging.WARNING)
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add each linked file to those that are published."""
    root = Path(config.docs_dir).parent
    linked = {
        path
        for page in files.documentation_pages()
        for target in _TARGET.findall(page.content_string)
        if (path := path_outside(page.src_uri, target)) and (root / path).is_file()
    }
    for path in sorted(linked):
        source = os.fspath(root / path)
        files.append(
            File.generated(config, f"{FOLDER}/{path}", abs_src_path=source, inclusion=InclusionLevel.NOT_IN_NAV)
        )
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Point the page's links to where the files lie in the site."""

    def published(match: re.Match[str]) -> str:
        path = path_outside(page.file.src_uri, match.group())
        file = files.get_file_from_path(f"{FOLDER}/{path}") if path else None
        return posixpath.relpath(file.src_uri, posixpath.dirname(page.file.src_uri)) if file else match.group()

    return _TARGET.sub(published, markdown)


def path_outside(page: str, target: str) -> str | None:
    """Return the path in the repository that `page` of docs/ links to; None where it lies in docs/."""
    path = posixpath.normpath(posixpath.join("docs", posixpath.dirname(page), target))
    return None if path.startswith(("docs/", "../")) else path
