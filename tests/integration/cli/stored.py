"""Compare what the command line prints with stored text, in which figures are masked, so that a
change in what users see is a visible diff.

`UPDATE_OUTPUTS=1 pytest tests/integration/cli` writes the files anew.
"""

import os
import re
from pathlib import Path

FOLDER = Path(__file__).parent / "outputs"
# A whole number that stands alone is structure (sites, samples). A number with a fraction, an
# exponent or an "of" is a measurement, and so are bytes, which depend on counted layer names.
FIGURE = re.compile(r"\d+(?= of \d)|[\d,]+(?= bytes)|[-+−]?\d+\.\d+(e[-+]?\d+)?|[-+]?\d+e[-+]?\d+")
# Which verdict a short training gets depends on the backend.
VERDICT = re.compile(r"^(Verdict: )?(PReLU is|Can't tell).*$")
ADVICE = re.compile(r"^Keep\b.*$")


def check(name, text):
    """Compare a text with the stored one of this name."""
    masked = "\n".join(_masked(line) for line in text.splitlines()).strip() + "\n"
    path = FOLDER / f"{name}.txt"
    if os.environ.get("UPDATE_OUTPUTS"):
        FOLDER.mkdir(exist_ok=True)
        path.write_text(masked, encoding="utf-8")
    assert masked == path.read_text(encoding="utf-8")


def _masked(line):
    line = ADVICE.sub("(the advice)", VERDICT.sub("(the verdict)", line))
    return re.sub(r" {2,}", "  ", FIGURE.sub("#", line))
