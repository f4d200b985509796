"""Sphinx's settings: `make docs` builds the site into docs/_build."""

import inspect
import os

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")

import keras_prelu

project = "keras_prelu"
author = "the keras_prelu authors"
copyright = "2026, the keras_prelu authors"
version = release = keras_prelu.__version__

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "myst_parser",
    "sphinx_click",
]
exclude_patterns = ["_build"]
myst_heading_anchors = 3

autodoc_member_order = "bysource"
autodoc_typehints = "none"
napoleon_numpy_docstring = False
napoleon_use_ivar = True
napoleon_use_rtype = False

smartquotes = False  # two hyphens are an option
default_role = "code"
html_theme = "furo"
html_title = f"keras_prelu {version}"
html_static_path: list[str] = []


def setup(app):
    """Keras's layers take anything as far as their class says; what they take is in their
    constructor."""

    def own_signature(_app, what, _name, obj, _options, signature, returns):
        if what != "class" or signature != "(*args, **kwargs)":
            return None
        parameters = list(inspect.signature(obj.__init__).parameters.values())[1:]
        bare = [parameter.replace(annotation=inspect.Parameter.empty) for parameter in parameters]
        return str(inspect.Signature(bare)), returns

    app.connect("autodoc-process-signature", own_signature)
