"""Tools for maintainers, each of which runs as `python -m tools.NAME`."""

import os

# TensorFlow reads this when it is imported.
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
