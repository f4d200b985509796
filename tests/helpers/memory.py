"""Memory of a training step on JAX, counted without running it."""

import keras


def kept_by_jax(function, *arguments):
    """Return the bytes that the backward pass of `function(*arguments)` keeps."""
    import jax

    pullback = jax.eval_shape(lambda *tensors: jax.vjp(function, *tensors)[1], *arguments)
    return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(pullback))


def bytes_of_a_step(model, x, y):
    """Return the bytes that the backward pass of a classifier keeps, and the temporary bytes of the
    compiled gradient."""
    import jax

    trainable = [variable.value for variable in model.trainable_variables]
    other = [variable.value for variable in model.non_trainable_variables]

    def loss(trainable):
        logits, _ = model.stateless_call(trainable, other, x, training=True)
        return keras.ops.mean(
            keras.losses.sparse_categorical_crossentropy(y, logits, from_logits=True)
        )

    compiled = jax.jit(jax.value_and_grad(loss)).lower(trainable).compile()
    return kept_by_jax(loss, trainable), compiled.memory_analysis().temp_size_in_bytes
