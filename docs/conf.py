"""Sphinx configuration. Builds without a network: MathJax and the theme come from their packages."""

import re
import shutil
from pathlib import Path

from docutils import nodes
from sphinx import addnodes
from sphinx.transforms.post_transforms import SphinxPostTransform

import primeattn

project = "primeattn"
author = "The primeattn developers"
copyright = "2026, The primeattn developers"
release = primeattn.__version__

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.napoleon",
    "sphinx.ext.mathjax",
    "sphinx-mathjax-offline",
    "sphinx_copybutton",
    "sphinx_design",
]
exclude_patterns = ["_build", "**/.ipynb_checkpoints"]
templates_path = ["_templates"]

myst_enable_extensions = ["dollarmath", "amsmath", "deflist", "colon_fence", "attrs_inline"]
myst_heading_anchors = 3
nb_render_markdown_format = "myst"  # formulas in what cells print
nb_execution_mode = "off"  # notebooks are executed by `make notebooks`; their stored outputs are shown

suppress_warnings = ["ref.python"]  # fields of one name in several classes are documented where they stand
autosummary_generate = True
add_module_names = False
autodoc_typehints = "none"  # numpydoc sections say more: shapes and units
napoleon_google_docstring = False
napoleon_use_rtype = False
napoleon_use_ivar = True  # fields of a NamedTuple are objects already

html_theme = "pydata_sphinx_theme"
html_title = "primeattn"
html_static_path = ["_static"]
html_css_files = ["primeattn.css"]
html_js_files = ["figures.js"]
html_show_sourcelink = False
ALONE = "index", "quickstart", "compare", "study", "search_texts", "simulate", "training", "notation"  # no pages below
html_sidebars = {page: [] for page in ALONE}
html_theme_options = {
    "navbar_align": "left",
    "header_links_before_dropdown": 9,
    "show_toc_level": 2,
    "footer_start": ["copyright"],
    "footer_end": [],
    "secondary_sidebar_items": ["page-toc"],
    "pygments_light_style": "tango",
    "pygments_dark_style": "monokai",
}

# Sphinx reads only what lies below docs/: the notebooks of the top folder are copied in.
_here = Path(__file__).parent
_copies = _here / "notebooks"
_copies.mkdir(exist_ok=True)
for _notebook in sorted((_here.parent / "notebooks").glob("*.ipynb")):
    shutil.copy(_notebook, _copies / _notebook.name)


class FormulasInARow(SphinxPostTransform):
    r"""Display formulas that \quad keeps apart become boxes that wrap: a phone has no room for two in a row."""

    default_priority = 700
    formats = ("html",)

    def run(self, **kwargs):
        for block in list(self.document.findall(nodes.math_block)):
            pieces = apart(block.astext())
            if len(pieces) > 1 and not block.get("number") and not block.get("label"):
                row = nodes.container(classes=["formulas"])
                row += [nodes.math("", rf"\displaystyle {piece}") for piece in pieces]
                block.replace_self(row)


def apart(formula: str) -> list[str]:
    r"""The pieces between those \quad and \qquad that stand in no group; lines that are aligned stay whole."""
    depth, pieces = 0, [""]
    for token in re.split(r"(\\[a-zA-Z]+|\\.|[{}])", formula):
        depth += token in ("{", r"\begin", r"\left")
        depth -= token in ("}", r"\end", r"\right")
        if depth == 0 and (token == r"\\" or "&" in token):
            return [formula]
        if token in (r"\quad", r"\qquad") and depth == 0:
            pieces.append("")
        else:
            pieces[-1] += token
    return [piece.strip() for piece in pieces if piece.strip()]


class WordsAreNoTypes(SphinxPostTransform):
    """The "shape" in "ndarray of float, shape (n,)" is a word: it links to no attribute of that name."""

    default_priority = 5  # before references are resolved

    def run(self, **kwargs):
        for link in list(self.document.findall(addnodes.pending_xref)):
            target = link.get("reftarget", "")
            if link.get("reftype") == "class" and target[:1].islower() and "." not in target:
                link.replace_self(link.children)


def initials_are_names(app, what, name, obj, options, lines):
    """A line that starts with "K. V. Mardia" names a person and is no item of a list."""
    lines[:] = [re.sub(r"^( *)([A-Z]\. )", r"\1\\\2", line) for line in lines]


def one_name_a_line(app, what, name, obj, options, lines):
    """Attributes that share a type and a description, "keys, values : ndarray", one by one: napoleon knows one name."""
    found, at, inside = [], 0, False
    while at < len(lines):
        if at + 1 < len(lines) and re.fullmatch(r"-{3,}", lines[at + 1]):
            inside = lines[at] == "Attributes"
        names = re.fullmatch(r"(\w+(?:, \w+)+)( : .*)?", lines[at]) if inside else None
        stop = at + 1
        while names and stop < len(lines) and lines[stop].startswith(" "):
            stop += 1
        for each in names[1].split(", ") if names else ():
            found += [each + (names[2] or ""), *lines[at + 1 : stop]]
        if not names:
            found.append(lines[at])
        at = stop
    lines[:] = found


def skip_fields(app, what, name, obj, skip, options):
    """A field of a NamedTuple is described in its class; by itself it says "Alias for field number 0"."""
    return True if (getattr(obj, "__doc__", None) or "").startswith("Alias for field number") else None


def setup(app):
    app.add_post_transform(FormulasInARow)
    app.add_post_transform(WordsAreNoTypes)
    app.connect("autodoc-process-docstring", initials_are_names)
    app.connect("autodoc-process-docstring", one_name_a_line, priority=400)  # napoleon has 500
    app.connect("autodoc-skip-member", skip_fields)
