"""Comparing what the command line prints with stored text, figures masked, so that a change in what
users see is a visible diff.

`UPDATE_OUTPUTS=1 pytest tests/cli` writes the files anew.
"""

import os
import re
from pathlib import Path

FOLDER = Path(__file__).parent / "outputs"
# A whole number that stands alone is structure (sites, samples); one with a fraction, an exponent
# or an "of" is a measurement, and so are bytes: those of files with counted names in them.
FIGURE = re.compile(r"\d+(?= of \d)|[\d,]+(?= bytes)|[-+−]?\d+\.\d+(e[-+]?\d+)?|[-+]?\d+e[-+]?\d+")


def check(name, text):
    masked = (
        "\n".join(
            re.sub(r" {2,}", "  ", FIGURE.sub("#", line)).rstrip() for line in text.splitlines()
        ).strip()
        + "\n"
    )
    path = FOLDER / f"{name}.txt"
    if os.environ.get("UPDATE_OUTPUTS"):
        FOLDER.mkdir(exist_ok=True)
        path.write_text(masked, encoding="utf-8")
    assert masked == path.read_text(encoding="utf-8")
