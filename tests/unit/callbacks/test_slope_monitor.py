"""keras_prelu.callbacks: what they write is what the model had, and a stopped training goes on in
the same files."""

import csv
import struct
import sys

import keras
import numpy as np
import pytest
from tensorboardX.proto import event_pb2

import keras_prelu as kp
from tests.helpers import models


@pytest.fixture
def converted():
    model = models.live_in(models.mlp())
    return kp.convert(model, rescale="none", parameterization="identity")


class Slopes(keras.callbacks.Callback):
    """What the slopes were, by epoch."""

    def __init__(self):
        super().__init__()
        self.seen = []

    def on_epoch_end(self, epoch, logs=None):
        self.seen.append(
            [
                keras.ops.convert_to_numpy(layer.alpha).copy()
                for layer in self.model.layers
                if isinstance(layer, kp.PReLU)
            ]
        )


def fit(model, *callbacks, epochs=3, initial_epoch=0):
    x = models.samples(model, 60)
    model.compile(keras.optimizers.Adam(0.01), "mse")
    model.fit(
        x,
        np.tanh(x[:, :3]),
        epochs=epochs,
        initial_epoch=initial_epoch,
        callbacks=list(callbacks),
        verbose=0,
    )
    return x


def rows(path):
    with open(path, newline="") as file:
        return list(csv.DictReader(file))


def summaries(folder):
    """Every value in the event files of a folder: {(tag, step): scalar or (minimum, maximum,
    count)}."""
    found = {}
    for path in sorted(folder.iterdir()):
        content = path.read_bytes()
        while content:
            (length,) = struct.unpack("<Q", content[:8])
            event = event_pb2.Event.FromString(content[12 : 12 + length])
            content = content[16 + length :]
            for value in event.summary.value:
                kind = value.WhichOneof("value")
                histogram = value.histo
                found[value.tag, event.step] = (
                    value.simple_value
                    if kind == "simple_value"
                    else (histogram.min, histogram.max, histogram.num)
                )
    return found


def test_the_csv_file_holds_the_slopes_and_the_dead_units(tmp_path, converted):
    kernel, bias = converted.layers[0].get_weights()
    kernel[:, :2], bias[:2] = 0.0, -1.0
    converted.layers[0].set_weights([kernel, bias])
    converted.layers[0].trainable = False  # so that exactly these two stay dead
    slopes, path = Slopes(), tmp_path / "slopes.csv"
    fit(
        converted,
        slopes,
        kp.callbacks.SlopeMonitor(csv_file=path, samples=models.samples(converted, 30)),
    )
    found = rows(path)
    names = [layer.name for layer in converted.layers if isinstance(layer, kp.PReLU)]
    assert [(row["epoch"], row["layer"]) for row in found] == [
        (str(epoch), name) for epoch in range(3) for name in names
    ]
    for row, values in zip(
        found, [values for epoch in slopes.seen for values in epoch], strict=True
    ):
        assert int(row["slopes"]) == values.size == int(row["units"])
        np.testing.assert_allclose(
            [float(row[key]) for key in ("mean", "minimum", "maximum")],
            [values.mean(), values.min(), values.max()],
            rtol=1e-5,
        )
    assert {row["dead"] for row in found if row["layer"] == names[0]} == {"2"}


def test_the_signal_is_that_of_the_weights_of_the_epoch(tmp_path, converted):
    """The mean square of what each layer puts out, followed by running the layers one by one."""
    x = models.samples(converted, 30)
    seen = []

    class Moments(keras.callbacks.Callback):
        def on_epoch_end(self, epoch, logs=None):
            found, value = {}, x
            for layer in self.model.layers:
                value = keras.ops.convert_to_numpy(layer(value))
                found[layer.name] = np.mean(np.square(value))
            seen.append(found)

    monitor = kp.callbacks.SlopeMonitor(tmp_path / "logs", tmp_path / "slopes.csv", samples=x)
    fit(converted, Moments(), monitor)
    for row in rows(tmp_path / "slopes.csv"):
        assert float(row["moment"]) == pytest.approx(
            seen[int(row["epoch"])][row["layer"]], rel=1e-5
        )
    found = summaries(tmp_path / "logs")
    for epoch, moments in enumerate(seen):
        for layer in converted.layers:
            assert found[f"signal/{layer.name}", epoch] == pytest.approx(
                moments[layer.name], rel=1e-5
            )
    assert seen[0] != seen[-1]


