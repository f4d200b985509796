"""keras_prelu.report: the facts, the page that shows them, and that nothing in it can do harm."""

import html.parser
import re
from dataclasses import replace

import keras
import numpy as np
import pytest

import keras_prelu as kp
from keras_prelu.diagnostics.scores import measure_scores
from keras_prelu.report import figures
from keras_prelu.report.changes import changed_samples, class_accuracies
from keras_prelu.report.html import render, write
from keras_prelu.report.sections import format_number, sections
from tests.helpers import models

L = keras.layers

HOSTILE = '<script>alert("x")</script> & $x_1$ \'"' + 300 * "n"


HISTORIES = {
    "PReLU": {"loss": [2.0, 1.0], "val_loss": [2.5, 1.5]},
    "ReLU control": {"loss": [2.0, 1.2], "val_loss": [2.4, 1.7]},
}


class Page(html.parser.HTMLParser):
    """The tags of a page with their attributes, the tags left open, and the text."""

    VOID = frozenset({"meta", "link"})

    def __init__(self, text):
        super().__init__()
        self.tags, self.open, self.text = [], [], ""
        self.feed(text)

    def handle_starttag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.tags.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        self.text += data


@pytest.fixture(scope="module")
def networks():
    keras.utils.set_random_seed(0)
    original = models.live_in(
        keras.Sequential(
            [
                keras.Input((6,)),
                L.Dense(8, name="first"),
                L.ReLU(name="act"),
                L.Dense(3, name="logits"),
            ]
        )
    )
    original.compile("adam", keras.losses.SparseCategoricalCrossentropy(from_logits=True))
    return original, kp.convert(original, rescale="none")


@pytest.fixture(scope="module")
def samples():
    rng = np.random.default_rng(0)
    return kp.data.Samples(rng.normal(size=(60, 6)).astype("float32"), rng.integers(0, 3, 60))


@pytest.fixture(scope="module")
def report(networks, samples):
    """A report with all that there can be: labels, a control and a calibration."""
    original, converted = networks
    calibrated = kp.convert(original, rescale="none")
    return kp.report.gather(
        converted,
        original,
        samples,
        control=original,
        calibration=kp.calibrate(calibrated, original, samples.x),
        made={"Command": "by hand"},
        histories=HISTORIES,
    )


@pytest.fixture(scope="module")
def unlabeled(networks, samples):
    """A report without labels, control and calibration."""
    original, converted = networks
    return kp.report.gather(converted, original, samples.x)


def test_a_report_measures_each_network(report, networks):
    original, converted = networks
    names = ["PReLU", "ReLU original", "ReLU control"]
    assert [network.name for network in report.networks] == names
    assert [network.parameters for network in report.networks] == [
        converted.count_params(),
        original.count_params(),
        original.count_params(),
    ]
    assert report.networks[1].time.median == 1.0
    first, second = report.verdicts
    assert report.sentences == (
        first.sentence("PReLU", "the ReLU original"),
        second.sentence("PReLU", "the ReLU control"),
    )
    assert not any("no ReLU control" in limit for limit in report.limits)


def test_a_page_shows_the_facts(report):
    page = Page(render(report))
    assert page.open == []
    titles = [
        "Gain and its interval",
        "Learning curves",
        "Changes by class",
        "Samples that are decided otherwise",
        "Slopes",
        "Dead units",
        "Calibration",
        "What the conversion changed",
        "Signal by depth",
    ]
    assert [section.title for section in sections(report)] == titles
    for text in (*titles, *report.sentences, *report.limits, "by hand"):
        assert text in page.text
    for layer in report.calibration.layers:
        assert layer.path in page.text
    ids = [attributes["id"] for tag, attributes in page.tags if "id" in attributes and tag == "h2"]
    assert {attributes["href"][1:] for tag, attributes in page.tags if tag == "a"} <= set(ids)


