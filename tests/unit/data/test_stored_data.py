"""Data that people have in files and folders: tables, texts, and stored data sets."""

import keras
import numpy as np
import pytest

import keras_prelu as kp
from keras_prelu.data import load
from keras_prelu.data.column_check import check_columns
from keras_prelu.data.declarations import input_names
from keras_prelu.data.samples import as_samples
from keras_prelu.data.summary import summary
from keras_prelu.errors import DataError

L = keras.layers
CSV = """age,city,income,label
31,Bern,1.5,yes
45,Basel,2.5,no
28,None,0.5,yes
61,Bern,4.0,no
"""


def table(folder, text=CSV, name="people.csv"):
    pytest.importorskip("pandas")
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return path


def of_columns():
    age, city = keras.Input((1,), name="age"), keras.Input((1,), name="city")
    return keras.Model([age, city], L.Dense(2)(L.Concatenate()([age, city])))


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("a,b,label\n0,5,3,1\n1,5,4,0\n", "more fields than the header, which has 3"),
        ("a,label,label\n1,2,0\n3,4,1\n", "two columns are named 'label'"),
        ("a,labels,label\n1,2,0\n3,4,1\n", "'label' and 'labels', and either could be"),
        ("0.5,1.5,1\n2.5,0.1,0\n", "its first line holds values"),
        ("3,1,1\n2,5,0\n", "its first line holds values"),
        ("5.1,3.5,1.4,0.2,setosa\n4.9,3.0,1.4,0.2,setosa\n", "its first line holds values"),
    ],
)
def test_tables_that_can_be_read_in_two_ways_are_refused(tmp_path, text, message):
    with pytest.raises(DataError, match=message):
        load(str(table(tmp_path, text)))


@pytest.mark.parametrize(
    "header", ["0,1,2", "2019,2020,2021", "label,0.1,0.5", "3,label,1", "q_0.9,label,1.5"]
)
def test_names_of_columns_may_be_numbers(tmp_path, header):
    data = load(str(table(tmp_path, f"{header}\n1,2,3\n4,5,6\n")))
    assert data.columns == tuple(header.split(","))


@pytest.mark.parametrize("suffix", [".csv", ".npz"])
def test_weights_of_samples(tmp_path, suffix):
    path = tmp_path / f"data{suffix}"
    if suffix == ".csv":
        path.write_text("a,b,sample_weight,label\n1,2,0.5,0\n3,4,2,1\n")
    else:
        np.savez(path, x=[[1, 2], [3, 4]], y=[0, 1], sample_weight=[0.5, 2.0])
    data = load(str(path))
    assert data.train.x.tolist() == [[1, 2], [3, 4]]
    assert data.train.y.tolist() == [0, 1]
    assert data.train.weights.tolist() == [0.5, 2.0]
    assert summary(data).endswith(", weights 'sample_weight'.")
    model = keras.Sequential([keras.Input((2,)), L.Dense(2)])
    check_columns(data, model)
    # A model may have an input of that name.
    if suffix == ".csv":
        data = load(str(path), input_names=["a", "b", "sample_weight"])
        assert data.train.weights is None
        assert list(data.train.x) == ["a", "b", "sample_weight"]


def test_weights_count_in_scores(tmp_path):
    """The wrong one of two samples weighs 3 times as much as the right one."""
    np.savez(tmp_path / "data.npz", x=[[1.0, 0.0], [1.0, 0.0]], y=[0, 1], sample_weight=[1.0, 3.0])
    model = keras.Sequential([keras.Input((2,)), L.Activation("linear")])
    model.compile(loss="mae", weighted_metrics=["sparse_categorical_accuracy"])
    scores = kp.evaluate(model, load(str(tmp_path / "data.npz")).train).metrics
    assert scores["sparse_categorical_accuracy"] == pytest.approx(0.25)


