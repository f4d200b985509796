"""keras_prelu.data.sources: the digits, .npz files, and TensorFlow Datasets without a network."""

import keras
import numpy as np
import pytest

from keras_prelu.data import Samples, load
from keras_prelu.data.sources import split
from keras_prelu.errors import DataError


def test_digits():
    digits = load("digits")
    assert digits.train.x.shape == (1437, 8, 8, 1)
    assert digits.test.x.shape == (360, 8, 8, 1)
    assert (digits.train.x.min(), digits.train.x.max()) == (0.0, 1.0)
    assert sorted(set(digits.test.y)) == list(range(10))
    together = np.concatenate([digits.train.x, digits.test.x]).reshape(1797, 64)
    assert len(np.unique(together, axis=0)) == 1797  # nothing is in both


@pytest.mark.parametrize("shape", [(64,), (8, 8), (8, 8, 1)])
def test_digits_in_the_shape_the_model_takes(shape):
    assert load("digits", input_shape=shape).test.x.shape == (360, *shape)
    assert load("digits", input_shape=(None, 64)).train.x.shape == (1437, 8, 8, 1)


def test_npz(tmp_path):
    x, y = np.zeros((4, 3), "float32"), np.arange(4)
    np.savez(tmp_path / "plain.npz", x=x, y=y)
    np.savez(tmp_path / "unlabelled.npz", x=x)
    np.savez(tmp_path / "split.npz", x_train=x, y_train=y, x_test=x[:1], y_test=y[:1])
    plain = load(str(tmp_path / "plain.npz"))
    np.testing.assert_array_equal(plain.train.y, y)
    assert plain.test is None
    assert load(str(tmp_path / "unlabelled.npz")).train.y is None
    assert len(load(str(tmp_path / "split.npz")).test) == 1


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"z": np.zeros(3)}, "no array 'x'.*It has: 'z'"),
        ({"x": np.zeros((3, 1)), "y": np.zeros(2)}, "3 samples in 'x' and 2 labels in 'y'"),
        ({"x": np.zeros((2, 1)), "y": np.array([0.0, np.nan])}, "labels 'y'.*NaN"),
        ({"x": np.array([object()])}, "plain arrays"),
    ],
)
def test_npz_with_the_wrong_content(tmp_path, arrays, message):
    np.savez(tmp_path / "bad.npz", **arrays)
    with pytest.raises(DataError, match=message):
        load(str(tmp_path / "bad.npz"))


def test_npz_that_is_none(tmp_path):
    (tmp_path / "bad.npz").write_bytes(b"PK\x03\x04 not really")
    with pytest.raises(DataError, match=r"bad\.npz' is not a readable"):
        load(str(tmp_path / "bad.npz"))
    with pytest.raises(DataError, match="No such file"):
        load(str(tmp_path / "missing.npz"))


def test_unknown_sources():
    with pytest.raises(DataError, match="'digits', a file"):
        load("imagenet")
    with pytest.raises(DataError, match="names no data set"):
        load("tfds:")


def test_split():
    samples = Samples(np.arange(10), np.arange(10))
    train, held_out = split(samples, 0.2, seed=0)
    assert (len(train), len(held_out)) == (8, 2)
    assert sorted([*train.x, *held_out.x]) == list(range(10))
    with pytest.raises(DataError, match="2 samples can't be split"):
        split(samples.take([0, 1]), 0.1, seed=0)


@pytest.fixture
def tfds_folder(tmp_path, monkeypatch):
    pytest.importorskip("tensorflow_datasets")
    monkeypatch.setenv("TFDS_DATA_DIR", str(tmp_path))


@pytest.mark.tensorflow
@pytest.mark.usefixtures("tfds_folder")
@pytest.mark.filterwarnings(
    "ignore::DeprecationWarning",
    "ignore::FutureWarning",
    "ignore::ResourceWarning",
    "ignore::UserWarning",
)  # TFDS's
def test_tfds():
    digits, bundled = load("tfds:sklearn_digits"), load("digits")
    assert digits.train.x.shape == (1437, 8, 8, 1)
    assert digits.train.x.dtype == np.float32
    order = (
        np.lexsort(digits.test.x.reshape(360, 64).T),
        np.lexsort(np.round(bundled.test.x * 255).reshape(360, 64).T),
    )
    np.testing.assert_allclose(digits.test.x[order[0]], bundled.test.x[order[1]], atol=0.5 / 255)
    np.testing.assert_array_equal(digits.test.y[order[0]], bundled.test.y[order[1]])

    assert len(load("tfds:sklearn_digits:train[:10%]").train) == 144
    with pytest.raises(DataError, match="split 'nosuch'"):
        load("tfds:sklearn_digits:nosuch")
    with pytest.raises(DataError, match="can't provide 'nosuchdataset'"):
        load("tfds:nosuchdataset")


