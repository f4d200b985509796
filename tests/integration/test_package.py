"""The package as a whole: light to import, and registered with Keras however it is imported."""

import importlib
import json

import keras
import numpy as np
import pytest

import keras_prelu
from tests.helpers.processes import QUICK_TO_START, output_of_python

HEAVY = ("keras", "tensorflow", "jax", "torch", "sklearn", "scipy", "rich", "tensorflow_datasets")


def test_the_import_is_light():
    printed = output_of_python(
        "-c", f"import sys, keras_prelu; print([name for name in {HEAVY} if name in sys.modules])"
    )
    assert printed.strip() == "[]"


def test_it_runs_as_a_module():
    printed = output_of_python("-m", "keras_prelu", "--version")
    assert printed.strip() == f"keras-prelu, version {keras_prelu.__version__}"


def test_help_is_light():
    code = f"""
import sys
from keras_prelu.cli.main import main
for arguments in ["--help"], ["--version"], ["convert", "--help"], ["demo", "-h"], []:
    try:
        main(arguments)
    except SystemExit:
        loaded = [name for name in {HEAVY} if name in sys.modules]
        print("loaded:", *loaded)
"""
    printed = output_of_python("-c", code)
    lines = [line for line in printed.splitlines() if line.startswith("loaded:")]
    assert lines == ["loaded:"] * 5


def test_the_command_line_offers_what_the_package_has():
    """The command line repeats these names, because importing them would import Keras for
    --help."""
    from keras_prelu.callbacks.tracked_runs import TRACKERS
    from keras_prelu.cli.commands import diagnose, export
    from keras_prelu.cli.options import conversion, training
    from keras_prelu.conversion.arguments import RESCALES, TARGETS
    from keras_prelu.conversion.profiles import PROFILES
    from keras_prelu.deployment.formats.registry import FORMATS
    from keras_prelu.deployment.formats.tflite import QUANTIZATIONS
    from keras_prelu.diagnostics import diagnosis
    from keras_prelu.training import recipes
    from keras_prelu.training.controls import CONTROLS
    from keras_prelu.training.learning_rate_schedules import SCHEDULES
    from keras_prelu.training.precision import PRECISIONS

    assert (
        *keras_prelu.parameterizations.names(),
        keras_prelu.parameterizations.POSITIVE,
    ) == conversion.PARAMETERIZATIONS
    assert conversion.RESCALES == RESCALES
    assert tuple(PROFILES) == conversion.PROFILES
    assert conversion.TARGETS == TARGETS
    assert tuple(FORMATS) == export.FORMATS
    assert export.QUANTIZATIONS == QUANTIZATIONS
    assert tuple(CONTROLS) == training.CONTROLS
    assert tuple(SCHEDULES) == training.SCHEDULES
    assert PRECISIONS == training.PRECISIONS
    assert tuple(TRACKERS) == training.TRACKERS
    assert tuple(diagnosis.MEASURES) == diagnose.MEASURES
    assert ("auto", *(recipe.name for recipe in recipes.RECIPES)) == training.RECIPES
    assert recipes.REPLACED == training.REPLACED_RECIPES


def test_classes_are_registered():
    assert keras.saving.get_registered_object("keras_prelu>PReLU") is keras_prelu.PReLU


