"""How Sphinx builds the site; `make site` prepares the pages and calls it (docs/build_site.py)."""

import re

import mlpax

project = "mlpax"
author = copyright = "The mlpax developers"
version = release = mlpax.__version__
language = "en"
highlight_language = "text"  # most blocks are commands; those in Python say so

extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon"]
myst_heading_anchors = 4  # as on the code host, whose links the pages hold
default_role = "literal"  # single backticks in docstrings are code, as in Markdown

autodoc_member_order = "bysource"
autodoc_preserve_defaults = True  # `options=Reading()`, not its fields
autodoc_typehints = "none"  # the sections of the docstrings tell types and shapes
napoleon_google_docstring = False
napoleon_use_param = False  # several parameters may share a description
napoleon_use_rtype = False
napoleon_custom_sections = [("Attributes", "params_style")]  # several may share a description, too

html_theme = "furo"
html_title = f"mlpax {version}"
html_copy_source = False
html_show_sphinx = False


def setup(app):
    """Leave out methods that scikit-learn generates, and the docstrings that NamedTuple gives its fields."""

    def skip(app, what, name, value, skip, options):
        generated = (getattr(value, "__doc__", None) or "").startswith("Alias for field number")
        return True if generated or re.fullmatch(r"set_\w+_request", name) else None

    app.connect("autodoc-skip-member", skip)
