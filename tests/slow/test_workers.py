"""Data that Grain's worker processes decode and augment, in each command."""

import keras
import numpy as np
import pytest

import keras_prelu as kp
from keras_prelu.diagnostics.evaluation import evaluate
from tests.helpers import grain_rows

L = keras.layers


class Batches(keras.utils.PyDataset):
    """Batches in memory, in their order."""

    def __init__(self, batches):
        super().__init__()
        self.batches = batches

    def __len__(self):
        return len(self.batches)

    def __getitem__(self, index):
        return self.batches[index]


@pytest.fixture(scope="module")
def batches():
    """What two workers yield."""
    pytest.importorskip("grain")
    flags = pytest.importorskip("absl.flags")
    if not flags.FLAGS.is_parsed():
        flags.FLAGS.mark_as_parsed()
    return [tuple(batch) for batch in grain_rows.loader(2)]


def tuned(model, train, validation, **options):
    return kp.finetune(
        model,
        train,
        validation,
        selection=validation,
        recipe="identity",
        epochs=2,
        optimizer="sgd",
        control=False,
        **options,
    )


@pytest.mark.filterwarnings("ignore:.*validation samples are among the selection samples")
def test_workers_in_each_command(batches, tmp_path):
    keras.utils.set_random_seed(0)
    model = keras.Sequential([keras.Input((6,)), L.Dense(8, activation="relu"), L.Dense(3)])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile("sgd", loss, metrics=["accuracy"])
    prelu = kp.convert(model, alpha=0.1, rescale="none")
    arrays = tuple(np.concatenate(parts) for parts in zip(*batches, strict=True))
    assert len(arrays[0]) == grain_rows.COUNT
    commands = {
        "convert": lambda data: kp.convert(model, alpha=0.2, calibration_data=data).get_weights(),
        "calibrate": lambda data: (
            kp.calibrate(kp.convert(model, alpha=0.1, rescale="none"), model, data).error_after
        ),
        "evaluate": lambda data: list(evaluate(model, data).metrics.values()),
        "compare": lambda data: kp.compare(prelu, model, data, metric="loss").gain,
        "diagnose": lambda data: list(kp.diagnostics.diagnose(prelu, data).measures.values()),
        "finetune": lambda data: tuned(
            model, Batches(batches) if data is arrays else data, arrays
        ).model.get_weights(),
    }
    for name, command in commands.items():
        found, expected = command(grain_rows.loader(2)), command(arrays)
        for a, b in zip(keras.tree.flatten(found), keras.tree.flatten(expected), strict=True):
            np.testing.assert_allclose(a, b, rtol=2e-4, atol=1e-6, err_msg=name)

    class Interrupt(keras.callbacks.Callback):
        def on_train_batch_end(self, batch, logs=None):
            if batch == 4:
                raise KeyboardInterrupt

    stored = {"checkpoints": tmp_path, "save_freq": 2}
    with pytest.raises(KeyboardInterrupt):
        tuned(model, grain_rows.loader(2), arrays, callbacks=[Interrupt()], **stored)
    resumed = tuned(model, grain_rows.loader(2), arrays, **stored)
    for a, b in zip(resumed.model.get_weights(), found, strict=True):
        np.testing.assert_array_equal(a, b)
