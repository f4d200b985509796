"""Every kind of data in every command: with the result of the same samples as arrays."""

import functools
import itertools

import keras
import numpy as np
import pytest

import keras_prelu as kp
from keras_prelu.data import Samples
from keras_prelu.data.containers import from_pandas
from keras_prelu.data.random_access import random_access_samples
from keras_prelu.data.samples import as_samples
from keras_prelu.data.streams import MOST_FROM_BATCHES
from keras_prelu.diagnostics.evaluation import evaluate
from keras_prelu.errors import DataError, InvalidArgumentError
from keras_prelu.report import content
from keras_prelu.training.stream_batches import StreamBatches
from tests.helpers.marks import slow_except

L = keras.layers
RNG = np.random.default_rng(0)
COUNT, BATCH = 60, 12
A = RNG.normal(size=(COUNT, 4)).astype("float32")
B = RNG.normal(size=(COUNT, 2)).astype("float32")
X = np.concatenate([A, B], axis=1)
Y = np.arange(COUNT) % 3
W = RNG.uniform(0.5, 2.0, COUNT).astype("float32")
SPLITS = range(0, COUNT, BATCH)


@functools.cache
def models(kind):
    """Return the ReLU model of one input or of two by name, compiled, and its conversion."""
    keras.utils.set_random_seed(0)
    if kind == "one":
        inputs = argument = keras.Input((6,), name="inputs")
    else:
        inputs = {"a": keras.Input((4,), name="a"), "b": keras.Input((2,), name="b")}
        argument = L.Concatenate()(list(inputs.values()))
    hidden = L.Dense(8, activation="relu", name="hidden")(argument)
    model = keras.Model(inputs, L.Dense(3, name="head")(hidden))
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile(keras.optimizers.SGD(0.1), loss, metrics=["accuracy"], weighted_metrics=[])
    return model, kp.convert(model, alpha=0.1, rescale="none")


class Batches(keras.utils.PyDataset):
    def __init__(self, parts, endless=False):
        super().__init__()
        self.parts, self.endless = parts, endless

    @property
    def num_batches(self):
        return None if self.endless else len(SPLITS)

    def __getitem__(self, index):
        start = index % len(SPLITS) * BATCH
        return keras.tree.map_structure(lambda part: part[start : start + BATCH], self.parts)


def grain_batches(parts):
    grain = pytest.importorskip("grain")
    rows = [
        keras.tree.map_structure(lambda part, row=row: part[row], parts) for row in range(COUNT)
    ]
    return grain.MapDataset.source(rows).batch(BATCH)


def grain_loader(parts):
    grain = pytest.importorskip("grain")
    rows = [
        keras.tree.map_structure(lambda part, row=row: part[row], parts) for row in range(COUNT)
    ]
    sampler = grain.samplers.IndexSampler(
        COUNT, shard_options=grain.sharding.NoSharding(), shuffle=False, num_epochs=1
    )
    return grain.DataLoader(
        data_source=rows,
        sampler=sampler,
        operations=[grain.transforms.Batch(BATCH)],
        read_options=grain.ReadOptions(num_threads=0),
    )


def torch_loader(parts):
    data = pytest.importorskip("torch").utils.data
    rows = [
        keras.tree.map_structure(lambda part, row=row: part[row], parts) for row in range(COUNT)
    ]
    return data.DataLoader(rows, batch_size=BATCH)


def tf_data(parts):
    tensorflow = pytest.importorskip("tensorflow")
    return tensorflow.data.Dataset.from_tensor_slices(parts).batch(BATCH)


def huggingface(parts):
    datasets = pytest.importorskip("datasets")
    x, y = parts[:2]
    columns = x if isinstance(x, dict) else {"x": x}
    return datasets.Dataset.from_dict(
        {**{name: list(part) for name, part in columns.items()}, "label": y}
    )


