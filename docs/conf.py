"""Sphinx's configuration: Markdown pages by MyST, API pages from docstrings; `make docs` builds docs/_build/html."""

import importlib.util
import re
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

import tf1bn

project = "tf1bn"
copyright = "the tf1bn authors"
release = version = tf1bn.__version__
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
source_suffix = {".md": "markdown", ".rst": "restructuredtext"}
exclude_patterns = ["_build", "samples", "requirements.txt", "**/_*.md"]
# Page order in the side bar: a caption, and the pages under it. docs/index.md has the same lists as plain links.
CONTENTS = {
    "Getting started": ("install", "reproduction", "gpu", "troubleshooting", "glossary"),
    "TensorFlow 1.x code": ("porting", "other-frameworks", "old-scripts", "releases", "fidelity"),
    "What happened to my statistics": (
        "traces",
        "trace-format",
        "audit",
        "checkpoints",
        "graphs",
        "causes",
        "recalibration",
        "parity",
        "json",
        "checker",
        "cluster",
    ),
    "Reference": (
        "api",
        "design/architecture",
        "design/error-bounds",
        "design/many-updates",
        "design/kinds",
        "design/reliability",
        "design/scale",
        "design/testing",
    ),
}

myst_heading_anchors = 3
myst_enable_extensions = ["dollarmath"]
suppress_warnings = ["myst.xref_missing_outside"]

html_theme = "furo"
html_title = f"tf1bn {version}"
html_static_path = ["_static"]
html_css_files = ["wide.css"]
html_copy_source = False
html_show_sphinx = False
templates_path = []

autodoc_default_options = {"members": True}
autodoc_member_order = "bysource"
# Not among the requirements; the pages of their recorders need their names alone.
autodoc_mock_imports = [name for name in ("torch", "jax", "flax") if importlib.util.find_spec(name) is None]
autodoc_typehints_format = "short"
# Attributes that a docstring lists are not repeated as entries of their own.
napoleon_use_ivar = True
napoleon_numpy_docstring = False
# What stands in single backquotes is code.
default_role = "code"

_CODE = re.compile(r"(``.+?``|`[^`]+`)")


def _as_rst(app, what, name, obj, options, lines):
    """Docstrings are plain text: indented paragraphs are literal; asterisks, bars and underscores are themselves."""
    result, literal, previous = [], None, ""
    section = 0
    for line in lines:
        text, indent = line.strip(), len(line) - len(line.lstrip())
        if re.fullmatch(r"(Args|Attributes|Returns|Raises|Yields):", text):
            section = indent + 2
        elif text and indent < section:
            section = 0
        if literal is not None and text and indent < literal:
            literal = None
        if literal is None and text and not previous and indent >= section + 4:
            # An indented paragraph behind a blank line: what comes is code, a formula or a table.
            result += [" " * section + "::", ""]
            literal = indent
        if literal is None:
            parts = _CODE.split(line)
            line = "".join(
                part if i % 2 else re.sub(r"([*|])|(?<=\w)_(?=\W|$)", lambda m: "\\" + m[0], part)
                for i, part in enumerate(parts)
            )
        result.append(line)
        previous = text
    lines[:] = result


def _outside(app, docname, source):
    """Links to files of the repository outside of docs become plain text: the HTML pages do not have these files."""
    if docname == "index":
        trees = "\n".join(
            f"```{{toctree}}\n:hidden:\n:caption: {caption}\n\n" + "\n".join(pages) + "\n```\n"
            for caption, pages in CONTENTS.items()
        )
        source[0] += "\n" + trees
    if docname == "api":
        pages = sorted(path.stem for path in (Path(app.srcdir) / "api").glob("*.rst"))
        source[0] += "\n```{toctree}\n:hidden:\n\n" + "\n".join(f"api/{page}" for page in pages) + "\n```\n"
    if not docname.startswith("api/"):
        folder = (Path(app.srcdir) / docname).parent

        def link(match):
            target = match[2].partition("#")[0]
            if not target or "://" in target:
                return match[0]
            path = (folder / target).resolve()
            inside = path.is_relative_to(Path(app.srcdir)) and path.suffix in (".md", ".rst", ".png")
            return match[0] if inside else match[1]

        source[0] = re.sub(r"(?<!!)\[([^\]]*)\]\(([^)\s]+)\)", link, source[0])


def setup(app):
    app.connect("autodoc-process-docstring", _as_rst, priority=100)
    app.connect("source-read", _outside)