def images(folder, classes=("cat", "dog"), count=3, size=12):
    rng = np.random.default_rng(0)
    for name in classes:
        (folder / name).mkdir(parents=True)
        for number in range(count):
            keras.utils.save_img(
                folder / name / f"{number}.png", rng.integers(0, 256, (size, size, 3)), scale=False
            )


def test_image_folders(tmp_path):
    images(tmp_path / "all")
    dataset = load(f"dir:{tmp_path / 'all'}", input_shape=(8, 10, 3))
    assert dataset.train.x.shape == (6, 8, 10, 3)
    assert (dataset.train.x >= 0.0).all()
    assert (dataset.train.x <= 1.0).all()
    assert sorted(dataset.train.y) == [0, 0, 0, 1, 1, 1]
    assert dataset.test is None
    original = (
        keras.utils.img_to_array(keras.utils.load_img(tmp_path / "all" / "cat" / "0.png")) / 255.0
    )
    exact = load(f"dir:{tmp_path / 'all'}", input_shape=(12, 12, 3)).train
    np.testing.assert_allclose(exact.x[0], original, atol=1e-6)
    on_disk = load(f"dir:{tmp_path / 'all'}", input_shape=(8, 10, 3), memory_limit=1000).train
    assert on_disk.on_disk
    np.testing.assert_array_equal(on_disk.x[:], dataset.train.x)
    np.testing.assert_array_equal(on_disk.y, dataset.train.y)
    images(tmp_path / "parts" / "train")
    images(tmp_path / "parts" / "test", count=2)
    parts = load(f"dir:{tmp_path / 'parts'}", input_shape=(None, None, 1))
    assert parts.train.x.shape == (6, 256, 256, 1)
    assert len(parts.test) == 4


@pytest.mark.tensorflow
def test_image_folders_are_read_in_kerass_order(tmp_path):
    """Classes, files and their order; sizes are left as they are, since Keras resizes by
    TensorFlow's own rule."""
    images(tmp_path)
    (tmp_path / "cat" / "more").mkdir()
    keras.utils.save_img(tmp_path / "cat" / "more" / "1.jpg", np.full((12, 12, 3), 77), scale=False)
    (tmp_path / "cat" / "notes.txt").write_text("")
    expected = keras.utils.image_dataset_from_directory(
        tmp_path, image_size=(12, 12), shuffle=False, verbose=False, batch_size=100
    )
    x, y = next(iter(expected))
    found = load(f"dir:{tmp_path}", input_shape=(12, 12, 3)).train
    np.testing.assert_array_equal(found.y, y)
    np.testing.assert_allclose(found.x, np.asarray(x) / 255.0, atol=1e-6)


def test_image_folders_that_can_not_be_read(tmp_path):
    with pytest.raises(DataError, match="No such folder"):
        load(f"dir:{tmp_path / 'missing'}")
    with pytest.raises(DataError, match="has no images"):
        load(f"dir:{tmp_path}", input_shape=(8, 8, 3))
    images(tmp_path)
    (tmp_path / "cat" / "0.png").write_bytes(b"no image")
    with pytest.raises(DataError, match=r"0\.png' can't be read"):
        load(f"dir:{tmp_path}", input_shape=(8, 8, 3))
    with pytest.raises(DataError, match="module:function"):
        load(f"dir:{tmp_path}", input_shape=(64,))


MODULE = """
import keras
import numpy as np
import keras_prelu as kp
X, Y = np.arange(12.0).reshape(6, 2), np.arange(6)
def unlabelled(): return X
def labelled(): return X, Y
def samples(): return kp.data.Samples(X, Y)
def parts(): return (X, Y), (X[:2], Y[:2])
def dataset(): return kp.data.Dataset("mine", kp.data.Samples(X))
def uneven(): return X, Y[:3]
def broken(): raise OSError("no disk")
def double(x): return 2 * x
def first(x): return x[:1]
"""


def test_functions_of_the_users_own(tmp_path, monkeypatch):
    (tmp_path / "own_data.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    assert load("own_data:unlabelled").train.y is None
    for name in ("labelled", "samples", "parts"):
        np.testing.assert_array_equal(load(f"own_data:{name}").train.y, np.arange(6))
    assert len(load("own_data:parts").test) == 2
    assert load("own_data:dataset").name == "mine"
    doubled = load("own_data:parts", preprocess="own_data:double")
    np.testing.assert_array_equal(doubled.train.x, 2 * load("own_data:parts").train.x)
    np.testing.assert_array_equal(doubled.test.x, 2 * load("own_data:parts").test.x)
    for source, preprocess, message in [
        ("own_data:uneven", None, "same length"),
        ("own_data:broken", None, "no disk"),
        ("own_data:missing", None, "no function 'missing'"),
        ("own_data:labelled", "own_data:first", "returned 1 samples for 6"),
        ("own_data:labelled", "own_data:missing", "no function"),
        ("own_data:labelled", "nonsense", "Write module:function"),
    ]:
        with pytest.raises(DataError, match=message):
            load(source, preprocess=preprocess)