def frame(parts):
    pandas = pytest.importorskip("pandas")
    return (pandas.DataFrame(parts[0]), pandas.Series(parts[1]), *parts[2:])


def frame_of_columns(parts):
    """A frame whose columns are inputs of one number each would have them by name."""
    pandas = pytest.importorskip("pandas")
    return (pandas.DataFrame(parts[0], columns=list("uvwxyz")), pandas.Series(parts[1]))


ONE, NAMED = (X, Y), ({"a": A, "b": B}, Y)
KINDS = {
    "Samples": ("one", lambda: Samples(*ONE)),
    "weights": ("one", lambda: (X, Y, W)),
    "lists": ("one", lambda: (X.tolist(), Y.tolist())),
    "tensors": ("one", lambda: tuple(map(keras.ops.convert_to_tensor, ONE))),
    "pandas": ("one", lambda: frame(ONE)),
    "pandas, named columns": ("one", lambda: frame_of_columns(ONE)),
    "tf.data": ("one", lambda: tf_data(ONE)),
    "tf.data, weights": ("one", lambda: tf_data((*ONE, W))),
    "tf.data, dict": ("two", lambda: tf_data(NAMED)),
    "PyDataset": ("one", lambda: Batches(ONE)),
    "PyDataset, weights": ("one", lambda: Batches((*ONE, W))),
    "PyDataset, dict": ("two", lambda: Batches(NAMED)),
    "DataLoader": ("one", lambda: torch_loader(ONE)),
    "DataLoader, dict": ("two", lambda: torch_loader(NAMED)),
    "Grain": ("one", lambda: grain_batches(ONE)),
    "Grain, dict": ("two", lambda: grain_batches(NAMED)),
    "Grain, iterable": ("one", lambda: grain_batches(ONE).to_iter_dataset()),
    "Grain, loader": ("one", lambda: grain_loader(ONE)),
    "generator": ("one", lambda: (Batches(ONE)[index] for index in range(len(SPLITS)))),
    "generator, weights": (
        "one",
        lambda: (Batches((*ONE, W))[index] for index in range(len(SPLITS))),
    ),
    "rows on disk": (
        "one",
        lambda: random_access_samples(
            lambda rows: (X[rows], Y[rows]), COUNT, "rows", as_stored=True
        ),
    ),
    "Hugging Face": ("one", lambda: huggingface(ONE)),
    "Hugging Face, columns": ("two", lambda: huggingface(NAMED)),
    "dict": ("two", lambda: NAMED),
    "list": ("two", lambda: ([A, B], Y)),
    "tuple": ("two", lambda: ((A, B), Y)),
}


def expected_data(kind):
    return as_arrays(KINDS[kind][0], "weights" in kind)


def as_arrays(model, weighted):
    parts = ONE if model == "one" else NAMED
    return (*parts, W) if weighted else parts


def evaluated(model, data):
    evaluation = evaluate(model, data)
    return [evaluation.samples, *evaluation.metrics.values()]


def compared(prelu, relu, data):
    comparison = kp.compare(prelu, relu, data())
    return comparison.samples, comparison.gain, kp.compare(prelu, relu, data(), metric="loss").gain


def tuned(model, data, **arguments):
    return kp.finetune(
        model,
        data(),
        data(),
        selection=data(),
        recipe="identity",
        epochs=2,
        optimizer="sgd",  # A default learning rate decays only where the length is known.
        batch_size=BATCH,
        control=False,
        **arguments,
    )


