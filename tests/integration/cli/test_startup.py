"""Which packages a command imports: those of Keras and of its backend, which take seconds, and next
to nothing beside them."""

import json

import keras
import pytest

from tests.helpers.processes import QUICK_TO_START, output_of_python

OWN = {"click", "keras_prelu", "lazy_loader", "yaml"}
"""What commands need beside Keras; PyYAML for run files."""

PACKAGES = """
import json, sys
{code}
names = {{name.split(".")[0] for name in list(sys.modules) if not name.startswith("_")}}
print(json.dumps(sorted(names - set(sys.stdlib_module_names))))
"""
KERAS = """
import keras
keras.saving.serialize_keras_object(keras.dtype_policies.get("float32"))
model = keras.models.load_model("model.keras")
"""
COMMANDS = """
from click.testing import CliRunner
from keras_prelu.cli.main import main
for words in (["inspect", "model.keras"], ["convert", "model.keras"]):
    result = CliRunner().invoke(main, words)
    assert result.exit_code == 0, result.output
"""


def packages(code):
    program = PACKAGES.format(code=code)
    printed = output_of_python("-c", program, KERAS_BACKEND=QUICK_TO_START)
    return set(json.loads(printed.splitlines()[-1]))


@pytest.mark.slow
def test_commands_import_no_package_that_keras_does_not(tmp_path, monkeypatch):
    """None of matplotlib, pandas, datasets, onnx, mlflow and so on, unless Keras itself does."""
    monkeypatch.chdir(tmp_path)
    hidden = keras.layers.Dense(3, activation="relu")
    keras.Sequential([keras.Input((4,)), hidden, keras.layers.Dense(2)]).save("model.keras")
    assert packages(COMMANDS) - packages(KERAS) <= OWN
