"""A deep, plain network (no BatchNormalization, no shortcuts) on the digits, with ReLU and with
PReLU, from the same seeds.

The PReLU network is initialized with PReLUHeNormal for its slope, so that the signal keeps its size
through all layers.

    python examples/train_from_scratch.py [EPOCHS]
"""

import sys

import keras
import numpy as np

import keras_prelu as kp

DEPTH, WIDTH = 20, 16


def network(activation, initializer):
    layers = [keras.Input((64,))]
    for _ in range(DEPTH):
        layers += [keras.layers.Dense(WIDTH, kernel_initializer=initializer()), activation()]
    return keras.Sequential([*layers, keras.layers.Dense(10)])


def main(epochs=30):
    digits = kp.data.load("digits", input_shape=(64,))
    choices = {
        "ReLU": (keras.layers.ReLU, keras.initializers.HeNormal),
        "PReLU": (kp.PReLU, kp.initializers.PReLUHeNormal),
    }
    for name, (activation, initializer) in choices.items():
        accuracies = []
        for seed in range(3):
            keras.utils.set_random_seed(seed)
            model = network(activation, initializer)
            loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
            model.compile(keras.optimizers.Adam(1e-3), loss, metrics=["accuracy"])
            model.fit(digits.train.x, digits.train.y, epochs=epochs, verbose=0)
            accuracies.append(100 * model.evaluate(digits.test.x, digits.test.y, verbose=0)[1])
        print(
            f"{name}: {np.mean(accuracies):.1f} ± {np.std(accuracies, ddof=1):.1f} % of the test"
            " digits (3 seeds)"
        )


if __name__ == "__main__":
    main(*(int(argument) for argument in sys.argv[1:]))
