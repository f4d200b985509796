"""Kinds of models and of data: each public function takes them with the same result as a functional
model and arrays, or refuses them in one line."""

import functools

import keras
import numpy as np
import pytest

import keras_prelu as kp
from keras_prelu.data import Samples
from keras_prelu.data.samples import as_samples
from keras_prelu.diagnostics.evaluation import evaluate
from keras_prelu.errors import DataError, FileError, InvalidArgumentError, KerasPReLUError
from keras_prelu.report.content import gather
from tests.helpers.marks import slow_except

pytestmark = pytest.mark.filterwarnings(
    # Keras's, of a model whose keys are not its tensors' names, as one of those here.
    "ignore:When providing `inputs` as a dict:UserWarning"
)
L = keras.layers
RNG = np.random.default_rng(0)
X = RNG.normal(size=(120, 6)).astype("float32")
Y = np.arange(120) % 3
LOSS = keras.losses.SparseCategoricalCrossentropy(from_logits=True)


@keras.saving.register_keras_serializable("tests.kinds")
class Subclassed(keras.Model):
    """The network of `functional`, written as Python code."""

    def __init__(self, **kwargs):
        super().__init__(**kwargs)
        self.hidden = L.Dense(8, activation="relu", name="hidden")
        self.norm = L.BatchNormalization(name="norm")
        self.act = L.ReLU(name="act")
        self.head = L.Dense(3, name="head")

    def call(self, x, training=None):
        return self.head(self.act(self.norm(self.hidden(x), training=training)))


@keras.saving.register_keras_serializable("tests.kinds")
class OfDict(Subclassed):
    """Takes a dict of two arrays."""

    def call(self, x, training=None):
        return super().call(keras.ops.concatenate([x["z"], x["a"]], axis=-1), training=training)


@keras.saving.register_keras_serializable("tests.kinds")
class OfList(Subclassed):
    """Takes a list of two arrays."""

    def call(self, x, training=None):
        first, second = x
        return super().call(keras.ops.concatenate([first, second], axis=-1), training=training)


def functional():
    inputs = keras.Input((6,), name="inputs")
    x = L.BatchNormalization(name="norm")(L.Dense(8, activation="relu", name="hidden")(inputs))
    return keras.Model(inputs, L.Dense(3, name="head")(L.ReLU(name="act")(x)), name="net")


def sequential():
    return keras.Sequential(
        [
            keras.Input((6,)),
            L.Dense(8, activation="relu", name="hidden"),
            L.BatchNormalization(name="norm"),
            L.ReLU(name="act"),
            L.Dense(3, name="head"),
        ],
        name="net",
    )


def subclassed(cls, x):
    model = cls(name="net")
    model(keras.tree.map_structure(lambda array: array[:2], x))
    return model


def wrapped(inner):
    inputs = keras.Input((6,))
    return keras.Model(inputs, inner(inputs), name="outer")


def of_dict_unsorted():
    """A functional model whose keys are not in alphabetical order, nor its tensors' names."""
    z, a = keras.Input((4,), name="one"), keras.Input((2,), name="two")
    x = L.BatchNormalization(name="norm")(
        L.Dense(8, activation="relu", name="hidden")(L.Concatenate()([z, a]))
    )
    return keras.Model({"z": z, "a": a}, L.Dense(3, name="head")(L.ReLU(name="act")(x)), name="net")


PARTS = X[:, :4], X[:, 4:]
DICT = {"z": PARTS[0], "a": PARTS[1]}
MODELS = {
    "functional": (functional, X),
    "sequential": (sequential, X),
    "subclassed": (functools.partial(subclassed, Subclassed, X), X),
    "subclassed of a dict": (functools.partial(subclassed, OfDict, DICT), DICT),
    "subclassed of a list": (functools.partial(subclassed, OfList, list(PARTS)), list(PARTS)),
    "wrapped": (lambda: wrapped(subclassed(Subclassed, X)), X),
    "functional of a dict": (of_dict_unsorted, DICT),
}


