"""keras_prelu.report: what is on the page, and that nothing in it can do harm."""

import html.parser
import re
from dataclasses import replace

import keras
import numpy as np
import pytest

import keras_prelu as kp
from keras_prelu.report import figures
from keras_prelu.report.html import render, write
from tests.helpers import models

pytestmark = pytest.mark.tensorflow
L = keras.layers

HOSTILE = '<script>alert("x")</script> & $x_1$ \'"' + 300 * "n"


class Page(html.parser.HTMLParser):
    """The tags of a page with their attributes, and those that were left open."""

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


def test_a_page_says_what_was_measured(networks, samples):
    original, converted = networks
    calibration = kp.calibrate(converted, original, samples.x)
    report = kp.report.gather(
        converted,
        original,
        samples,
        control=original,
        calibration=calibration,
        made={"Command": "by hand"},
    )
    page = Page(render(report))
    assert page.open == []
    first, second = report.verdicts
    assert first.sentence("PReLU", "the ReLU original") in page.text
    assert second.sentence("PReLU", "the ReLU control") in page.text
    assert [network.parameters for network in report.networks] == [
        converted.count_params(),
        original.count_params(),
        original.count_params(),
    ]
    assert report.networks[1].time.median == 1.0
    assert "by hand" in page.text
    assert "There is no ReLU control" not in page.text
    titles = [
        "Slopes",
        "Dead units",
        "Calibration",
        "What the conversion changed",
        "Signal by depth",
    ]
    assert [title for title in titles if title in page.text] == titles
    for layer in report.calibration.layers:
        assert layer.path in page.text
    ids = [attributes["id"] for tag, attributes in page.tags if "id" in attributes and tag == "h2"]
    assert {attributes["href"][1:] for tag, attributes in page.tags if tag == "a"} <= set(ids)


def test_nothing_is_loaded_from_anywhere_and_nothing_runs(networks, samples):
    page = Page(render(kp.report.gather(*reversed(networks), samples)))
    assert not {"script", "img", "iframe", "object", "embed"} & {tag for tag, _ in page.tags}
    for _tag, attributes in page.tags:
        assert not any(name.startswith("on") for name in attributes)
        for name in ("src", "href", "xlink:href"):
            assert attributes.get(name, "#").startswith(("#", "data:,"))
    assert not re.search(r"url\((?!#)", render(kp.report.gather(*reversed(networks), samples)))


def test_hostile_names_are_text(networks, samples):
    """TensorFlow takes no such names for layers; JAX and PyTorch do."""
    report = kp.report.gather(*reversed(networks), samples.x)
    slopes = tuple(replace(layer, path=HOSTILE) for layer in report.slopes)
    alike = tuple(replace(layer, path=HOSTILE) for layer in report.similarity)
    page = Page(
        render(
            replace(
                report, title=HOSTILE, slopes=slopes, similarity=alike, made=((HOSTILE, HOSTILE),)
            )
        )
    )
    assert page.open == []
    assert "script" not in {tag for tag, _ in page.tags}
    assert page.text.count(HOSTILE) == 2 + len(slopes) + len(alike) + 2  # the title twice
    assert f"{HOSTILE[:39]}…" in page.text  # in a plot


def test_without_labels_there_is_no_verdict(networks, samples):
    original, converted = networks
    report = kp.report.gather(converted, original, samples.x)
    assert report.verdicts == ()
    text = Page(render(report)).text
    assert "There are no labels" in text
    assert "no ReLU control" in text
    with pytest.raises(kp.errors.InvalidArgumentError, match="no PReLU layers"):
        kp.report.gather(original, original, samples)


def test_a_file_is_written_once(networks, samples, tmp_path):
    report = kp.report.gather(*reversed(networks), samples.x)
    write(report, tmp_path / "report.html")
    assert (tmp_path / "report.html").stat().st_size < 200_000
    with pytest.raises(kp.errors.FileError, match="exists"):
        write(report, tmp_path / "report.html")
    write(report, tmp_path / "report.html", force=True)


def test_figures_show_the_numbers(networks, samples):
    original, converted = networks
    slopes = kp.diagnostics.layer_slopes(converted)
    (axes,) = figures.slopes_figure(slopes).axes
    np.testing.assert_allclose(axes.lines[-1].get_xdata(), [layer.mean for layer in slopes])
    assert [label.get_text() for label in axes.get_yticklabels()] == [
        layer.path for layer in slopes
    ]
    diagnosis = kp.diagnostics.diagnose(original, samples.x)
    forward, backward = figures.signal_figure({"ReLU": diagnosis}).axes
    linear = [layer for layer in diagnosis.signal if layer.kind == "linear"]
    np.testing.assert_allclose(forward.lines[0].get_ydata(), [layer.moment for layer in linear])
    np.testing.assert_allclose(backward.lines[0].get_ydata(), [layer.gradient for layer in linear])
    (axes,) = figures.units_figure({"ReLU": diagnosis}).axes
    assert [bar.get_width() for bar in axes.patches] == [
        100 * site.dead / site.units for site in diagnosis.units
    ]
    found = kp.diagnostics.layer_similarity(original, converted, samples.x)
    (axes,) = figures.similarity_figure(found).axes
    np.testing.assert_allclose(axes.lines[0].get_xdata(), [layer.cka for layer in found])