def test_tables_hold_the_values_of_the_figures(report):
    tables = {section.title: section.table for section in sections(report)}
    for table in tables.values():
        assert {len(row) for row in table.rows} == {len(table.columns)}
    assert tables["Slopes"].rows == (("act", "8", *(6 * ["0.25"])),)
    network, site = report.networks[0], report.networks[0].diagnosis.units[0]
    assert tables["Dead units"].rows[0] == (
        network.name,
        "act",
        "8",
        str(site.dead),
        str(site.nearly_dead),
        f"{100 * site.negative:.1f} %",
    )
    assert [format_number(value) for value in (None, float("nan"), 1234.5, 0)] == [
        "–",
        "–",
        "1.23e+03",
        "0",
    ]


def test_nothing_is_loaded_from_anywhere_and_nothing_runs(report):
    text = render(report)
    page = Page(text)
    assert not {"script", "img", "iframe", "object", "embed"} & {tag for tag, _ in page.tags}
    for _tag, attributes in page.tags:
        assert not any(name.startswith("on") for name in attributes)
        for name in ("src", "href", "xlink:href"):
            allowed = ("#", "data:,", "data:image/png;base64,")
            assert attributes.get(name, "#").startswith(allowed)
    assert not re.search(r"url\((?!#)", text)


def test_hostile_names_are_text(unlabeled):
    """Names of layers may hold any characters on JAX and PyTorch."""
    slopes = tuple(replace(layer, path=HOSTILE) for layer in unlabeled.slopes)
    alike = tuple(replace(layer, path=HOSTILE) for layer in unlabeled.similarity)
    page = Page(
        render(
            replace(
                unlabeled,
                title=HOSTILE,
                slopes=slopes,
                similarity=alike,
                made=((HOSTILE, HOSTILE),),
            )
        )
    )
    assert page.open == []
    assert "script" not in {tag for tag, _ in page.tags}
    assert page.text.count(HOSTILE) == 2 + len(slopes) + len(alike) + 2  # the title twice
    assert f"{HOSTILE[:23]}…" in page.text  # in a plot


def test_without_labels_there_is_no_verdict(unlabeled, networks, samples):
    assert unlabeled.verdicts == unlabeled.sentences == ()
    assert unlabeled.networks[0].score is None
    text = Page(render(unlabeled)).text
    assert "There are no labels" in text
    assert "no ReLU control" in text
    original, _ = networks
    with pytest.raises(kp.errors.InvalidArgumentError, match="no PReLU layers"):
        kp.report.gather(original, original, samples)


def test_an_existing_file_is_kept_without_force(unlabeled, tmp_path):
    write(unlabeled, tmp_path / "report.html")
    assert (tmp_path / "report.html").stat().st_size < 200_000
    with pytest.raises(kp.errors.FileError, match="exists"):
        write(unlabeled, tmp_path / "report.html")
    write(unlabeled, tmp_path / "report.html", force=True)


def test_errors_of_tasks_are_drawn_as_means_with_their_range():
    relu, prelu = np.array([[2.0, 60.0], [4.0, 80.0]]), np.array([[1.0, 3.0], [2.0, 1.0]])
    before = np.array([[5.0, 6.0, 7.0], [5.0, 8.0, 9.0]])
    (axes,) = figures.task_errors_figure({"ReLU": relu, "PReLU": prelu}, before=before).axes
    curves = {line.get_label(): line.get_xydata().tolist() for line in axes.lines}
    assert curves["before"] == [[1, 5], [2, 7], [3, 8]]
    assert curves["ReLU"] == [[4, 3], [5, 70]]
    assert curves["PReLU"] == [[4, 1.5], [5, 2]]
    band = axes.collections[1].get_paths()[0].vertices
    assert {(4.0, 2.0), (4.0, 4.0), (5.0, 60.0), (5.0, 80.0)} <= set(map(tuple, band.tolist()))
    assert axes.get_yscale() == "log"
    (axes,) = figures.task_errors_figure({"PReLU": prelu}).axes
    assert (axes.get_yscale(), axes.lines[0].get_xdata()[0]) == ("linear", 1)


