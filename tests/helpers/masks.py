"""Networks in which masks decide what is computed."""

import keras

L = keras.layers

IDS = [
    [3, 5, 7, 0, 0, 0],
    [1, 2, 3, 4, 0, 0],
    [9, 0, 0, 0, 0, 0],
    [4, 4, 4, 4, 4, 4],
    [2, 8, 1, 0, 0, 0],
]


def _ids():
    return keras.Input((6,), dtype="int32", name="ids")


def _embedded(inputs):
    return L.Embedding(20, 8, mask_zero=True)(inputs)


def _classified(inputs, h):
    return keras.Model(inputs, L.Dense(3)(L.GlobalAveragePooling1D()(h)))


def op_drops_the_mask():
    inputs = _ids()
    return _classified(inputs, keras.ops.relu(L.Dense(8)(_embedded(inputs))))


def layer_keeps_the_mask():
    inputs = _ids()
    return _classified(inputs, L.ReLU()(L.Dense(8)(_embedded(inputs))))


def inline_keeps_the_mask():
    inputs = _ids()
    return _classified(inputs, L.Dense(8, activation="relu")(_embedded(inputs)))


def capped_op():
    inputs = _ids()
    return _classified(inputs, keras.ops.clip(L.Dense(8)(_embedded(inputs)), 0, 6))


def before_a_recurrent_layer():
    inputs = _ids()
    h = keras.ops.relu(L.Dense(8)(_embedded(inputs)))
    h = L.LSTM(5, return_sequences=True)(h)
    return _classified(inputs, L.Dense(8, activation="relu")(h))


def recurrent_layer_keeps_the_mask():
    inputs = _ids()
    h = L.GRU(5, return_sequences=True)(_embedded(inputs))
    return _classified(inputs, L.ReLU()(L.Dense(8)(h)))


def concatenated():
    inputs = _ids()
    h = _embedded(inputs)
    h = L.Concatenate()([L.Dense(8, activation="relu")(h), keras.ops.relu(L.Dense(8)(h))])
    return _classified(inputs, h)


def attention():
    inputs = _ids()
    h = _embedded(inputs)
    h = L.Add()([h, L.MultiHeadAttention(2, 4)(h, h)])
    return _classified(inputs, keras.ops.relu(L.Dense(8)(h)))


def explicit_mask():
    inputs = _ids()
    h = L.Dense(8, activation="relu")(L.Embedding(20, 8)(inputs))
    h = L.LSTM(5, return_sequences=True)(h, mask=keras.ops.not_equal(inputs, 0))
    return _classified(inputs, keras.ops.relu(L.Dense(8)(h)))


def nested():
    inner_inputs = keras.Input((6, 8))
    h = L.Dense(8, activation="relu")(keras.ops.relu(L.Dense(8)(inner_inputs)))
    inner = keras.Model(inner_inputs, h, name="inner")
    inputs = _ids()
    return _classified(inputs, L.Dense(8, activation="relu")(inner(_embedded(inputs))))


def inline_inside_nested():
    """The nested model consumes the mask that its Dense layer passes on."""
    layers = [keras.Input((6, 8)), L.Dense(8, activation="relu"), L.GlobalAveragePooling1D()]
    inputs = _ids()
    return keras.Model(inputs, L.Dense(3)(keras.Sequential(layers)(_embedded(inputs))))


def masking_layer():
    inputs = keras.Input((6, 4))
    h = keras.ops.relu(L.Dense(8)(L.Masking()(inputs)))
    return _classified(inputs, L.Dense(8, activation="relu")(h))


def masked_output():
    inputs = _ids()
    return keras.Model(inputs, L.Dense(8)(keras.ops.relu(L.Dense(8)(_embedded(inputs)))))


ALL = [
    op_drops_the_mask,
    layer_keeps_the_mask,
    inline_keeps_the_mask,
    capped_op,
    before_a_recurrent_layer,
    recurrent_layer_keeps_the_mask,
    concatenated,
    attention,
    explicit_mask,
    nested,
    inline_inside_nested,
    masking_layer,
    masked_output,
]
