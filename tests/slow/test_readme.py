"""README: each Python block and each command runs as written, in order, in one folder."""

import os
import re
from pathlib import Path

import pytest

from tests.helpers import pages

ROOT = Path(__file__).parents[2]
README = (ROOT / "README.md").read_text(encoding="utf-8")
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```", re.MULTILINE | re.DOTALL)


@pytest.mark.tensorflow
@pytest.mark.filterwarnings("default")  # Readers see warnings; they are no errors for them.
def test_everything_in_it_runs(tmp_path, monkeypatch):
    assert README.count("$ keras-prelu ") >= 2
    shown = pages.run(README, tmp_path, monkeypatch)
    assert pages.masked(shown) == pages.masked(README)
    assert {
        "model.keras",
        "model.converted.keras",
        "model.tuned.keras",
        "model.prelu.keras",
        "model.finetuned.keras",
    } <= set(os.listdir(tmp_path))


def test_the_commands_on_top_exist():
    first = next(body for language, body in BLOCK.findall(README) if not language)
    for target in re.findall(r"^make (\w+)", first, re.MULTILINE):
        assert re.search(
            rf"^{target}:", (ROOT / "Makefile").read_text(encoding="utf-8"), re.MULTILINE
        )