def test_figures_show_the_values(report):
    slopes = report.slopes
    (axes,) = figures.slopes_figure(slopes).axes
    np.testing.assert_allclose(axes.lines[-1].get_xdata(), [layer.mean for layer in slopes])
    assert [label.get_text() for label in axes.get_yticklabels()] == [
        layer.path for layer in slopes
    ]
    diagnosis = report.networks[1].diagnosis
    forward, backward = figures.signal_figure({"ReLU": diagnosis}).axes
    kinds = [layer.kind for layer in diagnosis.signal]
    assert kinds == ["linear", "rectifier", "linear"]
    ends = diagnosis.signal[1:]
    np.testing.assert_allclose(forward.lines[0].get_ydata(), [layer.moment for layer in ends])
    np.testing.assert_allclose(backward.lines[0].get_ydata(), [layer.gradient for layer in ends])
    (axes,) = figures.units_figure({"ReLU": diagnosis}).axes
    assert [bar.get_width() for bar in axes.patches] == [
        100 * site.dead / site.units for site in diagnosis.units
    ]
    (axes,) = figures.similarity_figure(report.similarity).axes
    np.testing.assert_allclose(
        axes.lines[0].get_xdata(), [layer.cka for layer in report.similarity]
    )


def test_the_signals_of_networks_are_compared_after_the_same_rectifiers():
    layers = keras.layers
    model = keras.Sequential(
        [keras.Input((6,)), layers.Dense(8, "relu"), layers.Dense(5, "relu"), layers.Dense(3)]
    )
    x = np.random.default_rng(0).normal(size=(50, 6))
    networks = {"ReLU": model, "PReLU": kp.convert(model)}
    figure = figures.signal_figure({name: kp.diagnose(each, x) for name, each in networks.items()})
    for axes in figure.axes:
        one, other = (line.get_ydata() for line in axes.lines)
        np.testing.assert_allclose(one, other, rtol=1e-5)


def test_a_sentence_takes_the_place_of_an_empty_figure(networks, samples):
    original, _ = networks
    exact = kp.convert(original)
    report = kp.report.gather(exact, original, samples)
    drawn = {section.title: section.draw is not None for section in sections(report)}
    captions = {section.title: section.caption for section in sections(report)}
    assert not drawn["Slopes"]
    assert "All 8 slopes are 0" in captions["Slopes"]
    assert not drawn["Changes by class"]
    assert "Both networks get the same samples right" in captions["Changes by class"]
    assert not drawn["What the conversion changed"]
    assert "0 only the converted network gets right, and 0 only" in " ".join(captions.values())
    page = Page(render(report))
    for title, caption in captions.items():
        assert title in page.text
        assert caption in page.text
    assert [tag for tag, _ in page.tags].count("svg") == 2 * sum(drawn.values())


def test_changes_by_class():
    labels = np.array([0, 0, 1, 1, 1, 3])
    before, after = np.array([1.0, 0, 1, 1, 0, 0]), np.array([1.0, 1, 0, 1, 0, 1])
    found = class_accuracies(labels, before, after)
    as_tuples = [
        (each.label, each.samples, each.before, each.after, each.gained, each.lost)
        for each in found
    ]
    assert as_tuples == [
        (0, 2, 0.5, 1.0, 1, 0),
        (1, 3, pytest.approx(2 / 3), pytest.approx(1 / 3), 0, 1),
        (3, 1, 0.0, 1.0, 1, 0),
    ]
    assert class_accuracies(np.eye(4)[labels], before, after) == found
    assert class_accuracies(np.zeros((6, 2, 1)), before, after) == []


class Fixed(keras.Model):
    """A network that decides for the same class on every sample."""

    def __init__(self, decision):
        super().__init__()
        self.decision = decision

    def call(self, inputs):
        return keras.ops.one_hot(
            keras.ops.zeros_like(inputs[:, 0, 0, 0], dtype="int32") + self.decision, 4
        )


