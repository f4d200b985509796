"""The page "A model like yours": each model is trained, and its commands print what the page shows.

`UPDATE_OUTPUTS=1` writes the outputs of the page anew. Figures are compared as figures, not by
their values.
"""

import os
import re
import shlex
import warnings
from pathlib import Path

import keras
import pytest
from click.testing import CliRunner

from examples import ten_models
from keras_prelu.cli.main import main

PAGE = Path(__file__).parents[2] / "docs" / "how_to" / "a_model_like_yours.md"
BLOCK = re.compile(r"^```console\n(.*?)^```", re.MULTILINE | re.DOTALL)
FIGURE = re.compile(r"[-+−]?\d[\d,]*(\.\d+)?(e[-+]?\d+)?")
VERDICT = re.compile(r"PReLU is|Can't tell|The fine-tuned")
ADVICE = re.compile(r"Keep ")
SHOWN = {"inspect": 12, "convert": 3, "evaluate": 6, "finetune": 1, "report": 1, "export": 2}
"""How many of the last lines of a command's output the page shows; a verdict and all after it."""
NAMES = {name.rpartition(".")[0]: name for name in ten_models.KINDS}
ON_TENSORFLOW = ("images", "table", "text", "backbone", "keras_2")
"""Models of strings, and those that are exported to TensorFlow Lite."""


def commands_with_outputs(block):
    """Return the lines after the prompt of a console block, each with the output shown below."""
    found = []
    for line in block.splitlines():
        if line.startswith("$ "):
            found.append((line, []))
        else:
            found[-1][1].append(line)
    return found


def blocks(page):
    """Return the console blocks of the page by the name of the model in their first command."""
    return {text.split()[3].rpartition(".")[0]: text for text in BLOCK.findall(page)}


def shown(command, output):
    lines = [line.rstrip() for line in output.splitlines() if line.strip()]
    verdicts = [number for number, line in enumerate(lines) if VERDICT.match(line)]
    kept = lines[verdicts[0] if verdicts else -SHOWN[command] :]
    return kept if len(kept) == len(lines) else ["…", *kept]


def masked(lines):
    """Return lines without figures and columns' widths, nor what depends on a short training."""
    lines = ["(the verdict)" if VERDICT.match(line) else line for line in lines]
    lines = ["(the advice)" if ADVICE.match(line) else line for line in lines]
    return [re.sub(r"[ ─]+", " ", FIGURE.sub("#", line)) for line in lines]


@pytest.mark.filterwarnings("default")  # Readers see warnings; they are no errors for them.
@pytest.mark.parametrize(
    "name",
    [
        pytest.param(name, marks=pytest.mark.tensorflow if name in ON_TENSORFLOW else ())
        for name in NAMES
    ],
)
def test_the_page_shows_what_the_commands_print(name, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(Path(ten_models.__file__).parent)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        ten_models.write(tmp_path, [NAMES[name]])
    page = PAGE.read_text(encoding="utf-8")
    block = blocks(page)[name]
    lines = []
    for line, expected in commands_with_outputs(block):
        words = shlex.split(line)[2:]
        keras.utils.set_random_seed(0)
        result = CliRunner().invoke(main, words)
        assert result.exit_code in (0, 4), f"{line}\n{result.output}"
        printed = shown(words[0], result.stdout)
        if not os.environ.get("UPDATE_OUTPUTS"):
            assert masked(printed) == masked(expected), line
        lines += [line, *printed]
    if os.environ.get("UPDATE_OUTPUTS"):
        PAGE.write_text(page.replace(block, "\n".join(lines) + "\n"), encoding="utf-8")


def test_the_page_has_all_models():
    assert list(blocks(PAGE.read_text(encoding="utf-8"))) != []
    assert set(blocks(PAGE.read_text(encoding="utf-8"))) == set(NAMES)