COMMANDS = {
    "convert": lambda relu, prelu, data: kp.convert(
        relu, alpha=0.2, calibration_data=data()
    ).get_weights()[0],
    "calibrate": lambda relu, prelu, data: (
        kp.calibrate(kp.convert(relu, alpha=0.1, rescale="none"), relu, data()).error_after
    ),
    "evaluate": lambda relu, prelu, data: evaluated(relu, data()),
    "finetune": lambda relu, prelu, data: list(tuned(relu, data).prelu.metrics_after.values()),
    "compare": lambda relu, prelu, data: compared(prelu, relu, data),
    "diagnose": lambda relu, prelu, data: list(
        kp.diagnostics.diagnose(prelu, data()).measures.values()
    ),
    "report": lambda relu, prelu, data: [
        network.score for network in content.gather(prelu, relu, data()).networks
    ],
}
ONE_PASS = ("generator", "generator, weights")
SHUFFLED = ("finetune",)  # Arrays are shuffled each epoch, data sets keep their own order.
FAST = (
    "compare: weights",
    "compare: pandas",
    "compare: Grain, dict",
    "compare: Hugging Face, columns",
    "calibrate: pandas, named columns",
    "calibrate: Grain",
    "evaluate: generator, weights",
    "finetune: generator",
    "finetune: Hugging Face",
    "finetune: Grain",
)
CELLS = {
    f"{command}: {kind}": (command, kind) for command, kind in itertools.product(COMMANDS, KINDS)
}


@functools.cache
def of_arrays(command, model, *, weighted, in_order):
    """The result of a command for the samples of many kinds of data."""
    parts = as_arrays(model, weighted)
    return COMMANDS[command](*models(model), lambda: Batches(parts) if in_order else parts)


@pytest.fixture
def without_times(monkeypatch):
    monkeypatch.setattr(content, "_times", lambda models, data: dict.fromkeys(models))


@pytest.mark.parametrize("cell", slow_except(FAST, CELLS))
@pytest.mark.usefixtures("without_times")
def test_each_kind_in_each_command(cell):
    command, kind = cell
    model, data = KINDS[kind]
    found = COMMANDS[command](*models(model), data)
    in_order = command in SHUFFLED and (
        kind.split(",")[0] in ("tf.data", "PyDataset", "DataLoader", "Grain")
    )
    expected = of_arrays(command, model, weighted="weights" in kind, in_order=in_order)
    np.testing.assert_allclose(keras.tree.flatten(found), keras.tree.flatten(expected), rtol=2e-4)


@pytest.mark.parametrize("kind", ["pandas", "Grain", "Hugging Face, columns", "tuple"])
def test_unlabelled_functions_take_labelled_data(kind):
    if kind == "tuple":
        kind, data = "pandas", (X, Y, W)
    else:
        data = KINDS[kind][1]()
    relu, _ = models(KINDS[kind][0])
    expected = kp.diagnostics.dead_units(relu, expected_data(kind)[0])
    assert kp.diagnostics.dead_units(relu, data) == expected


def test_frames_become_arrays_or_columns():
    pandas = pytest.importorskip("pandas")
    frame = pandas.DataFrame({"a": [1, 2], "b": pandas.array([3, None], dtype="Int64")})
    assert from_pandas(frame[["a"]]).tolist() == [[1], [2]]
    with pytest.raises(DataError, match=r"NaN .*sample 1"):
        as_samples(frame)
    mixed = frame.assign(s=["u", None], c=pandas.Categorical(["x", "y"]), f=[0.5, 1.5])
    columns = from_pandas(mixed)
    assert list(columns) == ["a", "b", "s", "c", "f"]
    assert columns["c"].tolist() == ["x", "y"]
    assert columns["f"].dtype == "float64"
    by_name = from_pandas(pandas.DataFrame({"a": [1.0], "b": [2.0]}), models("two")[0])
    assert {name: array.tolist() for name, array in by_name.items()} == {"a": [1.0], "b": [2.0]}


def test_rows_of_hugging_face_that_are_refused():
    datasets = pytest.importorskip("datasets")
    relu, _ = models("one")
    rows = huggingface(ONE)
    refused = {
        r"several splits.*'train'": datasets.DatasetDict(train=rows),
        "streaming": rows.to_iterable_dataset(),
        "no column 'label'": rows.rename_column("label", "target"),
        "several shapes": datasets.Dataset.from_dict(
            {"x": [[1.0] * (1 + row % 2) for row in range(8)], "label": [0] * 8}
        ),
        "no samples": rows.select([]),
    }
    for message, data in refused.items():
        with pytest.raises(DataError, match=message):
            kp.compare(relu, relu, data)
    named = rows.rename_column("label", "target")
    data = (named.remove_columns("target"), named["target"])
    assert kp.compare(relu, relu, data).samples == COUNT


