"""What a conversion does to a trained network's function: nothing at slope 0, much at 0.25, little
after calibration.

python examples/convert_a_model.py [EPOCHS]
"""

import sys

import keras
import numpy as np

import keras_prelu as kp


def trained_network(digits, epochs):
    inputs = keras.Input((8, 8, 1))
    x = keras.layers.Conv2D(32, 3, padding="same", activation="relu")(inputs)
    for _ in range(2):  # two residual blocks
        y = keras.layers.Conv2D(32, 3, padding="same", activation="relu")(x)
        x = keras.layers.ReLU()(
            keras.layers.Add()([x, keras.layers.Conv2D(32, 3, padding="same")(y)])
        )
    model = keras.Model(inputs, keras.layers.Dense(10)(keras.layers.GlobalAveragePooling2D()(x)))
    model.compile(
        keras.optimizers.Adam(2e-3), keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    )
    model.fit(digits.train.x, digits.train.y, epochs=epochs, verbose=0)
    return model


def main(epochs=10):
    keras.utils.set_random_seed(0)
    digits = kp.data.load("digits")
    model = trained_network(digits, epochs)
    for site in kp.find_sites(model):
        print(f"{site.path}: {site.layer}, {site.channels} channels")

    logits = model.predict(digits.test.x, verbose=0)
    exact = kp.convert(model)
    raw = kp.convert(model, alpha=0.25, rescale="none")
    calibrated = kp.convert(model, alpha=0.25, calibration_data=digits.train.x[:512])
    for name, network in {
        "original": model,
        "slope 0": exact,
        "slope 0.25": raw,
        "slope 0.25, calibrated": calibrated,
    }.items():
        new = network.predict(digits.test.x, verbose=0)
        accuracy = 100 * np.mean(new.argmax(axis=1) == digits.test.y)
        print(
            f"{name}: {accuracy:.1f} % of the test digits, logit error"
            f" {kp.diagnostics.relative_error(new, logits):.5f}"
        )


if __name__ == "__main__":
    main(*(int(argument) for argument in sys.argv[1:]))
