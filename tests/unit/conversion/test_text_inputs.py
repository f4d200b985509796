"""keras_prelu.convert on models that take text."""

import keras
import numpy as np
import pytest

import keras_prelu as kp

L = keras.layers
LINES = np.array(["one two", "two three three", "one one", "three"] * 5)[:, None]
LABELS = np.array([0, 1, 0, 1] * 5)


def classifier(mode):
    """Keras infers one axis too many for the counts of a TextVectorization."""
    length = {"output_sequence_length": 4} if mode == "int" else {}
    vectorization = L.TextVectorization(max_tokens=10, output_mode=mode, **length)
    vectorization.adapt(LINES)
    inputs = keras.Input((1,), dtype="string")
    hidden = vectorization(inputs)
    if mode == "int":
        hidden = L.GlobalAveragePooling1D()(L.Embedding(10, 8)(hidden))
    hidden = L.Dense(8, activation="relu")(hidden)
    model = keras.Model(inputs, L.Dense(2)(hidden))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile("adam", loss, metrics=["accuracy"])
    return model


@pytest.mark.tensorflow
@pytest.mark.parametrize("mode", ["multi_hot", "count", "int"])
def test_text_models_convert_exactly_and_are_calibrated_and_scored(mode, tmp_path):
    model = classifier(mode)
    text = keras.ops.convert_to_tensor(LINES)
    expected = keras.ops.convert_to_numpy(model(text))
    exact = kp.convert(model)
    np.testing.assert_array_equal(keras.ops.convert_to_numpy(exact(text)), expected)
    scores = kp.evaluate(exact, (LINES, LABELS)).metrics
    loss, accuracy = model.evaluate(text, LABELS, verbose=0)
    assert (scores["loss"], scores["accuracy"]) == pytest.approx((loss, accuracy), rel=1e-5)
    kp.save_model(exact, tmp_path / "text.keras")
    loaded = kp.load_model(tmp_path / "text.keras")
    np.testing.assert_array_equal(keras.ops.convert_to_numpy(loaded(text)), expected)
    calibrated = kp.convert(model, alpha=0.25, calibration_data=LINES)
    uncalibrated = kp.convert(model, alpha=0.25, rescale="none")
    errors = [
        np.mean((keras.ops.convert_to_numpy(network(text)) - expected) ** 2)
        for network in (calibrated, uncalibrated)
    ]
    assert errors[0] < errors[1]
