"""A training loop of one's own over a converted network, on whichever backend KERAS_BACKEND names:
tape, jax.grad or autograd.

    python examples/custom_training_loop.py [EPOCHS]

prints the loss by epoch, the range of the slopes before and after, and how many of the test digits
are right.
"""

import sys

import keras
import numpy as np

import keras_prelu as kp

LOSS = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
BATCH = 64


def trained_network(digits):
    model = keras.Sequential(
        [
            keras.Input((64,)),
            keras.layers.Dense(32, activation="relu"),
            keras.layers.Dense(32, activation="relu"),
            keras.layers.Dense(10),
        ]
    )
    model.compile(keras.optimizers.Adam(2e-3), LOSS)
    model.fit(digits.train.x, digits.train.y, epochs=5, verbose=0)
    return model


def tensorflow_step(model, optimizer):
    import tensorflow as tf

    @tf.function
    def step(x, y):
        with tf.GradientTape() as tape:
            loss = LOSS(y, model(x, training=True))
        optimizer.apply(tape.gradient(loss, model.trainable_variables), model.trainable_variables)
        return loss

    return step


def jax_step(model, optimizer):
    import jax

    optimizer.build(model.trainable_variables)

    def loss_of(trainable, others, x, y):
        logits, others = model.stateless_call(trainable, others, x, training=True)
        return LOSS(y, logits), others

    @jax.jit
    def update(trainable, others, state, x, y):
        (loss, others), gradients = jax.value_and_grad(loss_of, has_aux=True)(
            trainable, others, x, y
        )
        trainable, state = optimizer.stateless_apply(state, gradients, trainable)
        return loss, trainable, others, state

    def step(x, y):
        holders = (model.trainable_variables, model.non_trainable_variables, optimizer.variables)
        loss, *values = update(
            *([variable.value for variable in variables] for variables in holders), x, y
        )
        for variables, found in zip(holders, values, strict=True):
            for variable, value in zip(variables, found, strict=True):
                variable.assign(value)
        return loss

    return step


def torch_step(model, optimizer):
    def step(x, y):
        model.zero_grad()
        loss = LOSS(y, model(x, training=True))
        loss.backward()
        gradients = [variable.value.grad for variable in model.trainable_variables]
        optimizer.apply(gradients, model.trainable_variables)
        return loss

    return step


def main(epochs=5):
    keras.utils.set_random_seed(0)
    digits = kp.data.load("digits", input_shape=(64,))
    model = kp.convert(trained_network(digits), calibration_data=digits.train.x[:512])
    make = {"tensorflow": tensorflow_step, "jax": jax_step, "torch": torch_step}[
        keras.backend.backend()
    ]
    step = make(model, keras.optimizers.Adam(1e-3))
    print(
        f"slopes before: {kp.diagnostics.layer_slopes(model)[0].minimum:.3f} to"
        f" {kp.diagnostics.layer_slopes(model)[0].maximum:.3f}"
    )
    rng = np.random.default_rng(0)
    for epoch in range(epochs):
        order = rng.permutation(len(digits.train))[: len(digits.train) // BATCH * BATCH].reshape(
            -1, BATCH
        )
        losses = [
            float(
                step(
                    *map(keras.ops.convert_to_tensor, (digits.train.x[rows], digits.train.y[rows]))
                )
            )
            for rows in np.sort(order, axis=1)
        ]
        print(f"epoch {epoch + 1}: loss {np.mean(losses):.4f}")
    print(
        f"slopes after: {kp.diagnostics.layer_slopes(model)[0].minimum:.3f} to"
        f" {kp.diagnostics.layer_slopes(model)[0].maximum:.3f}"
    )
    right = np.mean(model.predict(digits.test.x, verbose=0).argmax(axis=1) == digits.test.y)
    print(f"{100 * right:.1f} % of the test digits are right")


if __name__ == "__main__":
    main(*(int(argument) for argument in sys.argv[1:]))
