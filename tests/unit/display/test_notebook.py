"""Results in notebooks: what they show, and that nothing in a name can do harm."""

import html.parser
import xml.etree.ElementTree

import keras
import numpy as np
import pytest

import keras_prelu as kp
from keras_prelu.display.notebook import Shown
from keras_prelu.display.tables import Table

L = keras.layers
HOSTILE = '<script>alert("x")</script>'


class Tags(html.parser.HTMLParser):
    """The tags of a fragment, which must be closed, and its text."""

    def __init__(self, text):
        super().__init__()
        self.tags, self.open, self.text = [], [], ""
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attrs):
        self.tags.append(tag)
        self.open.append(tag)

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


class Result(Shown):
    def __init__(self, table):
        self._table = table

    def tables(self):
        return (self._table,)

    def sentences(self):
        return (f"It is {HOSTILE}.",)


def test_names_are_escaped():
    table = Table(title=HOSTILE, columns=["name", "value"], rows=[[HOSTILE, 1]], right=["value"])
    found = Tags(Result(table)._repr_html_())
    assert "script" not in found.tags
    assert found.text.count(HOSTILE) == 3


def test_long_tables_are_folded():
    rows = [[f"layer_{index}", index] for index in range(20)]
    worst = list(range(20))
    table = Table(title="T", columns=["name", "n"], rows=rows, right=["n"], worst=worst)
    found = Tags(Result(table)._repr_html_())
    assert found.tags.count("tr") == 1 + 5 + 1 + 20
    assert "… and 15 more: n 0 to 14." in found.text
    short = Table(title="T", columns=["name", "n"], rows=rows[:3], right=["n"], worst=worst[:3])
    assert "details" not in Tags(Result(short)._repr_html_()).tags


@pytest.fixture(scope="module")
def results():
    keras.utils.set_random_seed(0)
    rng = np.random.default_rng(0)
    x = rng.normal(size=(80, 6)).astype("float32")
    y = (x[:, 0] > 0).astype("int32")
    model = keras.Sequential([keras.Input((6,)), L.Dense(8, "relu", name="one"), L.Dense(2)])
    loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
    model.compile("adam", loss, metrics=["accuracy"])
    tuning = kp.finetune(model, (x, y), (x, y), recipe="identity", epochs=2)
    calibrated = kp.convert(model, alpha=0.25, rescale="none")
    return {
        "sites": kp.inspect(model),
        "calibration": kp.calibrate(calibrated, model, x),
        "comparison": kp.compare(tuning.model, model, (x, y)),
        "finetuning": tuning,
        "diagnosis": kp.diagnose(model, (x, y)),
        "evaluation": kp.evaluate(model, (x, y)),
    }


@pytest.mark.parametrize(
    ("name", "texts"),
    [
        ("sites", ["1 site, 1 to convert", "one", "Dense"]),
        ("calibration", ["Calibration on 80 samples", "Error of the model's output"]),
        ("comparison", ["accuracy", "interval"]),
        ("finetuning", ["PReLU, recipe identity", "ReLU control", "one_prelu"]),
        ("diagnosis", ["units at 1 site on 80 samples", "Signal by depth"]),
        ("evaluation", ["80 samples", "loss", "accuracy"]),
    ],
)
def test_results_show_themselves(results, name, texts):
    found = Tags(results[name]._repr_html_())
    for text in texts:
        assert text in found.text
    for sentence in results[name].sentences():
        assert sentence in found.text


def lines(axes):
    return {line.get_label(): line.get_ydata() for line in axes.get_lines()}


def test_learning_curves_hold_the_histories_of_both_networks(results):
    tuning = results["finetuning"]
    loss, accuracy = tuning.plot().axes
    assert (loss.get_title(), accuracy.get_title()) == ("loss", "accuracy")
    drawn = lines(loss)
    for name, training in (
        ("PReLU, recipe identity", tuning.prelu),
        ("ReLU control", tuning.control),
    ):
        np.testing.assert_array_equal(drawn[f"{name}, training samples"], training.history["loss"])
        np.testing.assert_array_equal(
            drawn[f"{name}, held-back samples"], training.history["val_loss"]
        )


def test_the_verdict_is_drawn_with_interval_and_margin(results):
    comparison = results["comparison"]
    (axes,) = comparison.plot().axes
    assert comparison.negligible == 0.01
    (band,) = axes.patches
    assert sorted({float(x) for x, _ in band.get_corners()}) == [-0.01, 0.01]
    drawn = [list(line.get_xdata()) for line in axes.get_lines()]
    assert [comparison.low, comparison.high] in drawn
    assert [comparison.gain] in drawn


@pytest.mark.parametrize("name", ["sites", "calibration", "diagnosis"])
def test_further_results_are_drawn(results, name):
    figure = results[name].plot()
    assert all(axes.has_data() for axes in figure.axes)


def test_the_margin_of_a_loss_is_relative(results):
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(20, 3)).astype("float32"), rng.normal(size=(20, 1)).astype("float32")
    model = keras.Sequential([keras.Input((3,)), L.Dense(1)])
    compared = kp.compare(model, model, (x, y), loss="mse")
    assert compared.negligible == pytest.approx(0.01 * compared.b)


def test_figures_show_themselves_without_pyplot(results):
    """IPython asks for what it can show, and knows matplotlib's figures only from pyplot."""
    figure = results["comparison"].plot()
    root = xml.etree.ElementTree.fromstring(figure._repr_svg_())
    assert root.tag == "{http://www.w3.org/2000/svg}svg"
    width, height = figure.get_size_inches() * 72
    assert [float(root.attrib[name].removesuffix("pt")) for name in ("width", "height")] == (
        pytest.approx([width, height])
    )
