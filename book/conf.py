"""The book's settings: the committed notebooks with their stored outputs, an API reference, and the pages beside them.

``make book`` builds it. Nothing is run. What this file writes before the build (the notebooks' copies, the API's pages
and the routes) is ignored by git.
"""

import re
import sys
from pathlib import Path

import docutils.nodes

BOOK = Path(__file__).parent
sys.path[:0] = [str(BOOK), str(BOOK.parent)]

import pages  # noqa: E402
import routes  # noqa: E402
from latex2mathml.converter import convert  # noqa: E402

project = "LIRF kit"
html_title = "Learning with Recoverable Forgetting"

extensions = [
    "myst_nb",
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.napoleon",
    "sphinxcontrib.bibtex",
]
exclude_patterns = ["_build"]
html_theme = "sphinx_book_theme"
html_theme_options = {"use_fullscreen_button": False, "footer_content_items": []}
html_math_renderer = "mathml"
html_static_path = ["_static"]
html_css_files = ["book.css"]

default_role = "py:obj"  # `deposit` in a docstring links to its entry
nb_execution_mode = "off"
myst_enable_extensions = ["dollarmath", "colon_fence", "deflist"]
myst_heading_anchors = 3
bibtex_bibfiles = ["references.bib"]
bibtex_default_style = "plain"
bibtex_reference_style = "author_year"

nitpicky = True
nitpick_ignore_regex = [(r"py:.*", r".*")]  # the types in NumPy docstrings are English: "str to nn.Module"
autosummary_generate = False
autodoc_member_order = "bysource"
napoleon_google_docstring = False
napoleon_use_rtype = False

pages.copy_notebooks(BOOK / "notebooks")
(BOOK / "api").mkdir(exist_ok=True)
for wing, text in pages.reference_pages().items():
    (BOOK / "api" / f"{wing}.rst").write_text(text, encoding="utf-8")
(BOOK / "routes.md").write_text(routes.page(), encoding="utf-8")


def _mathml(display):
    """Write a formula as MathML, which browsers draw by themselves: no script, so it works without internet."""

    def visit(translator, node):
        latex = re.sub(r"\\[lr]?Vert\b", "‖", node.astext())
        size = "long" if len(latex) > 40 else "short"
        translator.body.append(f'<span class="formula {display} {size}">{convert(latex, display=display)}</span>')
        raise docutils.nodes.SkipNode

    return visit


def setup(app):
    """Add the renderer of formulas."""
    app.add_html_math_renderer("mathml", (_mathml("inline"), None), (_mathml("block"), None))