def test_columns_above_the_limit_stay_on_disk(monkeypatch):
    rows = huggingface(ONE)
    expected = as_samples(rows)
    monkeypatch.setattr("keras_prelu.data.containers.MEMORY_LIMIT", 100)
    samples = as_samples(rows)
    assert samples.on_disk
    np.testing.assert_array_equal(np.asarray(samples.x), expected.x)
    np.testing.assert_array_equal(samples.take([3, 1, 3]).x[:], expected.x[[3, 1, 3]])


def test_a_generator_that_never_ends_is_refused(monkeypatch):
    monkeypatch.setattr("keras_prelu.data.streams.MOST_BATCHES", 50)
    relu, _ = models("one")
    for use in (
        lambda data: kp.compare(relu, relu, data),
        lambda data: kp.finetune(relu, data, ONE, selection=ONE, recipe="identity"),
    ):
        with pytest.raises(DataError, match=r"do not end within 50 batches.*islice"):
            use(itertools.cycle([ONE]))


@pytest.mark.parametrize("steps", [3, 7])
def test_endless_data_has_epochs_of_so_many_steps(steps):
    """The weights are those of Keras's own training on the same batches, one after the other."""
    relu, _ = models("one")
    result = kp.finetune(
        relu,
        Batches(ONE, endless=True),
        ONE,
        recipe="relu",
        selection=ONE,
        epochs=2,
        steps_per_epoch=steps,
        optimizer="sgd",
        control=False,
    )
    expected = keras.models.clone_model(relu)
    expected.set_weights(relu.get_weights())
    expected.compile("sgd", relu.loss)
    source, losses = Batches(ONE), []
    weights = []
    for epoch in range(2):
        for step in range(steps):
            expected.train_on_batch(*source[(epoch * steps + step) % len(SPLITS)])
        losses.append(expected.evaluate(*ONE, verbose=0))
        weights.append(expected.get_weights())
    for one, other in zip(result.model.get_weights(), weights[int(np.argmin(losses))], strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)


@pytest.mark.usefixtures("without_times")
@pytest.mark.parametrize("command", COMMANDS)
def test_endless_data_in_each_command(command):
    """Where some samples are enough they are the first ones; elsewhere the error says what to do."""
    relu, prelu = models("one")
    arguments = (relu, prelu, lambda: Batches(ONE, endless=True))
    if command in ("convert", "calibrate"):
        found = COMMANDS[command](*arguments)
        first = tuple(np.resize(part, (MOST_FROM_BATCHES, *part.shape[1:])) for part in ONE)
        np.testing.assert_allclose(found, COMMANDS[command](relu, prelu, lambda: first), rtol=2e-4)
    else:
        with pytest.raises((DataError, InvalidArgumentError), match=r"endless.*take\(batches\)"):
            COMMANDS[command](*arguments)


def test_flags_that_workers_of_grain_need_are_named():
    class UnparsedFlagAccessError(Exception):
        pass

    def rows():
        raise UnparsedFlagAccessError("--grain_debug was read")
        yield

    relu, _ = models("one")
    with pytest.raises(DataError, match=r"was read\. Call absl\.flags\.FLAGS\.mark_as_parsed"):
        kp.compare(relu, relu, rows())


def test_an_endless_generator_gives_one_epoch():
    relu, _ = models("one")
    endless = itertools.cycle([Batches(ONE)[index] for index in range(len(SPLITS))])
    arguments = {"selection": ONE, "recipe": "identity", "epochs": 2, "control": False}
    found = kp.finetune(relu, endless, ONE, steps_per_epoch=len(SPLITS), **arguments)
    expected = kp.finetune(relu, ONE, ONE, **arguments)
    for one, other in zip(found.model.get_weights(), expected.model.get_weights(), strict=True):
        np.testing.assert_array_equal(one, other)


