"""keras_prelu.io.model_names: where results are written."""

from pathlib import Path

import pytest

from keras_prelu.io.model_names import beside


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("model.keras", "model.prelu.keras"),
        ("a/model.h5", "a/model.prelu.keras"),
        ("a/model.weights.h5", "a/model.prelu.keras"),
        ("a/folder", "a/folder.prelu.keras"),
        (".", "here.prelu.keras"),
        ("..", "above.prelu.keras"),
        ("./", "here.prelu.keras"),
    ],
)
def test_results_lie_beside_the_model_and_are_visible(tmp_path, monkeypatch, path, expected):
    folder = tmp_path / "above" / "here"
    folder.mkdir(parents=True)
    monkeypatch.chdir(folder)
    assert beside(path, "prelu") == Path(expected)
