"""Models with a training step of their own, as the backend's tutorials write them."""

import keras
from keras import layers as L  # noqa: N812
from keras import ops

BACKEND = keras.backend.backend()


class OwnStep(keras.Model):
    """A regression whose `train_step` is written out for the backend in use."""

    def __init__(self, width=16, **kwargs):
        super().__init__(**kwargs)
        self.width = width
        self.hidden = L.Dense(width)
        self.head = L.Dense(1)
        self.steps = 0

    def call(self, x, training=False):
        return self.head(ops.relu(self.hidden(x)))

    def train_step(self, *args):
        self.steps += 1
        return {"tensorflow": _step_tensorflow, "jax": _step_jax, "torch": _step_torch}[BACKEND](
            self, *args
        )


def _step_tensorflow(model, data):
    import tensorflow as tf

    x, y = data[:2]
    with tf.GradientTape() as tape:
        loss = model.compute_loss(y=y, y_pred=model(x, training=True))
    gradients = tape.gradient(loss, model.trainable_variables)
    model.optimizer.apply(gradients, model.trainable_variables)
    return {"loss": loss}


def _step_torch(model, data):
    import torch

    x, y = data[:2]
    model.zero_grad()
    loss = model.compute_loss(y=y, y_pred=model(x, training=True))
    loss.backward()
    with torch.no_grad():
        weights = model.trainable_weights
        model.optimizer.apply([weight.value.grad for weight in weights], weights)
    return {"loss": loss}


def _step_jax(model, state, data):
    import jax

    trainable, others, of_optimizer, of_metrics = state
    x, y = data[:2]

    def loss_of(trainable, others):
        outputs, others = model.stateless_call(trainable, others, x, training=True)
        return model.compute_loss(x, y, outputs), others

    (loss, others), gradients = jax.value_and_grad(loss_of, has_aux=True)(trainable, others)
    trainable, of_optimizer = model.optimizer.stateless_apply(of_optimizer, gradients, trainable)
    return {"loss": loss}, (trainable, others, of_optimizer, of_metrics)


class Adversarial(keras.Model):
    """A GAN in outline: no `call`, a `compile` of its own, and two optimizers."""

    def __init__(self, discriminator, generator):
        super().__init__()
        self.discriminator = discriminator
        self.generator = generator
        self.built = True

    def compile(self, d_optimizer, g_optimizer):
        super().compile()
        self.d_optimizer = d_optimizer
        self.g_optimizer = g_optimizer


def adversarial():
    """Return a compiled GAN, with a functional discriminator and a subclassed generator."""
    keras.utils.set_random_seed(0)
    discriminator = keras.Sequential(
        [keras.Input((6,)), L.Dense(8), L.LeakyReLU(negative_slope=0.2, name="leaky"), L.Dense(1)],
        name="discriminator",
    )
    generator = Generator(name="generator")
    generator(ops.zeros((1, 3)))
    model = Adversarial(discriminator, generator)
    model.compile(keras.optimizers.Adam(1e-3), keras.optimizers.SGD(1e-2))
    return model


class Generator(keras.Model):
    """Calls a function, and has no get_config()."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.first, self.second = L.Dense(8), L.Dense(6)

    def call(self, z):
        return self.second(ops.relu(self.first(z)))