def prepared(name):
    """Return a model of this kind, the same function for each kind, and its samples."""
    make, x = MODELS[name]
    model, rng = make(), np.random.default_rng(1)
    by_name = {
        (layer.name, variable.name): variable
        for layer in model._flatten_layers()
        for variable in getattr(layer, "_trainable_variables", [])
    }
    assert len(by_name) == 6
    for key in sorted(by_name):
        by_name[key].assign(0.7 * rng.normal(size=by_name[key].shape))
    model.compile("sgd", LOSS, metrics=["accuracy"])
    return model, x


def conversion(model):
    return kp.convert(model, alpha=0.1, rescale="none")


def trained(model, x):
    return kp.finetune(
        model, (x, Y), (x, Y), recipe="identity", epochs=1, batch_size=40, selection=(x, Y)
    )


USES = {
    "dead_units": lambda model, x: [
        (site.units, site.dead, site.negative) for site in kp.diagnostics.dead_units(model, x)
    ],
    "signal": lambda model, x: [
        (layer.moment, layer.gradient) for layer in kp.diagnostics.signal_by_depth(model, x)
    ],
    "gradient_noise": lambda model, x: kp.diagnostics.gradient_noise(model, (x, Y)).scale,
    "diagnose": lambda model, x: (
        kp.diagnostics.diagnose(model, (x, Y)).samples,
        kp.diagnostics.diagnose(model, (x, Y)).measures["noise"],
    ),
    "compare": lambda model, x: kp.compare(conversion(model), model, (x, Y)).gain,
    "evaluate": lambda model, x: list(evaluate(model, (x, Y)).metrics.values()),
    "similarity": lambda model, x: (
        kp.diagnostics.layer_similarity(model, conversion(model), x)[-1].explained
    ),
    "revive": lambda model, x: [site.units for site in kp.revive(model, x).sites],
    "calibrate": lambda model, x: kp.calibrate(conversion(model), model, x).error_before,
    "influences": lambda model, x: [
        layer.influence.sum() for layer in kp.diagnostics.channel_influences(model, x)
    ],
    "finetune": lambda model, x: [
        trained(model, x).prelu.score_after,
        trained(model, x).control.score_after,
    ],
}


@functools.cache
def expected(use):
    return USES[use](*prepared("functional"))


FAST_KINDS = ("wrapped", "subclassed of a dict")  # The others are like them.


@pytest.mark.parametrize(
    "kind",
    slow_except(FAST_KINDS, {kind: kind for kind in MODELS if kind != "functional"}),
)
@pytest.mark.parametrize("use", USES)
def test_kinds_of_models(kind, use):
    model, x = prepared(kind)
    before = [keras.ops.convert_to_numpy(variable).copy() for variable in model.variables]
    found = USES[use](model, x)
    np.testing.assert_allclose(
        keras.tree.flatten(found), keras.tree.flatten(expected(use)), rtol=2e-3, atol=1e-5
    )
    if use != "revive":
        for variable, value in zip(model.variables, before, strict=True):
            np.testing.assert_array_equal(keras.ops.convert_to_numpy(variable), value)


def test_a_report_on_a_subclassed_model():
    model, x = prepared("subclassed")
    report = gather(conversion(model), model, (x, Y))
    assert report.networks[0].diagnosis.samples == 120
    assert report.metric == "accuracy"


def test_paths_inside_a_subclassed_model_are_those_of_its_sites():
    model, x = prepared("subclassed")
    sites = [site.path for site in kp.find_sites(model)]
    assert [site.path for site in kp.diagnostics.dead_units(model, x)] == sites
    assert {layer.path for layer in kp.diagnostics.signal_by_depth(model, x)} > set(sites)


