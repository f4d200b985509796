"""Run files: written beside each result, read by --config, refused in one line."""

import click
import numpy as np
import pytest
import yaml

import keras_prelu as kp
from keras_prelu.cli.main import COMMANDS, main
from keras_prelu.cli.run_files import _key
from tests.integration.cli.commands import invoke, invoke_json


def keys_of(name):
    command = main.get_command(click.Context(main), name)
    return {_key(parameter): parameter for parameter in command.params}


@pytest.mark.parametrize("name", COMMANDS)
def test_every_key_is_described_and_is_one_option(name):
    command = main.get_command(click.Context(main), name)
    keys = keys_of(name)
    assert len(keys) == len(command.params)
    for key, parameter in keys.items():
        if isinstance(parameter, click.Option):
            assert parameter.help, key


def same_weights(one, other):
    pair = zip(kp.load_model(one).get_weights(), kp.load_model(other).get_weights(), strict=True)
    return all(np.array_equal(*weights) for weights in pair)


def test_a_fine_tuning_is_repeated_bit_for_bit(folder):
    (folder / "own_module.py").write_text(
        "def augment(x, rng):\n    return x + rng.normal(size=x.shape)\n"
    )
    invoke(
        "finetune relu.keras --data labelled.npz --epochs 1 --seed 3 --recipe identity --no-control",
        "--optimizer sgd:momentum=0.5 --learning-rate 1e-4 --augment own_module:augment",
        "--class-weight balanced --schedule linear --metric accuracy",
    )
    stored = yaml.safe_load((folder / "relu.finetuned.run.yaml").read_text())
    assert stored["command"] == "finetune"
    assert stored["versions"]["keras_prelu"] == kp.__version__
    assert (stored["seed"], stored["control"], stored["learning_rate"]) == (3, False, 1e-4)
    assert stored["metric"] == ["accuracy"]
    assert "batch_size" not in stored
    invoke("finetune --config relu.finetuned.run.yaml -o again.keras")
    assert same_weights("again.keras", "relu.finetuned.keras")
    invoke("finetune --config relu.finetuned.run.yaml -o other.keras --seed 4")
    assert not same_weights("other.keras", "relu.finetuned.keras")
    again = yaml.safe_load((folder / "again.run.yaml").read_text())
    assert again == stored


def test_conversion_with_options_of_all_kinds(folder):
    invoke(
        "convert relu.keras --data samples.npz --alpha 0.25 --samples 100 --memory-limit 1GB",
        "--scale 1/16 --include act --include conv --no-verify",
    )
    stored = yaml.safe_load((folder / "relu.prelu.run.yaml").read_text())
    assert stored["include"] == ["act", "conv"]
    assert stored["verify"] is False
    invoke("convert --config relu.prelu.run.yaml -o again.keras")
    assert same_weights("again.keras", "relu.prelu.keras")


@pytest.mark.usefixtures("folder")
@pytest.mark.parametrize(
    ("command", "written", "output"),
    [
        ("bake prelu.keras", "prelu.stock.run.yaml", "again.keras"),
        ("equalize prelu.keras", "prelu.equalized.run.yaml", "again.keras"),
    ],
)
def test_run_files_of_other_commands(folder, command, written, output):
    invoke(command)
    invoke(f"{command.split()[0]} --config {written} -o {output}")
    assert (folder / "again.run.yaml").exists()


def test_options_replace_those_of_the_file(folder):
    (folder / "run.yaml").write_text("model: missing.keras\nseed: 01\n")
    found = invoke_json("inspect relu.keras --config run.yaml")
    assert found["model"] == "relu.keras"


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("batchsize: 4", "there is no 'batchsize'. Did you mean 'batch_size'? See"),
        ("epochs: many", "epochs: 'many' is not a valid integer"),
        ("epochs: 0", "epochs: 0 is not in the range x>=1"),
        ("epochs: true", "epochs must be a value, not true"),
        ("epochs: [1, 2]", "epochs takes one value. Received: [1, 2]"),
        ("epochs: {a: 1}", "epochs must be a value"),
        ("control: 1", "control must be true or false"),
        ("recipe: identiy", "recipe: There is no recipe 'identiy'. Did you mean 'identity'?"),
        ("seed: 1\nepochs: 2\nseed: 3", "'run.yaml': seed stands there twice"),
        ("seed: 1:30", "'1:30' is not a valid integer"),
        ("[" * 3000, "can't be read as YAML"),
        ("command: convert", "'run.yaml' is a run of 'convert': keras-prelu convert --config"),
        ("config: other.yaml", "names another run file, as 'config'. Merge them."),
        ("- epochs", "must hold lines of the form 'option: value'"),
        ("epochs: [1", "can't be read as YAML"),
        ("recipe: exp\nalpha: 0.1", "--alpha is not used: --recipe says how"),
    ],
)
def test_refused_run_files(folder, text, message):
    (folder / "run.yaml").write_text(text + "\n")
    result = invoke("finetune relu.keras --data digits --config run.yaml", expect=2)
    assert message in result.stderr
    assert len(result.stderr.splitlines()) == 1


def test_an_existing_run_file_is_not_overwritten(folder):
    (folder / "relu.prelu.run.yaml").write_text("seed: 1\n")
    result = invoke("convert relu.keras", expect=1)
    assert "relu.prelu.run.yaml' exists" in result.stderr
    assert not (folder / "relu.prelu.keras").exists()
    invoke("convert relu.keras --force")


def test_a_result_is_kept_where_its_run_file_can_not_be_written(folder, monkeypatch):
    def full(*args, **kwargs):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("keras_prelu.io.atomic.atomic_write_text", full)
    result = invoke("convert relu.keras")
    assert "Note: The run file 'relu.prelu.run.yaml' was not written" in result.stderr
    assert (folder / "relu.prelu.keras").exists()
    assert not (folder / "relu.prelu.run.yaml").exists()