def test_tensorboard_gets_scalars_and_histograms(tmp_path, converted):
    slopes = Slopes()
    fit(
        converted,
        slopes,
        kp.callbacks.SlopeMonitor(
            log_dir=tmp_path / "logs", samples=models.samples(converted, 30), frequency=2
        ),
        epochs=4,
    )
    found = summaries(tmp_path / "logs")
    assert {step for _, step in found} == {1, 3}
    for step in (1, 3):
        for layer, values in zip(
            (item for item in converted.layers if isinstance(item, kp.PReLU)),
            slopes.seen[step],
            strict=True,
        ):
            np.testing.assert_allclose(
                found[f"slopes/{layer.name}/mean", step], values.mean(), rtol=1e-5
            )
            np.testing.assert_allclose(
                found[f"slopes/{layer.name}", step],
                (values.min(), values.max(), values.size),
                rtol=1e-5,
            )
            assert f"dead_units/{layer.name}" in {tag for tag, _ in found}
    assert found["epoch/loss", 3] < found["epoch/loss", 1]


def test_a_training_that_goes_on_adds_to_the_files(tmp_path, converted):
    for first, last in ((0, 2), (2, 3)):
        monitor = kp.callbacks.SlopeMonitor(tmp_path / "logs", tmp_path / "slopes.csv")
        fit(converted, monitor, epochs=last, initial_epoch=first)
    assert sorted({row["epoch"] for row in rows(tmp_path / "slopes.csv")}) == ["0", "1", "2"]
    assert {step for _, step in summaries(tmp_path / "logs")} == {0, 1, 2}


def test_finetune_is_followed_and_its_control_is_not(tmp_path):
    model = models.live_in(models.mlp())
    x = models.samples(model, 80)
    data = [(x[:60], np.tanh(x[:60, :3])), (x[60:], np.tanh(x[60:, :3]))]
    monitor = kp.callbacks.SlopeMonitor(csv_file=tmp_path / "slopes.csv")
    result = kp.finetune(
        kp.convert(model, calibration_data=x),
        *data,
        original=model,
        epochs=2,
        loss="mse",
        callbacks=[monitor],
    )
    found = rows(tmp_path / "slopes.csv")
    assert len(found) == 2 * len(result.slopes_after)
    np.testing.assert_allclose(
        [float(row["mean"]) for row in found[-len(result.slopes_after) :]],
        [item.mean for item in result.slopes_after],
    )


def test_a_model_without_slopes_writes_nothing(tmp_path):
    fit(
        models.live_in(models.mlp()),
        kp.callbacks.SlopeMonitor(tmp_path / "logs", tmp_path / "slopes.csv"),
    )
    assert list(tmp_path.iterdir()) == []


def test_bad_arguments(tmp_path, converted, monkeypatch):
    with pytest.raises(ValueError, match="log_dir"):
        kp.callbacks.SlopeMonitor()
    with pytest.raises(ValueError, match="frequency"):
        kp.callbacks.SlopeMonitor(csv_file="slopes.csv", frequency=0)
    with pytest.raises(kp.KerasPReLUError, match="missing"):
        fit(converted, kp.callbacks.SlopeMonitor(csv_file=tmp_path / "missing" / "slopes.csv"))
    (tmp_path / "file").write_text("")
    with pytest.raises(kp.KerasPReLUError, match="file"):
        fit(converted, kp.callbacks.SlopeMonitor(log_dir=tmp_path / "file" / "logs"))
    monkeypatch.setitem(sys.modules, "tensorboardX", None)
    with pytest.raises(ValueError, match=r"keras-prelu\[tensorboard\]"):
        kp.callbacks.SlopeMonitor(log_dir=tmp_path)