class Batched(keras.utils.PyDataset):
    def __init__(self, *arrays, endless=False, as_list=False):
        super().__init__()
        self.arrays, self.endless, self.as_list = arrays, endless, as_list

    @property
    def num_batches(self):
        return None if self.endless else 3

    def __getitem__(self, index):
        start = 40 * (index % 3)
        batch = [array[start : start + 40] for array in self.arrays]
        return (batch if self.as_list else tuple(batch)) if len(batch) > 1 else batch[0]


def generator(*arrays):
    yield from Batched(*arrays)


def loader(*arrays):
    torch = pytest.importorskip("torch")
    tensors = torch.utils.data.TensorDataset(*(torch.as_tensor(array) for array in arrays))
    return torch.utils.data.DataLoader(tensors, batch_size=40)


def tf_data(*arrays):
    tensorflow = pytest.importorskip("tensorflow")
    part = arrays if len(arrays) > 1 else arrays[0]
    return tensorflow.data.Dataset.from_tensor_slices(part).batch(40)


UNLABELLED = {
    "tensor": keras.ops.convert_to_tensor,
    "float64": lambda x: x.astype("float64"),
    "nested list": lambda x: x.tolist(),
    "list of one": lambda x: [x],
    "rows": list,
    "by name": lambda x: {"inputs": x, "ids": np.arange(len(x))},
    "Samples": Samples,
    "PyDataset": Batched,
    "labelled PyDataset": lambda x: Batched(x, Y),
    "PyDataset of lists": lambda x: Batched(x, Y, as_list=True),
    "generator": generator,
    "labelled generator": lambda x: generator(x, Y),
    "DataLoader": lambda x: loader(x, Y),
    "tf.data": tf_data,
    "labelled tf.data": lambda x: tf_data(x, Y),
}
LABELLED = {
    "Samples": Samples,
    "labels (n, 1)": lambda x, y: (x, y[:, None]),
    "labels as floats": lambda x, y: (x, y.astype("float32")),
    "labels as a list": lambda x, y: (x, y.tolist()),
    "labels as a tensor": lambda x, y: (x, keras.ops.convert_to_tensor(y)),
    "PyDataset": Batched,
    "PyDataset of lists": lambda x, y: Batched(x, y, as_list=True),
    "generator": generator,
    "DataLoader": loader,
    "tf.data": tf_data,
}
WITHOUT_LABELS = ("dead_units", "signal", "similarity", "revive", "calibrate", "influences")
OF_LABELLED = {
    "gradient_noise": lambda model, data: kp.diagnostics.gradient_noise(model, data()).scale,
    "diagnose": lambda model, data: kp.diagnostics.diagnose(model, data()).measures["noise"],
    "compare": lambda model, data: kp.compare(conversion(model), model, data()).gain,
    "evaluate": lambda model, data: list(evaluate(model, data()).metrics.values()),
    "report": lambda model, data: gather(conversion(model), model, data()).networks[0].score,
    "finetune": lambda model, data: (
        kp.finetune(
            model, (X, Y), data(), recipe="identity", epochs=1, selection=data(), control=False
        ).prelu.score_after
    ),
}


def marked(kinds):
    """Mark the kinds that need TensorFlow, which takes long to import, to run on TensorFlow."""
    return [
        pytest.param(kind, marks=[pytest.mark.tensorflow] if "tf.data" in kind else [])
        for kind in kinds
    ]


@pytest.mark.parametrize("kind", marked(UNLABELLED))
@pytest.mark.parametrize("use", WITHOUT_LABELS)
def test_kinds_of_unlabelled_samples(kind, use):
    if use in ("similarity", "calibrate") and kind == "by name":
        pytest.skip("the same path as of dead_units")
    model, _ = prepared("functional")
    found = USES[use](model, UNLABELLED[kind](X))
    np.testing.assert_allclose(
        keras.tree.flatten(found), keras.tree.flatten(expected(use)), rtol=1e-6
    )


@functools.cache
def expected_of_pair(use):
    return OF_LABELLED[use](prepared("functional")[0], lambda: (X, Y))


