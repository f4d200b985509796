"""What the command line refuses: one line on standard error, the exit status, nothing written."""

import os

import keras
import pytest
from click.testing import CliRunner

import keras_prelu as kp
from keras_prelu.cli.main import COMMANDS, main
from tests.integration.cli import stored
from tests.integration.cli.commands import invoke


def test_help():
    stored.check("help", invoke("--help").output)


@pytest.mark.parametrize("name", COMMANDS)
def test_help_of_commands(name):
    output = invoke(name, "--help").output
    assert "Example" in output
    stored.check(f"help_{name}", output)


def check_refused(arguments, status, message):
    before = {name: os.stat(name).st_size for name in os.listdir()}
    result = invoke(arguments, expect=status)
    assert message in " ".join(result.stderr.split()), result.stderr
    errors = [line for line in result.stderr.splitlines() if not line.startswith("Read ")]
    assert len(errors) == 1, result.stderr
    assert result.stdout == ""
    assert {name: os.stat(name).st_size for name in os.listdir()} == before


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["convert", ""], "The name is empty. Name a file or a published model. See"),
        (["finetune", "m", "--checkpoints", ""], "'--checkpoints': The name is empty. See"),
        (["export", "m", "-o", ""], "'--output': The name is empty. See"),
        (["convert", "m\udcff.keras"], r"'m\udcff.keras' is not a name in UTF-8. Rename the file."),
        (
            ["convert", "m.keras", "--data", "\udcff.npz"],
            "is not a name in UTF-8. Rename the file.",
        ),
    ],
    ids=["empty", "empty folder", "empty output", "model", "data"],
)
def test_names_that_no_file_should_have(arguments, message):
    result = CliRunner().invoke(main, arguments)
    assert (result.exit_code, result.stdout) == (2, "")
    assert message in result.stderr
    assert len(result.stderr.splitlines()) == 1


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("nosuch", "No such command 'nosuch'. See"),
        ("convret relu.keras", "No such command 'convret'. Did you mean 'convert'? See"),
        ("convert", "Missing argument 'MODEL'. See"),
        # Python's arguments are called by the names of options.
        (
            "finetune relu.keras --data labelled.npz --epochs 1 --batch-size 200",
            "Give more epochs or a larger --budget, or name a recipe.",
        ),
        ("convert relu.keras --nosuch", "No such option"),
        ("convert relu.keras --alpha big", "'big' is not a valid float"),
        ("convert relu.keras --memory-limit much", "not a size such as"),
        ("convert relu.keras --preprocess a:b", "--preprocess needs --data"),
        ("convert relu.keras --rescale calibrated", "needs --data"),
        ("convert relu.keras --alpha 0.25", "A slope of 0.25 at 'conv'"),
        ("convert relu.keras --parameterization exp", 'naming rescale="moments" or "none"'),
        ("convert relu.keras --parameterization positive --alpha 0", "is below 0.001"),
        ("convert relu.keras --alpha auto", "--alpha auto needs --data"),
        ("convert relu.keras --tolerance 0.1", "--tolerance is for --alpha auto"),
        ("convert relu.keras --finetune", "--finetune needs --data"),
        ("evaluate relu.keras", "--data"),
        ("calibrate relu.keras --data digits", "--original"),
        ("finetune relu.keras --data digits --epochs 0", "--epochs"),
        ("finetune relu.keras --data digits --recipe exp --alpha 0.1", "--alpha is not used"),
        ("finetune prelu.keras --data digits --no-control --alpha 0.1", "--alpha is not used"),
        ("finetune prelu.keras --data digits --recipe exp", "--recipe starts from the ReLU"),
        ("finetune prelu.keras --data digits", "give --original for the control"),
        ("finetune relu.keras --data digits --alpha 0.1 --budget 2x", "Add --recipe auto"),
        ("finetune relu.keras --data digits --recipe exp --budget 2x", "Add --recipe auto"),
        ("finetune relu.keras --data digits --recipe exp-fast", "'exp-decay' takes its place"),
        ("finetune relu.keras --data digits --recipe identiy", "Did you mean 'identity'?"),
        ("export relu.keras", "as in -o model.onnx"),
        ("finetune relu.keras --data digits --loss nosuch", "no Keras loss 'nosuch'"),
        ("evaluate relu.keras --data digits --loss meen_squared_error", "'mean_squared_error'"),
        ("calibrate relu.keras --original relu.keras --data digits", "nothing to calibrate"),
        ("evaluate relu.keras --data digits --scale big", "such as 0.5 or 1/255"),
        ("evaluate relu.keras --data digits --scale 1/0", "such as 0.5 or 1/255"),
        ("convert relu.keras --scale 1/255", "--scale needs --data"),
        ("diagnose relu.keras --data digits --fail-on cost=1", "Measures: dead"),
        ("diagnose relu.keras --data samples.npz --fail-on noise=1", "has no such measure"),
        # Errors of the library about an argument count as wrong usage too.
        ("convert relu.keras --alpha 0 --parameterization exp", "'square' and 'identity'"),
    ],
)
def test_wrong_usage(arguments, message):
    check_refused(arguments, 2, message)


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("inspect missing.keras", "No such file: 'missing.keras'"),
        ("inspect rleu.keras", "No such file: 'rleu.keras'. Did you mean 'relu.keras'?"),
        ("evaluate relu.keras --data lable.npz", "'lable.npz'. Did you mean 'labelled.npz'?"),
        ("evaluate relu.keras --data pixel.csv", "'pixel.csv'. Did you mean 'pixels.csv'?"),
        ("evaluate relu.keras --data no/such.csv", "No such file: 'no/such.csv'."),
        ("convert relu.keras -o relu.keras", "exists"),
        ("convert .", "'.' is a folder"),
        ("convert ..", "'..' is a folder"),
        ("convert /", "'/' is a folder"),
        ("convert relu.keras --data nosuch:function", "module 'nosuch' can't be imported"),
        ("convert relu.keras --import nosuchmodule", "--import nosuchmodule"),
        ("convert relu.keras --data samples.npz --finetune", "'samples.npz' has no labels"),
        ("finetune relu.keras --data samples.npz", "'samples.npz' has no labels. It has: 'x'"),
        (
            "diagnose relu.keras --data pixels.csv",
            "takes numbers of shape (8, 8, 1). If 'digit' holds the labels, give --label digit.",
        ),
        *(
            (f"{command} --data samples.npz", "has no labels. It has: 'x'. If some")
            for command in (
                "evaluate relu.keras",
                "compare relu.keras relu.keras",
                "report relu.keras --original relu.keras",
            )
        ),
    ],
)
def test_failures(folder, arguments, message):
    pixels = [f"p_{index}" for index in range(64)]
    rows = [",".join(each) for each in ([*pixels, "digit"], *[["0.5"] * 64 + ["3"]] * 20)]
    (folder / "pixels.csv").write_text("\n".join(rows))
    check_refused(arguments, 1, message)


