"""Writes the files of this version: `python -m tests.released.write`, once for each release."""

from pathlib import Path

import keras
import numpy as np

import keras_prelu as kp
from tests.helpers import custom, models

L = keras.layers
FOLDER = Path(__file__).parent


def networks():
    """Everything of ours that a file can hold, by name."""
    for name in kp.parameterizations.names():
        steps = [L.Dense(4), kp.PReLU(0.3, parameterization=name, name="slopes"), L.Dense(2)]
        yield f"map-{name}", keras.Sequential([keras.Input((3,)), *steps])
    settings = {
        "alpha_regularizer": kp.regularizers.AlphaL2(1e-3),
        "beta_regularizer": keras.regularizers.L2(1e-3),
        "shared_axes": "channel_shared",
        "max_value": 6.0,
    }
    initializers = (
        kp.initializers.PReLUHeNormal(0.2, seed=1),
        kp.initializers.PReLUHeUniform(0.2, mode="fan_out", seed=1),
    )
    steps = [
        L.Conv2D(3, 2, kernel_initializer=initializers[0]),
        kp.PReLU(0.2, **settings),
        L.Conv2D(3, 2, kernel_initializer=initializers[1]),
    ]
    yield "settings", keras.Sequential([keras.Input((5, 5, 2)), *steps])
    bounded = kp.PReLU(
        0.2, parameterization="identity", alpha_constraint=kp.constraints.AtLeast(0.01)
    )
    yield "constraint", keras.Sequential([keras.Input((4,)), bounded])
    yield (
        "wrapped",
        keras.Sequential(
            [keras.Input((4, 3)), L.TimeDistributed(L.Dense(3)), L.TimeDistributed(kp.PReLU(0.2))]
        ),
    )
    for name, build in (
        ("nested", models.nested),
        ("residual", models.residual),
        ("capped", models.capped),
    ):
        yield f"converted-{name}", kp.convert(models.live_in(build()), rescale="none")
    for block in (custom.Block(4), custom.SqueezeExcite(4)):
        yield (
            f"converted-{type(block).__name__}",
            kp.convert(models.live_in(custom.around(block)), rescale="none"),
        )


def main():
    folder = FOLDER / kp.__version__
    folder.mkdir()
    for name, model in networks():
        keras.utils.set_random_seed(0)
        model.set_weights(
            [
                np.random.default_rng(0).uniform(0.1, 0.5, weights.shape)
                for weights in model.get_weights()
            ]
        )
        x = models.samples(model, 3)
        model.save(folder / f"{name}.keras")
        np.savez(folder / f"{name}.npz", x=x, y=model.predict(x, verbose=0))


if __name__ == "__main__":
    main()