@pytest.mark.parametrize("kind", marked(LABELLED))
@pytest.mark.parametrize("use", [use for use in OF_LABELLED if use != "report"])
def test_kinds_of_labelled_samples(kind, use):
    found = OF_LABELLED[use](prepared("functional")[0], lambda: LABELLED[kind](X, Y))
    np.testing.assert_allclose(
        keras.tree.flatten(found), keras.tree.flatten(expected_of_pair(use)), rtol=1e-5
    )


REFUSED = {
    "list of two": (lambda: [X, Y], "must be a pair"),
    "negative weights": (lambda: (X, Y, -np.ones(120)), "weights .* from 0 on"),
    "fewer weights": (lambda: (X, Y, np.ones(3)), "120, their weights 3"),
    "one by one": (lambda: ((x, y) for x, y in zip(X, Y, strict=True)), "one by one"),
    "no labels": (lambda: X, "must be a pair"),
    "dict": (lambda: {"inputs": X}, "must be a pair"),
    "batches without labels": (lambda: Batched(X), "must be a pair"),
    "endless": (lambda: Batched(X, Y, endless=True), "endless"),
    "empty": (lambda: iter([]), "empty"),
    "lengths": (lambda: (X, Y[:-1]), "120, their labels 119"),
    "one label": (lambda: (X, 1), "a single value"),
    "shape": (lambda: (X[:, :5], Y), r"shape \(120, 5\)"),
    "text": (lambda: (np.full((120, 6), "a"), Y), "text"),
    "text labels": (lambda: (X, np.array(list("abc"))[Y]), "text"),
    "NaN": (lambda: (np.where(X > 2, np.nan, X), Y), "NaN"),
    "objects": (lambda: (np.full((120, 6), None), Y), "numbers"),
    "times": (lambda: (np.full((120, 6), np.datetime64("2020-01-01")), Y), "numbers"),
    "too many classes": (lambda: (X, Y + 1), "none of the model's 3 classes"),
    "broken": (lambda: (1 / 0 for _ in range(2)), "could not yield a batch"),
    "batches of other parts": (lambda: Batched(X, Y, Y, Y), "4 parts"),
}
NOT_CHECKED_BY_COMPARE = ("too many classes", "text labels")


@pytest.mark.parametrize("kind", REFUSED)
@pytest.mark.parametrize("use", ["gradient_noise", "compare", "evaluate", "finetune"])
def test_data_that_is_refused(kind, use):
    if use == "compare" and kind in NOT_CHECKED_BY_COMPARE:
        pytest.skip("accuracy can be computed")
    make, message = REFUSED[kind]
    with pytest.raises(KerasPReLUError, match=message) as caught:
        OF_LABELLED[use](prepared("functional")[0], make)
    assert "\n" not in str(caught.value)


TRAIN = {
    "list of two": (lambda: [X, Y], r"pair \(x, y\) in a tuple"),
    "array": (lambda: X, "pair"),
    "path": (lambda: "samples.npz", "pair"),
    "number": (lambda: 3, "pair"),
    "endless": (lambda: Batched(X, Y, endless=True), "endless .*`steps_per_epoch`"),
}


@pytest.mark.parametrize("kind", TRAIN)
def test_training_data_that_is_refused_before_training(kind, monkeypatch):
    monkeypatch.setattr(keras.Model, "fit", lambda *_, **__: pytest.fail("trained"))
    make, message = TRAIN[kind]
    with pytest.raises(InvalidArgumentError, match=message) as caught:
        kp.finetune(prepared("functional")[0], make(), (X, Y), selection=(X, Y), epochs=1)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", marked(["PyDataset", "DataLoader", "tf.data"]))
def test_streams_train_as_arrays_do(kind):
    model, _ = prepared("functional")
    results = [
        kp.finetune(
            model,
            data,
            (X, Y),
            selection=(X, Y),
            recipe="identity",
            epochs=1,
            batch_size=40,
            control=False,
        )
        for data in (Batched(X, Y), LABELLED[kind](X, Y))
    ]
    for one, other in zip(*(result.model.get_weights() for result in results), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)