def test_a_table_with_text(tmp_path):
    data = load(str(table(tmp_path)))
    assert list(data.train.x) == ["age", "city", "income"]
    assert data.train.x["age"].tolist() == [31, 45, 28, 61]
    assert data.train.x["city"].tolist() == ["Bern", "Basel", "None", "Bern"]
    assert data.train.y.tolist() == [1, 0, 1, 0]
    assert (data.classes, data.test) == (("no", "yes"), None)
    assert summary(data) == (
        f"{tmp_path}/people.csv: 4 samples of 'age': shape (), int64 from 28 to 61; 'city': shape"
        " (), text such as 'Bern'; 'income': shape (), float64 from 0.5 to 4, in 2 classes: no, yes."
    )


def test_columns_by_name(tmp_path):
    path = str(table(tmp_path))
    numeric = load(path, label=["income", "label"], input_names=["age"])
    assert numeric.train.x.tolist() == [31, 45, 28, 61]
    assert {name: part.tolist() for name, part in numeric.train.y.items()} == {
        "income": [1.5, 2.5, 0.5, 4.0],
        "label": [1, 0, 1, 0],
    }
    path = str(table(tmp_path, "a,b,target\n1,2.5,0\n3,4.5,1\n"))
    matrix = load(path, label="target").train
    assert matrix.x.tolist() == [[1.0, 2.5], [3.0, 4.5]]
    assert matrix.y.tolist() == [0, 1]
    unlabelled = load(path)
    assert (unlabelled.train.x.shape, unlabelled.train.y) == ((2, 3), None)
    assert "without labels" in summary(unlabelled)
    by_name = load(path, label="target", input_names=["b", "a"]).train.x
    assert {name: part.tolist() for name, part in by_name.items()} == {"b": [2.5, 4.5], "a": [1, 3]}


def test_a_model_takes_columns_by_the_names_of_its_inputs(tmp_path):
    model = of_columns()
    path = str(table(tmp_path, "city,id,age,label\n1,9,2,0\n3,9,4,1\n"))
    data = load(path, input_names=input_names(model)).train
    samples = as_samples(data, model=model)
    assert [array.tolist() for array in samples.x] == [[[2], [4]], [[1], [3]]]


@pytest.mark.parametrize("form", ["tsv", "parquet", "csv:", "parquet:"])
def test_other_forms_of_tables(tmp_path, form):
    pandas = pytest.importorskip("pandas")
    path = table(tmp_path)
    frame = pandas.read_csv(path, keep_default_na=False)
    name = f"{form[:-1]}:{tmp_path}/data" if form.endswith(":") else f"{tmp_path}/data.{form}"
    written = tmp_path / ("data" if form.endswith(":") else f"data.{form}")
    if "parquet" in form:
        pytest.importorskip("pyarrow")
        frame.to_parquet(written)
    else:
        frame.to_csv(written, sep="\t" if form == "tsv" else ",", index=False)
    one, other = load(name).train, load(str(path)).train
    assert one.y.tolist() == other.y.tolist()
    assert {key: part.tolist() for key, part in one.x.items()} == {
        key: part.tolist() for key, part in other.x.items()
    }


def test_columns_of_lists(tmp_path):
    pandas = pytest.importorskip("pandas")
    pytest.importorskip("pyarrow")
    frame = pandas.DataFrame({"x": [[1.0, 2.0], [3.0, 4.0]], "label": [0, 1]})
    frame.to_parquet(tmp_path / "a.parquet")
    assert load(str(tmp_path / "a.parquet")).train.x.tolist() == [[1.0, 2.0], [3.0, 4.0]]
    frame = pandas.DataFrame({"x": [[1.0, 2.0], [3.0]], "label": [0, 1]})
    frame.to_parquet(tmp_path / "b.parquet")
    with pytest.raises(DataError, match=r"'x' .* several shapes"):
        load(str(tmp_path / "b.parquet"))


@pytest.mark.parametrize(
    ("text", "label", "message"),
    [
        (CSV, "target", r"no column 'target'. It has: 'age', 'city', 'income', 'label'"),
        ("a,label\n1,x\n,y\n", (), "'a' .* no finite value in row 1"),
        ("a,label\nu,x\n,y\n", (), "'a' .* no value in row 1"),
        ("a,label\n1,x\n2,\n", (), "'label' .* no value in row 1"),
        ("label\n1\n", (), "no column besides its labels"),
        ("a,label\n", (), "has no rows"),
        ("", (), "can't be read as csv"),
        ('a\n"1\n2', (), "can't be read as csv"),
    ],
)
def test_tables_that_are_refused(tmp_path, text, label, message):
    with pytest.raises(DataError, match=message) as caught:
        load(str(table(tmp_path, text)), label=label)
    assert "\n" not in str(caught.value)


