"""tools.fidelity: KerasHub's models, whose ReLUs are mostly inside custom layers, converted exactly
and back from a file."""

from pathlib import Path

import keras
import pytest

from tests.slow.tools.reports import run
from tools.common.storage import Storage
from tools.fidelity import __main__ as command
from tools.fidelity.conversion import attempt

keras_hub = pytest.importorskip("keras_hub", reason="KerasHub is not installed")
from tools.fidelity.hub import build_t5, hub  # noqa: E402  needs KerasHub

# KerasHub's layers cause many, converted or not
pytestmark = pytest.mark.filterwarnings("ignore")

STORED = Storage(Path(command.__file__).parent, command.REPORT).results("hub")
SLOW = (
    "BASNetBackbone",
    "BASNetImageSegmenter",
    "DFineBackbone",
    "T5Backbone relu",
    "T5Backbone gated relu",
)
"""Half a minute each, or more; `python -m tools.fidelity --part hub` takes all."""
REPEATED = (
    "ResNetBackbone v1 basic_block",
    "ResNetBackbone v2 basic_block",
    "HGNetV2Backbone light",
    "ResNetImageClassifier",
    "HGNetV2ImageClassifier",
    "DeepLabV3ImageSegmenter",
    "OPTCausalLM",
)
"""Made of the same layers as others that are tested."""


def test_a_collection(tmp_path):
    arguments = ("--part=hub", "--only=CSPNet")
    (result,) = run(command, tmp_path, *arguments).results("hub")
    assert result.passed
    assert "| CSPNetBackbone | 7 | 7 | yes | yes |" in (tmp_path / "RESULTS.md").read_text()


@pytest.mark.parametrize(
    ("name", "build"),
    [pytest.param(name, build, id=name) for name, build in hub() if name not in SLOW + REPEATED],
)
def test_kerashub(name, build):
    result = attempt("KerasHub", name, build)
    assert result.passed, result
    expected = next(item for item in STORED if item.model == name)
    assert (result.sites, result.converted) == (expected.sites, expected.converted)
    keras.utils.clear_session()


def test_t5_of_one_layer():
    result = attempt("KerasHub", "T5", lambda: build_t5(keras_hub.models, gated=True, layers=1))
    assert result.passed, result
    assert (result.sites, result.converted) == (2, 2)


def test_all_models_are_in_the_stored_table():
    assert [result.model for result in STORED] == [name for name, _ in hub()]