@pytest.mark.slow
def test_what_fresh_processes_import():
    """The classes are registered whichever module is imported first, and documented modules are
    there. The processes are forks of one that has imported the backend, but not Keras."""
    registered = "print(keras.saving.get_registered_object('keras_prelu>PReLU').__module__)"
    modules = "kp.report.figures, kp.report.html, kp.training.recipes.RECIPES"
    programs = [
        *(
            f"{imports}; {registered}"
            for imports in (
                "import keras_prelu, keras",
                "import keras, keras_prelu",
                "from keras_prelu.layers import PReLU; import keras",
                "from keras_prelu.ops import prelu; import keras",
                "from keras_prelu.regularizers import AlphaL2; import keras",
                "import keras_prelu.graph.rebuilding, keras",
            )
        ),
        f"import keras_prelu as kp; print(len([{modules}]))",
    ]
    forks = f"""
import os, sys, traceback
import {QUICK_TO_START}
assert not {{"keras", "keras_prelu"}} & set(sys.modules)
for program in {programs!r}:
    if not os.fork():
        try:
            exec(program, {{}})
        except BaseException:
            print("failed:", program)
            traceback.print_exc()
        sys.stdout.flush()
        os._exit(0)
    os.wait()
"""
    printed = output_of_python("-c", forks, KERAS_BACKEND=QUICK_TO_START).splitlines()
    assert printed == [*["keras_prelu.layers"] * 6, "3"]


def test_every_public_name_resolves():
    for name in keras_prelu.__all__:
        assert getattr(keras_prelu, name) is not None
    assert set(keras_prelu.__all__) <= set(dir(keras_prelu))


@pytest.mark.parametrize(
    "name",
    [
        "errors",
        "theory",
        "ops",
        "layers",
        "initializers",
        "regularizers",
        "parameterizations",
        "io.loading",
        "io.model_files",
        "io.model_names",
        "io.published",
        "demo",
        "sites.finder",
        "data.sources",
    ],
)
def test_all_lists_what_exists(name):
    module = importlib.import_module(f"keras_prelu.{name}")
    assert all(hasattr(module, public) for public in module.__all__)


@pytest.mark.slow
def test_a_saved_model_loads_on_another_backend(tmp_path):
    """Written on this backend, read and run in new processes on each of those installed."""
    path = tmp_path / "model.keras"
    layers = keras.layers
    hidden = [layers.Conv2D(4, 3, activation="relu"), layers.Flatten()]
    model = keras.Sequential([keras.Input((8, 8, 3)), *hidden, layers.Dense(2)])
    model = keras_prelu.convert(model, rescale="none")
    keras_prelu.save_model(model, path)
    x = np.linspace(-1, 1, 384, dtype="float32").reshape(2, 8, 8, 3)
    written = model.predict(x, verbose=0).ravel()
    read = (
        "import keras_prelu, keras, numpy as np\n"
        f"m = keras.models.load_model({str(path)!r})\n"
        "x = np.linspace(-1, 1, 384, dtype='float32').reshape(2, 8, 8, 3)\n"
        "print(m.predict(x, verbose=0).ravel().tolist())"
    )

    def outputs(code, backend):
        printed = output_of_python("-c", code, KERAS_BACKEND=backend)
        return np.array(json.loads(printed.strip().splitlines()[-1]))

    backends = [name for name in ("tensorflow", "jax", "torch") if importlib.util.find_spec(name)]
    for backend in backends:
        np.testing.assert_allclose(outputs(read, backend), written, rtol=1e-5, atol=1e-6)


@pytest.mark.slow
@pytest.mark.parametrize("backend", ["jax", "torch"])
def test_everything_but_tfds_works_without_tensorflow(backend, tmp_path):
    pytest.importorskip(backend, reason="JAX and PyTorch are optional")
    code = """
import sys
sys.modules["tensorflow"] = None
import keras, keras_prelu as kp
digits = kp.data.load("digits", input_shape=(64,))
train, test = digits.train.take(slice(0, 200)), digits.test
model = keras.Sequential([keras.Input((64,)), keras.layers.Dense(8, activation="relu"), keras.layers.Dense(10)])
model.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
result = kp.finetune(kp.convert(model, calibration_data=train.x), train, test, original=model, epochs=1)
kp.save_model(result.model, "model.keras")
assert kp.diagnostics.layer_slopes(kp.load_model("model.keras"))
try:
    kp.data.load("tfds:sklearn_digits")
except kp.KerasPReLUError as error:
    print(error)
"""
    printed = output_of_python("-c", code, cwd=tmp_path, KERAS_BACKEND=backend)
    assert "needs TensorFlow" in printed