def test_changed_samples_are_those_that_one_network_gets_right():
    rng = np.random.default_rng(0)
    x, y = rng.normal(size=(30, 8, 8, 1)).astype("float32"), np.arange(30) % 4
    before, after = (y == 1).astype(float), (y == 2).astype(float)
    networks = [Fixed(1), Fixed(2)]
    for network in networks:
        network(x)
    found = changed_samples(networks, kp.data.Samples(x, y), before, after)
    lost, gained = np.flatnonzero(y == 1), np.flatnonzero(y == 2)
    assert [sample.index for sample in found] == [*lost[:12], *gained[:12]]
    assert {(sample.label, sample.before, sample.after) for sample in found} == {
        (1, 1, 2),
        (2, 1, 2),
    }
    assert all(sample.image.shape == (8, 8) for sample in found)
    assert min(sample.image.min() for sample in found) == 0.0
    images = figures.changed_samples_figure(found).axes
    assert len(images) == len(found)
    np.testing.assert_array_equal(images[0].images[0].get_array(), found[0].image)
    assert images[0].get_title() == "1: 1 → 2"
    no_images = kp.data.Samples(x.reshape(30, 64), y)
    assert all(
        sample.image is None
        for sample in changed_samples([_dense(1), _dense(2)], no_images, before, after)
    )


def _dense(decision):
    model = keras.Sequential([keras.Input((64,)), L.Dense(4)])
    model.set_weights([np.zeros((64, 4)), np.eye(4)[decision]])
    return model


@pytest.mark.parametrize("logits", [(0.1, -0.1), (0.4, -3.0), (-0.2, 0.3)])
def test_decisions_of_one_output_are_those_that_the_scores_count(logits):
    samples = kp.data.Samples(np.zeros((6, 2), "float32"), np.array([0, 1, 1, 0, 1, 0]))
    networks = [keras.Sequential([keras.Input((2,)), L.Dense(1)]) for _ in logits]
    for network, logit in zip(networks, logits, strict=True):
        network.set_weights([np.zeros((2, 1)), np.array([logit])])
    loss = keras.losses.BinaryCrossentropy(from_logits=True)
    before, after = (measure_scores(each, samples, loss=loss).values for each in networks)
    found = changed_samples(networks, samples, before, after)
    assert len(found) == 6
    assert {(each.before, each.after) for each in found} == {
        (int(logits[0] > 0), int(logits[1] > 0))
    }


def test_gains_have_the_interval_and_the_margin_of_their_own_row(report):
    first = replace(report.verdicts[0], low=-np.inf, high=np.inf, negligible=0.01)
    second = replace(first, low=-0.25, high=0.5, negligible=0.04)
    section = sections(replace(report, verdicts=(first, second)))[0]
    intervals = [row[5] for row in section.table.rows]
    assert intervals[0] == "no interval"
    assert "-0.2500 to +0.5000" in intervals
    assert not any("inf" in each for each in intervals)
    figure = section.draw()
    bands = [(band.get_x(), band.get_width()) for axes in figure.axes for band in axes.patches]
    assert bands == [(-0.01, 0.02), (-0.04, 0.08)]
    for axes, each in zip(figure.axes, (first, second), strict=True):
        low, high = axes.get_xlim()
        assert low < min(0.0, each.gain, -each.negligible)
        assert high > max(0.0, each.gain, each.negligible)


def test_figures_for_narrow_screens_keep_their_values(report):
    for section in sections(report):
        if section.draw is None:
            continue
        wide, narrow = section.draw(), section.draw()
        figures.make_narrow(narrow)
        assert narrow.get_size_inches()[0] < 5
        narrow.draw_without_rendering()
        for legend in narrow.legends:
            assert legend.get_window_extent().x1 <= narrow.bbox.x1
        for one, other in zip(wide.axes, narrow.axes, strict=True):
            assert len(one.lines) == len(other.lines)
            for line, same in zip(one.lines, other.lines, strict=True):
                np.testing.assert_array_equal(line.get_xydata(), same.get_xydata())