def test_a_stream_without_len_has_checkpoints(tmp_path):
    results = [
        kp.finetune(
            prepared("functional")[0],
            Batched(X, Y),
            (X, Y),
            selection=(X, Y),
            recipe="identity",
            epochs=1,
            checkpoints=tmp_path,
            control=False,
        )
        for _ in range(2)
    ]
    for one, other in zip(*(result.model.get_weights() for result in results), strict=True):
        np.testing.assert_array_equal(one, other)


@pytest.mark.tensorflow
def test_an_endless_data_set_of_tensorflow_is_refused():
    model, _ = prepared("functional")
    endless = tf_data(X, Y).repeat()
    with pytest.raises(InvalidArgumentError, match="endless"):
        kp.finetune(model, endless, (X, Y), selection=(X, Y), epochs=1)
    with pytest.raises(DataError, match="endless"):
        kp.diagnostics.diagnose(model, endless)
    with pytest.raises(InvalidArgumentError, match="it yields x alone"):
        kp.finetune(model, tf_data(X), (X, Y), selection=(X, Y), epochs=1)
    assert len(kp.diagnostics.dead_units(model, endless)) == 2  # of the first 4,096 samples


NOT_MODELS = {
    "find_sites": lambda model: kp.find_sites(model),
    "convert": lambda model: kp.convert(model),
    "equalize": lambda model: kp.equalize(model),
    "bake": lambda model: kp.bake(model),
    "revive": lambda model: kp.revive(model, X),
    "dead_units": lambda model: kp.diagnostics.dead_units(model, X),
    "diagnose": lambda model: kp.diagnostics.diagnose(model, X),
    "compare": lambda model: kp.compare(functional(), model, (X, Y)),
    "finetune": lambda model: kp.finetune(model, (X, Y), (X, Y)),
    "calibrate": lambda model: kp.calibrate(model, functional(), X),
    "calibrate, original": lambda model: kp.calibrate(functional(), model, X),
}


TAKE_PATHS = {"find_sites", "convert", "bake", "diagnose", "compare", "finetune"}
TAKE_PATHS |= {"calibrate, original"}


@pytest.mark.parametrize("use", NOT_MODELS)
def test_a_path_is_loaded_or_refused(use):
    error, message = (
        (FileError, r"No such file: 'm\.keras'")
        if use in TAKE_PATHS
        else (InvalidArgumentError, r"must be a keras\.Model.*load_model\('m\.keras'")
    )
    with pytest.raises(error, match=message):
        NOT_MODELS[use]("m.keras")


def test_a_model_that_was_never_called():
    for use in (
        lambda model: kp.diagnostics.dead_units(model, X),
        lambda model: kp.compare(model, model, (X, Y)),
    ):
        with pytest.raises(DataError, match="never called"):
            use(Subclassed(name="net"))


def test_samples_that_a_subclassed_model_can_not_take():
    model, _ = prepared("subclassed")
    with pytest.raises(DataError, match=r"'net' \(Subclassed\) can't be called.*\('batch', 5\)"):
        kp.diagnostics.dead_units(model, X[:, :5])
    model, _ = prepared("subclassed of a dict")
    with pytest.raises(DataError, match="can't be called"):
        kp.diagnostics.dead_units(model, {"z": X})


TEXT = np.array(["a", "b", "c", "z"] * 10)
KINDS_OF_TEXT = {
    "array": TEXT,
    "objects": TEXT.astype(object),
    "bytes": TEXT.astype(bytes),
    "list": TEXT.tolist(),
    "column": TEXT[:, None],
}


