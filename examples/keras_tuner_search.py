"""Map, initial slope, sharing and learning rate of slopes, chosen by KerasTuner for a trained ReLU
network that goes on learning on other images: mirrored digits.

    python examples/keras_tuner_search.py [EPOCHS]

prints the choices of the best trial, and how many of the mirrored test digits its network and the
ReLU network, trained alike, are right on.
"""

import sys
import tempfile

import keras
import keras_tuner as kt

import keras_prelu as kp

TRIALS = 6


def compiled(model, optimizer):
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(optimizer, loss, metrics=["accuracy"])
    return model


class Converted(kt.HyperModel):
    """A trained ReLU network, converted with the slopes that a trial gets."""

    def __init__(self, model, samples):
        super().__init__()
        self.model, self.samples = model, samples

    def build(self, hp):
        slopes = kp.tuning.space(hp)
        converted = kp.convert(self.model, **slopes.conversion, calibration_data=self.samples)
        optimizer = kp.SlopeOptimizer(keras.optimizers.Adam(1e-3), **slopes.optimizer)
        return compiled(converted, optimizer)


def main(epochs=8):
    keras.utils.set_random_seed(0)
    digits = kp.data.load("digits")
    layers = [
        keras.layers.Flatten(),
        keras.layers.Dense(32, activation="relu"),
        keras.layers.Dense(32, activation="relu"),
        keras.layers.Dense(10),
    ]
    relu = compiled(keras.Sequential([keras.Input((8, 8, 1)), *layers]), "adam")
    relu.fit(digits.train.x, digits.train.y, epochs=epochs, verbose=0)

    x, y = digits.train.x[:, :, ::-1], digits.train.y
    x_test, y_test = digits.test.x[:, :, ::-1], digits.test.y
    few = slice(0, 400)
    with tempfile.TemporaryDirectory() as folder:
        tuner = kt.RandomSearch(
            Converted(relu, x[few]), "val_accuracy", max_trials=TRIALS, seed=0, directory=folder
        )
        tuner.search(x[few], y[few], validation_split=0.25, epochs=epochs, verbose=0)
        best = tuner.get_best_hyperparameters()[0]
    print(", ".join(f"{name} {value}" for name, value in best.values.items()))

    networks = {"PReLU": tuner.hypermodel.build(best), "ReLU": compiled(relu, "adam")}
    for name, network in networks.items():
        keras.utils.set_random_seed(0)
        network.fit(x[few], y[few], epochs=epochs, verbose=0)
        accuracy = network.evaluate(x_test, y_test, verbose=0)[1]
        print(f"{name}: {100 * accuracy:.1f} % of the test digits")


if __name__ == "__main__":
    main(*(int(argument) for argument in sys.argv[1:]))