@pytest.mark.usefixtures("folder")
def test_debug_shows_the_traceback_for_one_command():
    result = invoke("inspect missing.keras --debug", expect=1)
    assert isinstance(result.exception, kp.KerasPReLUError)
    check_refused("inspect missing.keras", 1, "No such file")


def test_ctrl_c_ends_with_130(monkeypatch, folder):
    def interrupt(*args, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr("keras_prelu.io.loading.load_model", interrupt)
    check_refused("inspect relu.keras", 130, "Interrupted.")


@pytest.mark.parametrize(
    ("option", "hint"),
    [
        ("", "With --checkpoints FOLDER, the same command would go on from here."),
        ("--checkpoints states", "The same command goes on from the checkpoints in states."),
    ],
)
def test_ctrl_c_in_a_fine_tuning_says_how_to_go_on(monkeypatch, folder, option, hint):
    def interrupt(*args, **options):
        raise KeyboardInterrupt

    monkeypatch.setattr("keras_prelu.training.finetune.finetune", interrupt)
    result = invoke(f"finetune relu.keras --data labelled.npz {option}", expect=130)
    assert result.stderr.endswith(f"{hint}\nInterrupted.\n")


@pytest.mark.parametrize("name", ["pytorch", "numpy", "Torch"])
def test_backends_that_are_none(monkeypatch, folder, name):
    monkeypatch.setenv("KERAS_BACKEND", name)
    check_refused("inspect relu.keras", 1, f"KERAS_BACKEND is '{name}'. Set it to tensorflow, jax")


@pytest.mark.parametrize("option", ["", "--json"])
def test_escape_sequences_in_names_do_not_reach_the_terminal(folder, option):
    layers = [keras.Input((2,)), keras.layers.Dense(3, "relu", name="a\x1b[31mb\x9b")]
    keras.Sequential(layers).save("escape.keras")
    result = invoke("inspect escape.keras", option)
    refused = invoke("convert escape.keras --include \x1b[31m", expect=2)
    for text in (result.output, refused.stderr):
        assert "\x1b" not in text
        assert "\x9b" not in text
    assert "b[31mb" in result.output