def test_batches_of_an_epoch_depend_on_its_number_alone():
    def numbers():
        return iter((np.full((2, 1), number), np.zeros(2)) for number in range(5))

    class Source:
        def __iter__(self):
            return numbers()

    data = StreamBatches(Source(), 3)
    read = []
    for epoch in (0, 1, 2, 1, 0):
        data.begin(epoch)
        read.append([int(data[index][0][0, 0]) for index in range(3)])
    assert read == [[0, 1, 2], [3, 4, 0], [1, 2, 3], [3, 4, 0], [0, 1, 2]]
    data.restart()
    data.begin(2)
    assert [int(data[index][0][0, 0]) for index in (0, 1, 0, 1, 2)] == [1, 2, 1, 2, 3]


def test_streams_whose_length_is_not_known():
    class Source:
        def __iter__(self):
            return iter([ONE])

    relu, _ = models("one")
    with pytest.raises(InvalidArgumentError, match=r"not known\. Give `steps_per_epoch`"):
        kp.finetune(relu, Source(), ONE, selection=ONE, recipe="identity")
    torch = pytest.importorskip("torch")
    rows = torch.utils.data.TensorDataset(torch.as_tensor(X), torch.as_tensor(Y))
    with pytest.raises(InvalidArgumentError, match="DataLoader"):
        kp.finetune(relu, rows, ONE, selection=ONE, recipe="identity")


def test_single_samples_are_no_batches():
    relu, _ = models("one")
    grain = pytest.importorskip("grain")
    torch = pytest.importorskip("torch")
    one_by_one = torch.utils.data.DataLoader(
        [(x, y) for x, y in zip(X, Y, strict=True)], batch_size=None
    )
    for data in (
        grain.MapDataset.source(list(zip(X, Y, strict=True))),
        one_by_one,
        iter(zip(X, Y, strict=True)),
    ):
        with pytest.raises(DataError, match="one by one"):
            kp.compare(relu, relu, data)
    with pytest.raises(DataError, match="one by one"):
        kp.diagnostics.dead_units(relu, grain.MapDataset.source(list(X)))
    with pytest.raises(DataError, match="one by one"):
        kp.finetune(relu, one_by_one, ONE, selection=ONE, recipe="identity")


def test_errors_in_a_stream_are_told_before_training(monkeypatch):
    monkeypatch.setattr(keras.Model, "fit", lambda *_, **__: pytest.fail("trained"))
    relu, _ = models("one")
    for message, data in (
        ("none of the model's 3 classes", Batches((X, Y + 1))),
        ("shape", Batches((X[:, :4], Y))),
        ("must be a pair", Batches((X,))),
    ):
        with pytest.raises(DataError, match=message):
            kp.finetune(relu, data, ONE, selection=ONE, recipe="identity")


@pytest.mark.parametrize("kind", ["Grain", "DataLoader", "weights"])
def test_weights_of_classes(kind):
    relu, _ = models("one")
    arguments = {"selection": ONE, "class_weight": {0: 1.0, 1: 5.0, 2: 0.1}, "epochs": 1}
    if kind == "weights":
        with pytest.raises(InvalidArgumentError, match="does not combine with `class_weight`"):
            kp.finetune(relu, (X, Y, W), ONE, recipe="identity", **arguments)
        return
    results = [
        kp.finetune(relu, data, ONE, recipe="identity", control=False, optimizer="sgd", **arguments)
        for data in (KINDS[kind][1](), Batches(ONE))
    ]
    for one, other in zip(*(result.model.get_weights() for result in results), strict=True):
        np.testing.assert_allclose(one, other, atol=1e-6)