def of_text():
    """A model of text, and the model of the numbers that the text stands for."""
    inputs = keras.Input((), dtype="string")
    lookup = L.StringLookup(vocabulary=["a", "b", "c"])
    numbers = keras.Input((), dtype="int64")
    layers = [L.Embedding(5, 3), L.Dense(4, activation="relu"), L.Dense(2)]
    models = []
    for argument, x in ((inputs, lookup(inputs)), (numbers, numbers)):
        for layer in layers:
            x = layer(x)
        models.append(keras.Model(argument, x))
        models[-1].compile("adam", "mse")
    return *models, keras.ops.convert_to_numpy(lookup(TEXT))


OF_TEXT = {
    "dead_units": lambda model, x, y: [site.dead for site in kp.diagnostics.dead_units(model, x)],
    "diagnose": lambda model, x, y: kp.diagnostics.diagnose(model, (x, y)).measures["noise"],
    "compare": lambda model, x, y: kp.compare(model, conversion(model), (x, y)).gain,
    "calibrate": lambda model, x, y: kp.calibrate(conversion(model), model, x).error_before,
    "evaluate": lambda model, x, y: evaluate(model, (x, y)).metrics["loss"],
    "finetune": lambda model, x, y: (
        kp.finetune(
            model, (x, y), (x, y), recipe="identity", epochs=1, control=False
        ).prelu.score_after
    ),
}
TARGETS_OF_TEXT = np.zeros((40, 2), "float32")


@pytest.mark.tensorflow
@pytest.mark.parametrize("kind", KINDS_OF_TEXT)
def test_kinds_of_text(kind):
    """All functions read their samples in the same way, so that two of them show each kind."""
    text_model, number_model, numbers = of_text()
    for name in ("dead_units", "calibrate"):
        found = OF_TEXT[name](text_model, KINDS_OF_TEXT[kind], TARGETS_OF_TEXT)
        expected = OF_TEXT[name](number_model, numbers, TARGETS_OF_TEXT)
        np.testing.assert_allclose(found, expected, rtol=1e-4)


@pytest.mark.tensorflow
def test_text_is_as_the_numbers_it_stands_for():
    text_model, number_model, numbers = of_text()
    for use in OF_TEXT.values():
        np.testing.assert_allclose(
            use(text_model, TEXT, TARGETS_OF_TEXT),
            use(number_model, numbers, TARGETS_OF_TEXT),
            rtol=1e-4,
        )
    kp.convert(text_model, alpha="auto", calibration_data=TEXT)
    with pytest.raises(DataError, match=r"numbers, but the model's input .* takes text"):
        kp.diagnostics.dead_units(text_model, numbers)


@pytest.mark.tensorflow
def test_text_beside_numbers():
    """Keras mixes tensors and arrays in no call."""
    word, number = keras.Input((), name="word", dtype="string"), keras.Input((1,), name="number")
    codes = L.StringLookup(vocabulary=["a", "b", "c"], output_mode="one_hot")(word)
    hidden = L.Dense(4, activation="relu")(L.Concatenate()([codes, number]))
    model = keras.Model([word, number], L.Dense(2)(hidden))
    model.compile("adam", "mse")
    data = ({"word": TEXT, "number": np.arange(40.0)}, TARGETS_OF_TEXT)
    for use in (OF_TEXT["compare"], OF_TEXT["evaluate"], OF_TEXT["finetune"], OF_TEXT["diagnose"]):
        assert np.isfinite(use(model, *data))


def test_text_where_keras_can_not_read_it():
    if keras.backend.backend() == "tensorflow":
        pytest.skip("TensorFlow reads text")
    model = keras.Model(inputs := keras.Input((2,)), L.Dense(2, activation="relu")(inputs))
    with pytest.raises(DataError, match=r"The samples are text, but .* takes float32"):
        kp.diagnostics.dead_units(model, np.full((4, 2), "a"))
    model = keras.Model(inputs := keras.Input((2,), dtype="string"), L.Identity()(inputs))
    with pytest.raises(DataError, match="on TensorFlow alone"):
        as_samples(np.full((4, 2), "a"), model=model)
