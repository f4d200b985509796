"""A projection head with PReLU in self-supervised training (VICReg), and whether its embeddings
have collapsed, by a positive control.

    python examples/self_supervised_head.py [EPOCHS]

prints, for VICReg's loss and for the same without its variance and covariance terms, the measures
of claim 10 and how many of the test digits have nearest neighbours of their class; then which
measures raise an alarm. Bardes et al. 2021, https://arxiv.org/abs/2105.04906.
"""

import sys

import keras
import numpy as np
from sklearn.neighbors import KNeighborsClassifier

import keras_prelu as kp
from keras_prelu.diagnostics import collapse_alarms, embedding_statistics

ops = keras.ops


class VICReg(keras.layers.Layer):
    """Adds the loss of two views' embeddings: apart by little (invariance), spread in each
    dimension (variance), not alike (covariance)."""

    def __init__(self, spreads=True, **kwargs):
        super().__init__(**kwargs)
        self.spreads = spreads

    def call(self, inputs):
        first, second = inputs
        self.add_loss(25.0 * ops.mean(ops.square(first - second)))
        if self.spreads:
            for z in inputs:
                centred = z - ops.mean(z, axis=0, keepdims=True)
                deviation = ops.sqrt(ops.mean(ops.square(centred), axis=0) + 1e-4)
                self.add_loss(25.0 * ops.mean(ops.relu(1.0 - deviation)))
                covariance = ops.matmul(ops.transpose(centred), centred) / ops.cast(
                    ops.shape(z)[0], "float32"
                )
                self.add_loss(
                    ops.mean(ops.sum(ops.square(covariance * (1.0 - ops.eye(z.shape[-1]))), axis=1))
                )
        return first


def pretrained(x, epochs, *, spreads, seed):
    keras.utils.set_random_seed(seed)
    rng = np.random.default_rng(seed)
    steps = [
        part
        for _ in range(2)
        for part in (
            keras.layers.Dense(64, kernel_initializer=kp.initializers.PReLUHeNormal()),
            kp.PReLU(),
        )
    ]
    encoder = keras.Sequential([keras.Input((64,)), *steps, keras.layers.Dense(16)])
    views = [keras.Input((64,)), keras.Input((64,))]
    model = keras.Model(views, VICReg(spreads)([encoder(view) for view in views]))
    model.compile(keras.optimizers.Adam(2e-3), loss=None)
    for _ in range(epochs):
        noisy = [
            ((x + rng.normal(0, 0.1, x.shape)) * (rng.random(x.shape) > 0.2)).astype("float32")
            for _ in views
        ]
        model.fit(noisy, batch_size=128, verbose=0)
    return encoder


def main(epochs=20):
    digits = kp.data.load("digits", input_shape=(64,))
    found = {}
    for name, spreads in (("VICReg", True), ("without its variance and covariance", False)):
        found[name] = []
        for seed in range(2):
            encoder = pretrained(digits.train.x, epochs, spreads=spreads, seed=seed)
            z, z_test = (encoder.predict(part.x, verbose=0) for part in (digits.train, digits.test))
            found[name].append(embedding_statistics(z_test))
            right = KNeighborsClassifier(5).fit(z, digits.train.y).score(z_test, digits.test.y)
            measured = found[name][-1]
            measures = (
                f"spread {measured.spread:.2f}, rank {measured.rank:.1f}, cosine"
                f" {measured.cosine:.2f}"
            )
            print(f"{name}, seed {seed}: {measures}; {100 * right:.1f} % of the test digits")
    (healthy, other), collapsed = found.values()
    for alarm in collapse_alarms(other, healthy=[healthy], collapsed=collapsed):
        print(
            f"{alarm.measure} {alarm.value:.3g}, threshold {alarm.threshold:.3g}:"
            f" {'collapsed' if alarm.raised else 'healthy'}"
        )


if __name__ == "__main__":
    main(*(int(argument) for argument in sys.argv[1:]))
