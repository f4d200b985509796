"""What is taken from Keras that is not public does what it is taken for: where a new Keras breaks
something, these fail first."""

import ast
import re
from pathlib import Path

import keras
import numpy as np
import pytest

from keras_prelu.backend import keras_internals

INTERNALS = Path(keras_internals.__file__).parent
PACKAGE = INTERNALS.parents[1]
# What is private and not Keras's: TensorFlow Lite's list of a file's operations, and whether PyTorch
# transforms a function (as `torch.vmap` does), for which there is nothing public.
ELSEWHERE = {"_get_ops_details", "_functorch"}


@pytest.fixture
def model():
    inputs = keras.Input((4,), name="features")
    hidden = keras.layers.Dense(3, name="hidden")(inputs)
    outputs = keras.layers.Add(name="sum")([hidden, keras.ops.relu(hidden)])
    return keras.Model(inputs, outputs)


def test_models_over_a_graph_are_told_from_others(model):
    class Subclassed(keras.Model):
        def __init__(self, units):
            super().__init__()

    assert isinstance(model, keras_internals.Functional)
    assert not isinstance(Subclassed(3), keras_internals.Functional)
    assert keras_internals.functional_like_constructor(type(model))
    assert not keras_internals.functional_like_constructor(Subclassed)


def test_the_calls_of_a_graph_come_in_the_order_of_their_execution(model):
    nodes = list(keras_internals.nodes_in_order(model))
    assert [type(node.operation).__name__ for node in nodes] == ["Dense", "Relu", "Add"]
    dense, relu, added = nodes
    assert dense.inputs == tuple(model.inputs)
    assert dense.args[0] is model.inputs[0]
    assert relu.inputs == dense.outputs
    assert [id(tensor) for tensor in added.inputs] == [id(dense.outputs[0]), id(relu.outputs[0])]
    assert added.outputs == tuple(model.outputs)
    assert all(node.kwargs == {} for node in nodes)


def test_calls_on_symbolic_tensors_are_forgotten(model):
    layer = model.get_layer("hidden")
    before = [
        len(list(keras_internals.nodes_in_order(model))),
        len(layer._inbound_nodes),
        len(layer._outbound_nodes),
    ]
    with keras_internals.nodes_kept([layer]):
        keras.ops.relu(layer(keras.Input((4,))))
        assert len(layer._inbound_nodes) == before[1] + 1
    assert [
        len(list(keras_internals.nodes_in_order(model))),
        len(layer._inbound_nodes),
        len(layer._outbound_nodes),
    ] == before


def test_a_symbolic_tensor_tells_its_producer_and_whether_it_was_named(model):
    assert keras_internals.producer(model.outputs[0]) is model.get_layer("sum")
    assert not keras_internals.has_automatic_name(model.inputs[0])
    assert keras_internals.has_automatic_name(keras.KerasTensor((None, 4)))


@pytest.mark.parametrize(
    "operation",
    [
        lambda x: x,
        lambda x: x * 2.0,
        lambda x: x * np.ones(4, "float32"),
        lambda x: 2.0 * keras.layers.Identity()(x * 2.0),
        lambda x: x * 2.0 + x * 3.0,
        lambda x: keras.ops.abs(x * 2.0),
    ],
)
def test_products_with_numbers_are_as_sparse_as_their_tensors(operation):
    assert not keras_internals.is_sparse(operation(keras.Input((4,))))
    if keras.backend.backend() != "torch":
        classes = keras.Input((), dtype="int32")
        for x in (keras.Input((4,), sparse=True), keras.ops.one_hot(classes, 4, sparse=True)):
            assert keras_internals.is_sparse(operation(x))


def test_layers_inside_are_listed_at_any_depth(model):
    outer = keras.Sequential([keras.Input((4,)), model, keras.layers.Dense(1, name="head")])
    names = [layer.name for layer in keras_internals.sublayers(outer)]
    assert {"hidden", "sum", "head", model.name} <= set(names)
    assert outer.name not in names
    assert keras_internals.sublayers(keras.ops.relu) == []