def test_what_is_not_there():
    for source in ("no.csv", "csv:no", "no.parquet", "hf:no", "tfdata:no", "text:no"):
        with pytest.raises(DataError, match=r"No such (file|folder): 'no"):
            load(source)
    for source in ("digits", "dir:no", "text:no", "module:function"):
        with pytest.raises(DataError, match="have no name"):
            load(source, label="y")


def test_labels_in_arrays_by_name(tmp_path):
    x, kind, size = np.ones((4, 3)), np.arange(4), np.ones((4, 2))
    np.savez(tmp_path / "a.npz", x=x, kind=kind, size=size)
    data = load(str(tmp_path / "a.npz"), label=["kind", "size"]).train
    assert set(data.y) == {"kind", "size"}
    np.savez(
        tmp_path / "b.npz",
        a_train=x,
        b_train=x,
        kind_train=kind,
        a_test=x,
        b_test=x,
        kind_test=kind,
    )
    data = load(str(tmp_path / "b.npz"), label="kind")
    assert (set(data.train.x), set(data.test.x)) == ({"a", "b"}, {"a", "b"})
    assert data.test.y.tolist() == kind.tolist()
    with pytest.raises(DataError, match="no array 'weight'"):
        load(str(tmp_path / "a.npz"), label="weight")


def texts(folder, classes=("ham", "spam")):
    for number, name in enumerate(classes):
        (folder / name).mkdir(parents=True)
        for index in range(3 - number):
            (folder / name / f"{index}.txt").write_text(f"{name} äöü {index}", encoding="utf-8")
    return folder


def test_texts_by_class(tmp_path):
    data = load(f"text:{texts(tmp_path / 'a')}")
    assert data.train.x.tolist() == [f"ham äöü {i}" for i in range(3)] + [
        "spam äöü 0",
        "spam äöü 1",
    ]
    assert data.train.y.tolist() == [0, 0, 0, 1, 1]
    assert (data.classes, data.test) == (("ham", "spam"), None)
    for part in ("train", "test"):
        texts(tmp_path / "b" / part)
    assert len(load(f"text:{tmp_path / 'b'}").test) == 5
    (tmp_path / "a" / "ham" / "0.txt").write_bytes(b"\xff")
    with pytest.raises(DataError, match=r"0.txt' can't be read"):
        load(f"text:{tmp_path / 'a'}")
    texts(tmp_path / "c" / "train")
    texts(tmp_path / "c" / "test", ("ham", "eggs"))
    with pytest.raises(DataError, match="same classes"):
        load(f"text:{tmp_path / 'c'}")
    (tmp_path / "d").mkdir()
    with pytest.raises(DataError, match="no texts"):
        load(f"text:{tmp_path / 'd'}")


@pytest.mark.tensorflow
def test_texts_are_read_as_keras_reads_them(tmp_path):
    folder = texts(tmp_path / "a")
    stored = keras.utils.text_dataset_from_directory(folder, shuffle=False, verbose=False)
    expected = [part.numpy() for part in next(iter(stored))]
    data = load(f"text:{folder}").train
    assert [text.encode() for text in data.x.tolist()] == expected[0].tolist()
    np.testing.assert_array_equal(data.y, expected[1])


X, Y = np.arange(12.0, dtype="float32").reshape(6, 2), np.arange(6) % 3


