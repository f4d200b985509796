"""Every example runs, on small settings, as a user runs it."""

import json
import re
import runpy
import socket
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import keras
import numpy as np
import pytest
from sklearn.datasets import load_digits

import keras_prelu as kp
from tests.helpers.processes import output_of_python, run_python

EXAMPLES = Path(__file__).parents[2] / "examples"
ON_JAX = ("several_hosts",)
"""Whose distribution it uses."""
ON_TENSORFLOW = ("custom_training_loop", "deploy", "tfds_pipeline")
"""Of its functions, files and data."""
MARKS = {
    **dict.fromkeys(ON_TENSORFLOW, pytest.mark.tensorflow),
    **dict.fromkeys(ON_JAX, pytest.mark.jax),
}
OF_THEIR_OWN = ("claims", "reinforcement_learning", "ten_models")
"""Tested below, and with the page of the documentation."""
ON_DIGITS = sorted(path for path in EXAMPLES.glob("*.py") if path.stem not in OF_THEIR_OWN)


@pytest.mark.filterwarnings("default")  # Users see warnings; they are no errors for them.
@pytest.mark.parametrize(
    "path",
    [pytest.param(path, id=path.stem, marks=MARKS.get(path.stem, ())) for path in ON_DIGITS],
)
def test_runs(path, tmp_path, monkeypatch, capsys):
    """In this process, which has imported the backend."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("sys.argv", [str(path), "1"])
    runpy.run_path(str(path), run_name="__main__")
    assert "% of the test digits" in capsys.readouterr().out


@pytest.mark.filterwarnings("ignore")  # As the script does.
def test_claims(monkeypatch, capsys):
    """With one seed, and in fewer steps: slopes that a penalty pulls to 0 get there all the same."""
    names = runpy.run_path(str(EXAMPLES / "claims.py"))
    monkeypatch.setitem(names["main"].__globals__, "STEPS", 1000)
    monkeypatch.setattr("sys.argv", ["claims.py", "1"])
    names["main"]()
    printed = capsys.readouterr().out
    assert "% of the test digits" in printed
    rows = re.findall(r"^\| (\d+) \|.*\| ([^|]+) \|$", printed, re.M)
    assert [int(claim) for claim, _ in rows] == sorted(int(claim) for claim, _ in rows)
    assert {claim for claim, _ in rows} == {str(claim) for claim in range(1, 11)}
    assert [verdict for claim, verdict in rows if claim == "5"] == ["holds"] * 10


def test_an_agent_whose_goal_moves(tmp_path):
    """Each variant has a row with its reward; the control is compared with no other."""
    output = output_of_python(
        EXAMPLES / "reinforcement_learning.py", "--short", "--seeds", "2", cwd=tmp_path
    )
    rows = re.findall(
        r"^(\w[^\d\n]+?) +(0\.\d+) ± 0\.\d+ +([+-]0\.\d+ ± 0\.\d+)? +\d+%$", output, re.M
    )
    names = ["ReLU going on", "revived once", "revived once and converted"]
    assert [row[0] for row in rows][:3] == names
    assert len(rows) == 5
    assert [bool(difference) for *_, difference in rows] == [False, True, True, True, True]
    bounds = re.search(r"random earn (0\.\d+) a step, shortest ways (0\.\d+)", output)
    assert 0.3 < float(bounds[1]) < float(bounds[2]) < 1.0


def test_the_stored_claims_are_those_that_are_checked():
    """Each claim has rows, in order, and the counts of the verdicts are those of the rows."""
    lines = (EXAMPLES / "CLAIMS.md").read_text().splitlines()
    rows = [line.strip("| ").split(" | ") for line in lines if re.match(r"\| \d", line)]
    assert sorted({int(row[0]) for row in rows}) == list(range(1, 11))
    assert [int(row[0]) for row in rows] == sorted(int(row[0]) for row in rows)
    for verdict in ("holds", "holds under a condition", "does not hold"):
        assert f"{sum(row[-1] == verdict for row in rows)} of {len(rows)}: {verdict}." in lines


@pytest.mark.tensorflow
def test_serving_without_this_package(tmp_path):
    """Each script, where neither it nor Keras can be imported, is right as often as the network in
    Keras."""
    digits = load_digits()
    images = (digits.images / 16.0).astype("float32")[..., None]
    inputs = keras.Input((8, 8, 1))
    x = keras.layers.Conv2D(8, 3, activation="relu")(inputs)
    model = keras.Model(inputs, keras.layers.Dense(10)(keras.layers.Flatten()(x)))
    model.compile(
        keras.optimizers.Adam(3e-3), keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    )
    model.fit(images, digits.target, epochs=2, verbose=0)
    model = kp.convert(model, calibration_data=images[:200])
    right = (
        f"{100 * np.mean(model.predict(images, verbose=0).argmax(-1) == digits.target):.1f} % of"
        " the digits are right."
    )
    files = {
        "with_onnxruntime": "model.onnx",
        "with_tensorflow_lite": "model.tflite",
        "with_tensorflow": "model",
    }
    assert set(files) == {path.stem for path in EXAMPLES.glob("serving/*.py")}
    for script, file in files.items():
        kp.export(model, tmp_path / file)
        program = (
            "import runpy, sys; sys.modules.update(keras=None, keras_prelu=None); sys.argv ="
            f" ['serve', {file!r}]; runpy.run_path({str(EXAMPLES / 'serving' / f'{script}.py')!r})"
        )
        assert output_of_python("-c", program, cwd=tmp_path).strip() == right


def run_on(host, hosts, address, folder):
    names = ("JOB_ADDRESSES", "NUM_PROCESSES", "PROCESS_ID")
    variables = {
        f"KERAS_DISTRIBUTION_{name}": str(value)
        for name, value in zip(names, (address, hosts, host), strict=True)
    }
    return run_python(EXAMPLES / "several_hosts.py", "1", cwd=folder, **variables)


@pytest.mark.jax
def test_several_hosts_as_two_processes(tmp_path):
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{free.getsockname()[1]}"
    with ThreadPoolExecutor() as pool:
        first, second = pool.map(lambda host: run_on(host, 2, address, tmp_path), range(2))
    assert first.returncode == second.returncode == 0, first.stderr[-2000:] + second.stderr[-2000:]
    assert "% of the test digits" in first.stdout
    assert "% of the test digits" not in second.stdout
    assert (tmp_path / "digits.prelu.keras").exists()


@pytest.mark.jax  # The script sets the backend.
def test_several_hosts_on_vertex(monkeypatch, capsys):
    cluster = {"workerpool0": ["host-a:2222"], "workerpool1": ["host-b:2222", "host-c:2222"]}
    spec = json.dumps({"cluster": cluster, "task": {"type": "workerpool1", "index": 1}})
    monkeypatch.setenv("CLUSTER_SPEC", spec)
    monkeypatch.setattr("sys.argv", ["several_hosts.py", "--vertex"])
    runpy.run_path(str(EXAMPLES / "several_hosts.py"), run_name="__main__")
    assert capsys.readouterr().out.splitlines() == [
        "export KERAS_DISTRIBUTION_JOB_ADDRESSES=host-a:12345",
        "export KERAS_DISTRIBUTION_NUM_PROCESSES=3",
        "export KERAS_DISTRIBUTION_PROCESS_ID=2",
    ]
