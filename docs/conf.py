"""Sphinx's settings: `make docs` builds the site into docs/_build."""

import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")

import keras_prelu

project = "keras_prelu"
author = "the keras_prelu authors"
copyright = "2026, the keras_prelu authors"
version = release = keras_prelu.__version__

extensions = ["sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.mathjax", "sphinx.ext.viewcode", "myst_parser", "sphinx_click"]
exclude_patterns = ["_build"]
myst_enable_extensions = ["dollarmath", "colon_fence", "deflist"]
myst_heading_anchors = 3
mathjax_path = "https://cdn.jsdelivr.net/npm/mathjax@3/es5/tex-mml-chtml.js"

autodoc_member_order = "bysource"
autodoc_typehints = "none"
napoleon_numpy_docstring = False
napoleon_use_ivar = True
napoleon_use_rtype = False

default_role = "code"
html_theme = "furo"
html_title = f"keras_prelu {version}"
html_static_path: list[str] = []
