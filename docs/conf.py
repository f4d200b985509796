"""Sphinx's settings: `make docs` builds the site into docs/_build."""

import inspect
import os
import sys
from pathlib import Path

os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
os.environ.setdefault("CUDA_VISIBLE_DEVICES", "")
# The networks of the pages are small: threads that wait for each other take longer than one.
os.environ.setdefault("OMP_NUM_THREADS", "1")
sys.path.insert(0, str(Path(__file__).parent / "_extensions"))

from sphinx.util.inspect import stringify_signature

import keras_prelu

project = "keras_prelu"
author = "the keras_prelu authors"
copyright = "2026, the keras_prelu authors"
version = release = keras_prelu.__version__

extensions = [
    "sphinx.ext.autodoc",
    "sphinx.ext.autosummary",
    "sphinx.ext.napoleon",
    "sphinx.ext.viewcode",
    "command_pages",  # In _extensions, like mathml, plotted and typed_docstrings.
    "mathml",
    "plotted",
    "myst_nb",  # Markdown, and notebooks
    "sphinx_copybutton",
    "sphinx_design",
    "typed_docstrings",
]
exclude_patterns = ["_build", "_notebook_cache", "jupyter_execute"]
# Notebooks run when they are new or have changed themselves; `make clean` makes all of them run.
nb_execution_mode = "cache"
nb_execution_cache_path = str(Path(__file__).parent / "_notebook_cache")
nb_execution_timeout = 300
nb_execution_in_temp = True
nb_execution_raise_on_error = True
nb_output_stderr = "remove"
nb_merge_streams = True
myst_enable_extensions = ["colon_fence", "dollarmath"]
myst_heading_anchors = 3

autodoc_member_order = "bysource"
autodoc_typehints = "signature"
autodoc_typehints_format = "short"
# Names that stand for long unions, or for values of Keras that have no type.
ALIASES = ("Array", "ArrayLike", "FloatArray", "ModelLike", "Selector", "Shape", "Tensor")
autodoc_type_aliases = {name: name for name in (*ALIASES, "npt.ArrayLike")}
autosummary_generate = False
maximum_signature_line_length = 72
napoleon_numpy_docstring = False
napoleon_use_ivar = True
napoleon_use_rtype = False

smartquotes = False  # two hyphens are an option
default_role = "code"
html_theme = "furo"
html_title = f"keras_prelu {version}"
html_static_path = ["_static"]
html_css_files = ["site.css", "notebooks.css"]
html_math_renderer = "mathml"
html_theme_options = {
    "source_repository": "https://github.com/keras-prelu/keras-prelu/",
    "source_branch": "main",
    "source_directory": "docs/",
}
# Of a session, the commands are copied; outputs are not.
copybutton_prompt_text = r">>> |\.\.\. |\$ "
copybutton_prompt_is_regexp = True
copybutton_selector = "div.highlight:not(div.highlight-output *) pre"


def setup(app):
    """Keras's layers take anything as far as their class says; what they take is in their
    constructor."""

    def own_signature(_app, what, _name, obj, _options, signature, returns):
        if what != "class" or not str(signature).startswith("(*args"):
            return None
        constructor = inspect.signature(obj.__init__)
        parameters = list(constructor.parameters.values())[1:]
        own = constructor.replace(parameters=parameters, return_annotation=constructor.empty)
        return stringify_signature(own, unqualified_typehints=True), returns

    app.connect("autodoc-process-signature", own_signature)