def test_what_hugging_face_stored(tmp_path):
    datasets = pytest.importorskip("datasets")
    features = datasets.Features(
        {
            "x": datasets.List(datasets.Value("float32"), 2),
            "label": datasets.ClassLabel(names=["a", "b", "c"]),
        }
    )
    rows = datasets.Dataset.from_dict({"x": X.tolist(), "label": Y.tolist()}, features=features)
    rows.save_to_disk(tmp_path / "one")
    data = load(f"hf:{tmp_path / 'one'}")
    np.testing.assert_array_equal(data.train.x, X)
    assert (data.train.y.tolist(), data.classes, data.test) == (Y.tolist(), ("a", "b", "c"), None)
    datasets.DatasetDict(train=rows, validation=rows.select([4, 2])).save_to_disk(tmp_path / "two")
    data = load(f"hf:{tmp_path / 'two'}")
    np.testing.assert_array_equal(data.test.x, X[[4, 2]])
    datasets.DatasetDict(other=rows).save_to_disk(tmp_path / "three")
    with pytest.raises(DataError, match=r"no split 'train'\. It has: other"):
        load(f"hf:{tmp_path / 'three'}")
    with pytest.raises(DataError, match="no data set that save_to_disk"):
        load(f"hf:{tmp_path}")


@pytest.mark.slow
def test_what_tf_data_stored(tmp_path):
    tensorflow = pytest.importorskip("tensorflow")
    slices = tensorflow.data.Dataset.from_tensor_slices
    slices((X, Y)).save(str(tmp_path / "unbatched"))
    slices((X, Y)).batch(4).save(str(tmp_path / "batched"))
    slices({"x": X, "label": Y}).save(str(tmp_path / "dict"))
    slices(X).save(str(tmp_path / "x"))
    for name in ("train", "test"):
        slices((X, Y)).save(str(tmp_path / "parts" / name))
    for name in ("unbatched", "batched", "dict", "parts"):
        data = load(f"tfdata:{tmp_path / name}")
        np.testing.assert_array_equal(data.train.x, X)
        np.testing.assert_array_equal(data.train.y, Y)
        assert (data.test is None) == (name != "parts")
    np.testing.assert_array_equal(load(f"tfdata:{tmp_path / 'x'}", input_shape=(2,)).train.x, X)
    with pytest.raises(DataError, match="labels already"):
        load(f"tfdata:{tmp_path / 'batched'}", label="y")
    with pytest.raises(DataError, match="no data set that tf"):
        load(f"tfdata:{tmp_path}")


def stored(folder, train, test):
    datasets = pytest.importorskip("datasets")
    parts = {
        name: datasets.Dataset.from_dict(part) for name, part in (("train", train), ("test", test))
    }
    datasets.DatasetDict(parts).save_to_disk(folder)
    return f"hf:{folder}"


LETTERS = {"x": [1.0, 2.0, 3.0], "kind": ["c", "a", "b"], "size": ["s", "l", "s"]}


def test_test_labels_have_the_numbers_of_the_training_labels(tmp_path):
    test = {"x": [4.0, 5.0], "kind": ["b", "c"], "size": ["s", "s"]}
    both = load(stored(tmp_path / "a", LETTERS, test), label=["kind", "size"])
    assert {name: part.tolist() for name, part in both.train.y.items()} == {
        "kind": [2, 0, 1],
        "size": [1, 0, 1],
    }
    assert {name: part.tolist() for name, part in both.test.y.items()} == {
        "kind": [1, 2],
        "size": [1, 1],
    }
    assert both.classes == ()
    one = load(stored(tmp_path / "b", LETTERS, test), label="kind", input_names=["x"])
    assert (one.test.y.tolist(), one.classes) == ([1, 2], ("a", "b", "c"))
    for label in ("kind", ["kind", "size"]):
        unknown = stored(tmp_path / "c", LETTERS, {**test, "kind": ["b", "d"]})
        with pytest.raises(DataError, match=r"a label.* 'd' that no training sample has"):
            load(unknown, label=label)
    numbers = stored(tmp_path / "d", LETTERS, {**test, "kind": [1, 2]})
    with pytest.raises(DataError, match=r"training samples .* are text, .* test .* not"):
        load(numbers, label="kind")


