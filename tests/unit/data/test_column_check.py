"""keras_prelu.data.column_check: columns that a model can't take, and the one that is the label."""

import csv

import keras
import numpy as np
import pytest

from keras_prelu.data import load
from keras_prelu.data.column_check import check_columns, check_labelled
from keras_prelu.data.likely_labels import likely_labels, row_numbers
from keras_prelu.data.samples import as_samples
from keras_prelu.errors import DataError

ROWS = 60
RNG = np.random.default_rng(0)
NUMBERS = {
    name: RNG.normal(size=ROWS).round(6) for name in ("age", "income", "height", "weight", "bmi")
}
KINDS = np.arange(ROWS) % 3
TEXT = np.array(["cat", "dog", "eel"])[KINDS]
WIDE = {f"feature_{index}": RNG.normal(size=ROWS).round(6) for index in range(42)}


def table(folder, columns):
    path = folder / "table.csv"
    with open(path, "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(columns)
        writer.writerows(zip(*columns.values(), strict=True))
    return str(path)


def network(*shape):
    inputs = keras.Input(shape, name="inputs")
    return keras.Model(inputs, keras.layers.Activation("relu")(inputs))


def refused(source, model, **options):
    with pytest.raises(DataError) as error:
        check_columns(load(source, **options), model)
    return str(error.value).replace(source, "SOURCE")


@pytest.mark.parametrize(
    ("columns", "label"),
    [
        ({**NUMBERS, "group": KINDS}, "group"),  # whole numbers that repeat, at the end
        ({"group": KINDS, **NUMBERS}, "group"),
        ({**NUMBERS, "species": TEXT}, "species"),
        ({"house price": NUMBERS["age"] * 2, **NUMBERS, "price": NUMBERS["bmi"]}, "price"),  # last
        ({"target": NUMBERS["age"] * 2, **NUMBERS}, "target"),  # by its name
        ({"workclass": TEXT, **NUMBERS, "earns": np.roll(TEXT, 1)}, "earns"),  # no word of it
        ({"rooms": KINDS, **NUMBERS, "isTarget": KINDS // 2}, "isTarget"),
        ({"id": RNG.permutation(ROWS), "kind": KINDS, **NUMBERS}, "kind"),
        ({"kind": KINDS, **NUMBERS, "Unnamed: 0": np.arange(ROWS)}, "kind"),
    ],
)
def test_the_likely_labels(columns, label, tmp_path):
    assert likely_labels(load(table(tmp_path, columns)))[0] == label


def test_columns_that_count_rows(tmp_path):
    columns = {"": np.arange(ROWS), **NUMBERS, "index": RNG.permutation(ROWS), "group": KINDS}
    assert row_numbers(load(table(tmp_path, columns))) == ("Unnamed: 0", "index")


def test_a_column_of_labels_that_is_taken_as_an_input(tmp_path):
    source = table(tmp_path, {**NUMBERS, "my group": KINDS})
    assert refused(source, network(5)) == (
        "'SOURCE' has 6 columns: 'age', 'income', 'height', 'weight', 'bmi', 'my group'. The"
        " model's input 'inputs' takes 5 numbers. If 'my group' holds the labels, give --label"
        " 'my group'."
    )
    check_columns(load(source, label="my group"), network(5))
    check_columns(load(source), network(6))
    # Series, to which Keras adds a last axis.
    check_columns(load(source, label="my group"), network(5, 1))
    check_columns(load(source, label="my group"), network(None, 1))


def test_text_among_the_columns(tmp_path):
    message = refused(table(tmp_path, {**NUMBERS, "species": TEXT}), network(5))
    assert "(text: 'species')" in message
    assert message.endswith("If 'species' holds the labels, give --label species.")
    message = refused(table(tmp_path, {**NUMBERS, "city": TEXT, "label": KINDS}), network(6))
    assert "beside its labels 'label'" in message
    assert message.endswith("or numbers alone.")


def test_words_for_missing_values_are_named_with_their_row(tmp_path):
    values = [*map(str, NUMBERS["age"][:-2]), "NA", "?"]
    path = table(tmp_path, {**NUMBERS, "size": np.array(values), "label": KINDS})
    assert refused(path, network(6)) == (
        "Column 'size' of 'SOURCE' holds numbers, but in row 58 the text 'NA', and text in 2 of 60"
        " rows. Fill or drop missing values first."
    )
    # A model with an input for each column is told which sample it is.
    inputs = [keras.Input((1,), name=name) for name in (*NUMBERS, "size")]
    model = keras.Model(inputs, keras.layers.Concatenate()(inputs))
    samples = load(path, input_names=[*NUMBERS, "size"]).train
    with pytest.raises(DataError, match="are text, such as 'NA' in sample 58, but the model's"):
        as_samples(samples, model=model)


def test_a_table_with_other_columns(tmp_path):
    columns = {"": np.arange(ROWS), **NUMBERS, "label": KINDS}
    message = refused(table(tmp_path, columns), network(5))
    assert "6 columns beside its labels 'label'" in message
    assert "'Unnamed: 0' only counts the rows. Give a table with the columns" in message
    message = refused(table(tmp_path, {"label": NUMBERS["age"], **NUMBERS}), network(6))
    assert message.endswith(
        "If 'label' is an input, name the column that holds the labels: --label COLUMN."
    )
    message = refused(table(tmp_path, {"label": KINDS, "age": NUMBERS["age"]}), network(2, 2))
    assert "has 1 column beside" in message


def test_rows_of_pixels(tmp_path):
    """A table may hold images, as that of the digits of MNIST does."""
    pixels = {f"pixel_{index}": RNG.normal(size=ROWS).round(6) for index in range(16)}
    message = refused(table(tmp_path, {"digit": KINDS, **pixels}), network(4, 4, 1))
    assert "takes numbers of shape (4, 4, 1). If 'digit' holds the labels" in message
    assert message.endswith("with --preprocess MODULE:FUNCTION.")
    message = refused(table(tmp_path, {**pixels}), network(5, 5, 1))
    assert "--preprocess" not in message


def test_arrays_by_name(tmp_path):
    source = str(tmp_path / "arrays.npz")
    np.savez(source, features=np.ones((ROWS, 5)), target=KINDS)
    assert refused(source, network(5)) == (
        "'SOURCE' has 2 arrays: 'features', 'target'. The model's input 'inputs' takes one array."
        " If 'target' holds the labels, give --label target."
    )
    np.savez(source, inputs=np.ones((ROWS, 5)), other=np.ones(ROWS))
    check_columns(load(source), network(5))  # The model's own name.


def test_models_whose_inputs_are_not_numbers_by_column_are_not_checked(tmp_path):
    source = table(tmp_path, {**NUMBERS, "group": KINDS})
    inputs = {name: keras.Input((1,), name=name) for name in ("age", "group")}
    by_name = keras.Model(inputs, keras.layers.Dense(1)(inputs["age"]))
    check_columns(load(source, input_names=("age", "group")), by_name)

    class OfCode(keras.Model):
        def call(self, x):
            return x

    check_columns(load(source), OfCode())
    check_columns(load("digits"), network(3))


def test_missing_labels_list_a_few_columns(tmp_path):
    dataset = load(table(tmp_path, {**WIDE, "outcome": KINDS}))
    with pytest.raises(DataError) as error:
        check_labelled(dataset, dataset.train, network(43))
    assert str(error.value).replace(dataset.name, "SOURCE") == (
        "'SOURCE' has no labels. It has: 'outcome', 'feature_0', 'feature_1', 'feature_2',"
        " 'feature_3' and 38 more. If 'outcome' holds the labels, give --label outcome."
    )
    two = keras.Model(inputs := keras.Input((43,)), [keras.layers.Dense(1)(inputs)] * 2)
    with pytest.raises(DataError, match="name them with --label, once for each output"):
        check_labelled(dataset, dataset.train, two)
    with pytest.raises(
        DataError, match=r"no column 'outcom'\. Did you mean 'outcome'.* and 38 more"
    ):
        load(dataset.name, label="outcom")
    check_labelled(dataset, load(dataset.name, label="outcome").train, two)