def test_only_what_a_class_of_ones_own_adds_is_its_own():
    class Block(keras.layers.Layer):
        def __init__(self, **kwargs):
            super().__init__(**kwargs)
            self.units, self.inner, self.parts = 3, keras.layers.ReLU(), [keras.layers.Dense(3)]

        def call(self, x):
            return self.inner(self.parts[0](x))

    block = Block(name="block")
    block(np.zeros((1, 4), "float32"))
    assert {name for name, _ in keras_internals.own_attributes(block)} == {
        "units",
        "inner",
        "parts",
    }
    assert dict(keras_internals.own_attributes(block))["inner"] is block.inner


def test_a_layer_that_is_built_takes_sublayers_while_it_is_unlocked(model):
    block = keras.layers.Dense(2)
    block.build((None, 4))
    with pytest.raises(ValueError, match="state"):
        block.late = keras.layers.ReLU()
    with keras_internals.unlocked(block):
        block.added = keras.layers.Dense(2, name="added")
    assert [layer.name for layer in keras_internals.sublayers(block)] == ["added"]
    with pytest.raises(ValueError, match="state"):
        block.later = keras.layers.ReLU()


def test_a_sublayer_is_exchanged_where_it_is_held_at_its_place_in_the_order():
    def dense(name):
        layer = keras.layers.Dense(2, name=name)
        layer.build((None, 2))
        return layer

    first, second, third, new = map(dense, ("first", "second", "third", "new"))
    block = keras.layers.Layer()
    block.direct, block.nested, block.last = first, [{"key": (second, first)}], third
    block.built = True
    block._lock_state()
    keras_internals.exchange_sublayer(block, second, new)
    assert block.nested[0]["key"] == (new, first)
    keras_internals.exchange_sublayer(block, third, new)  # It holds that one already.
    assert block.last is new
    assert [layer.name for layer in keras_internals.sublayers(block)] == ["first", "new"]
    expected = [*first.variables, *new.variables]
    assert [id(each) for each in block.variables] == [id(each) for each in expected]
    with pytest.raises(ValueError, match="state"):
        block.later = third


def test_an_optimizers_steps_are_counted_also_where_gradients_accumulate(model):
    optimizer = keras.optimizers.SGD(0.1, gradient_accumulation_steps=4)
    model.compile(optimizer, "mse")
    model.fit(np.zeros((6, 4)), np.zeros((6, 3)), batch_size=2, epochs=2, verbose=0)
    assert int(keras.ops.convert_to_numpy(keras_internals.steps_counter(optimizer))) == 6
    assert [id(variable) for variable in keras_internals.built_for(optimizer)] == [
        id(variable) for variable in model.trainable_variables
    ]


def test_a_training_that_is_beginning_can_go_on_from_an_epoch(model):
    class Later(keras.callbacks.Callback):
        def on_train_begin(self, logs=None):
            keras_internals.begin_at_epoch(self.model, 3)

    model.compile("sgd", "mse")
    history = model.fit(
        np.zeros((4, 4)), np.zeros((4, 3)), epochs=5, verbose=0, callbacks=[Later()]
    )
    assert history.epoch == [3, 4]


def test_labels_and_outputs_get_the_same_rank():
    column, row, matrix = np.ones((4, 1)), np.ones(4), np.ones((4, 3))
    for pair in ((column, row), (row, column), (matrix, matrix[..., None])):
        labels, outputs = keras_internals.ranks_aligned(*pair)
        assert tuple(labels.shape) == tuple(outputs.shape)
    assert keras_internals.ranks_aligned(row, matrix) == (row, matrix)


def test_nothing_private_is_used_anywhere_else():
    files = [path for path in PACKAGE.rglob("*.py") if INTERNALS not in path.parents]
    assert PACKAGE / "layers.py" in files
    trees = {path: ast.parse(path.read_text(encoding="utf-8")) for path in files}
    ours = {path.stem for path in files} | ELSEWHERE
    for node in (node for tree in trees.values() for node in ast.walk(tree)):
        if isinstance(node, (ast.FunctionDef, ast.ClassDef)):
            ours.add(node.name)
        elif isinstance(node, ast.Attribute) and isinstance(node.ctx, ast.Store):
            ours.add(node.attr)
        elif isinstance(node, ast.AnnAssign) and isinstance(node.target, ast.Name):
            ours.add(node.target.id)
        elif isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
            ours.add(node.id)
        elif isinstance(node, ast.Constant) and isinstance(node.value, str):
            ours.add(node.value)  # vars(layer)["_stand_ins"] = …
    used = {
        f"{path.relative_to(PACKAGE)}:{node.lineno} {node.attr}"
        for path, tree in trees.items()
        for node in ast.walk(tree)
        if isinstance(node, ast.Attribute)
        and re.match(r"_[a-z]", node.attr)
        and node.attr not in ours
    }
    assert used == set()
    assert [path.name for path in files if "keras.src" in path.read_text(encoding="utf-8")] == []


