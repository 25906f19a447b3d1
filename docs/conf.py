"""Sphinx's settings: `make docs` builds these pages as a site in build/docs."""

from __future__ import annotations

import re
from typing import Any

from fastinfer._version import __version__

project = "fastinfer"
author = "The fastinfer developers"
project_copyright = author
version = release = __version__

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
html_theme = "furo"
html_title = f"fastinfer {__version__}"
myst_heading_anchors = 4
smartquotes = False  # or `--model` in a sentence gets a dash
autodoc_typehints = "description"
autodoc_member_order = "bysource"
# What annotations and docstrings name and these pages do not describe: other packages, what is not public, shapes.
nitpick_ignore_regex = [
    ("py:.*", r"(os|collections|dataclasses|numpy)\..*"),
    ("py:.*", r"fastinfer\.(errors|models|handlers|options|engine|outputs)\..*"),
    ("py:.*", r"AnyModel|Choice|OptionKeywords|ChoiceKeywords|Buffer|errors_page|as_keyword"),
    ("py:class", r"shape|rows|float32 array|C-contiguous|uint8 array"),
]
# Only addresses on other machines are asked, by `make docs LINKS=1`.
linkcheck_ignore = [r"http://(localhost|127\.0\.0\.1)", r"^(?!https?://)"]


def _name_files(_app: Any, _page: str, source: list[str]) -> None:
    """A link to a file of the repository outside docs/ leads nowhere on the site: there it is the file's name."""
    source[0] = re.sub(r"\[([^\]]+)\]\(\.\./[^)]+\)", r"`\1`", source[0])


def setup(app: Any) -> None:
    app.connect("source-read", _name_files)