@pytest.mark.parametrize("as_bytes", [False, True])
def test_text_labels_in_arrays_become_numbers(tmp_path, as_bytes):
    def text(*labels):
        return np.array([label.encode() for label in labels] if as_bytes else labels)

    x = np.ones((3, 2))
    path = tmp_path / "a.npz"
    parts = {"x_train": x, "y_train": text("hé", "cat", "dog"), "x_test": x[:2]}
    np.savez(path, **parts, y_test=text("dog", "hé"))
    data = load(str(path))
    assert data.train.y.tolist() == [2, 0, 1]
    assert (data.test.y.tolist(), data.classes) == ([1, 2], ("cat", "dog", "hé"))
    np.savez(path, **parts, y_test=text("dog", "eel"))
    with pytest.raises(DataError, match="'eel' that no training sample"):
        load(str(path))
    np.savez(path, x=x, y=np.array([b"\xff", b"a", b"b"]))
    with pytest.raises(DataError, match="not UTF-8"):
        load(str(path))


def test_labels_of_bytes_in_tables(tmp_path):
    pandas = pytest.importorskip("pandas")
    pytest.importorskip("pyarrow")
    frame = pandas.DataFrame({"x": [1.0, 2.0, 3.0], "label": [b"dog", b"cat", b"dog"]})
    frame.to_parquet(tmp_path / "a.parquet")
    data = load(str(tmp_path / "a.parquet"))
    assert (data.train.y.tolist(), data.classes) == ([1, 0, 1], ("cat", "dog"))


@pytest.mark.parametrize("values", [[1, None], [None, 2], [True, None], [[1, 2], [3, None]]])
def test_rows_without_an_integer_are_refused(tmp_path, values):
    whole = [value if value is not None else 0 for value in LETTERS["x"]]
    part = {"x": values, "z": whole[:2], "label": [0, 1]}
    source = stored(tmp_path / "a", {"x": whole, "z": whole, "label": [0, 1, 0]}, part)
    row = values.index(None) if None in values else 1
    with pytest.raises(DataError, match=f"'x' of the test rows .* no value in row {row}"):
        load(source)
    # Only columns that are used must have values.
    assert load(source, input_names=["z"]).test.x.tolist() == [1.0, 2.0]
    model = keras.Sequential([keras.Input((1,), name="z"), L.Dense(1)])
    import datasets

    rows = datasets.Dataset.from_dict(part)
    assert as_samples(rows, model=model).x.ravel().tolist() == [1.0, 2.0]
    with pytest.raises(DataError, match=f"'x' .* no value in row {row}"):
        as_samples(rows)


def test_columns_that_are_not_used_may_lack_values(tmp_path):
    path = str(table(tmp_path, "id,a,label,note\n1,2,0,\n,3,1,x\n"))
    data = load(path, input_names=["a"])
    assert (data.train.x.tolist(), data.train.y.tolist()) == ([2, 3], [0, 1])
    with pytest.raises(DataError, match=r"'id' .* no finite value in row 1"):
        load(path)


def test_the_memory_limit_is_that_of_stored_columns_too(tmp_path):
    train = {"x": [[1.0, 2.0]] * 50, "label": [0, 1] * 25}
    source = stored(tmp_path / "a", train, train)
    assert not load(source).train.on_disk
    data = load(source, memory_limit=100)
    assert data.train.on_disk
    assert data.test.on_disk
    np.testing.assert_array_equal(data.train.x[:], train["x"])


def test_arrays_and_columns_by_the_names_of_outputs_are_labels(tmp_path):
    x = np.ones((3, 2))
    np.savez(tmp_path / "a.npz", x=x, kind=[0, 1, 2], size=x)
    given = load(str(tmp_path / "a.npz"), output_names=["kind", "size"]).train
    assert set(given.y) == {"kind", "size"}
    assert load(str(tmp_path / "a.npz"), output_names=["kind", "weight"]).train.y is None
    path = str(table(tmp_path, "a,b,target\n1,2,0\n3,4,1\n"))
    assert load(path, output_names=["target"]).train.y.tolist() == [0, 1]
    assert load(path, output_names=["target"], label="b").train.y.tolist() == [2, 4]
    path = str(table(tmp_path, "a,label,size\n1,2,0\n3,4,1\n"))
    assert load(path, output_names=["size"]).train.y.tolist() == [2, 4]
    assert set(load(path, output_names=["size", "label"]).train.y) == {"size", "label"}