def test_the_configuration_of_an_optimizer_holds_its_schedule_itself():
    class Schedule(keras.optimizers.schedules.LearningRateSchedule):
        """Without a configuration."""

        def __call__(self, step):
            return 0.1

    schedule = Schedule()
    config = keras_internals.optimizer_config(keras.optimizers.SGD(schedule, momentum=0.5))
    assert config["learning_rate"] is schedule
    assert config["momentum"] == 0.5
    optimizer = keras.optimizers.SGD(0.25)
    assert keras_internals.optimizer_config(optimizer) == optimizer.get_config()


def test_exclusions_from_weight_decay_are_read_by_variable_and_by_name(model):
    optimizer = keras.optimizers.AdamW(0.1)
    assert not any(keras_internals.weight_decay_exclusions(optimizer))
    variable = model.trainable_variables[0]
    optimizer.exclude_from_weight_decay(var_list=[variable], var_names=["bias"])
    exclusions = keras_internals.weight_decay_exclusions(optimizer)
    assert exclusions.keys == {keras_internals.variable_key(optimizer, variable)}
    assert exclusions.pattern == "bias"


def test_the_arguments_of_compile_are_objects(model):
    def own_loss(y_true, y_pred):
        return keras.ops.mean(keras.ops.abs(y_true - y_pred), axis=-1)

    assert not keras_internals.compile_arguments(model)
    model.compile("sgd", own_loss, metrics=["mae"], run_eagerly=True)
    arguments = keras_internals.compile_arguments(model)
    assert arguments["loss"] is own_loss
    assert arguments["metrics"] == ["mae"]
    assert arguments["run_eagerly"]
    assert arguments["auto_scale_loss"]


def test_compiled_metrics_are_found_with_their_directions(model):
    assert keras_internals.compiled_metrics(model) is None
    model.compile("sgd", "mse")
    assert keras_internals.compiled_metrics(model) is None
    model.compile("sgd", "mse", metrics=["mae", keras.metrics.CosineSimilarity(name="cosine")])
    model.evaluate(np.ones((2, 4)), np.ones((2, 3)), verbose=0)
    metrics = keras_internals.compiled_metrics(model)
    assert set(metrics.result()) == {"mae", "cosine"}
    directions = {
        metric.name: keras_internals.metric_direction(metric) for metric in metrics.metrics
    }
    assert directions == {"mae": "down", "cosine": "up"}
    assert keras_internals.metric_direction(keras.metrics.Mean()) is None


def test_the_generator_of_draws_without_a_seed_is_set_back():
    keras.utils.set_random_seed(0)
    assert keras_internals.global_seed_state() is None
    keras.random.uniform((2,))
    state = keras_internals.global_seed_state()
    drawn = keras.ops.convert_to_numpy(keras.random.uniform((2,)))
    keras_internals.set_global_seed_state(state)
    np.testing.assert_array_equal(keras.ops.convert_to_numpy(keras.random.uniform((2,))), drawn)


def test_steps_are_passed_over(model):
    class PassOver(keras.callbacks.Callback):
        def on_epoch_begin(self, epoch, logs=None):
            self.train = keras_internals.pass_over_steps(self.model)

        def on_train_batch_end(self, batch, logs=None):
            if batch == 1:
                self.train()

    x, y = np.ones((8, 4), "float32"), np.zeros((8, 3), "float32")
    trained = keras.models.clone_model(model)
    trained.set_weights(model.get_weights())
    for each in (model, trained):
        each.compile("sgd", "mse")
    model.fit(x, y, batch_size=2, callbacks=[PassOver()], verbose=0)
    trained.fit(x[:4], y[:4], batch_size=2, verbose=0)
    for one, other in zip(model.get_weights(), trained.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)
