"""keras_prelu.data.sources: the digits, .npz files, and TensorFlow Datasets without a network."""

import keras
import numpy as np
import pytest

from keras_prelu.data import Samples, load
from keras_prelu.data.dataset import split
from keras_prelu.data.folders import _decoded_by_pillow, _decoded_by_tensorflow
from keras_prelu.data.summary import summary
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
    np.savez(tmp_path / "other.npz", images=x, labels=y)
    labelled = load(str(tmp_path / "other.npz"), input_names=("images",))
    np.testing.assert_array_equal(labelled.train.y, y)
    inputs = load(str(tmp_path / "other.npz"), input_names=("images", "labels"))
    assert inputs.train.y is None


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"z": np.zeros(3)}, "no array 'x'.*It has: 'z'"),
        ({"y": np.zeros(3)}, "no array 'x'.*It has: 'y'"),
        ({"a": np.zeros(3), "b": np.zeros(2)}, "no array 'x'.*It has: 'a', 'b'"),
        ({"a": np.zeros((3, 1)), "b": np.ones(3), "y": np.zeros(2)}, "3 samples in 'a' and 2"),
        ({"x": np.array(3.0), "y": np.zeros(2)}, "0 samples in 'x'"),
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


def test_npz_with_the_inputs_of_a_model_by_name(tmp_path):
    left, right, y = np.zeros((4, 3)), np.ones((4, 2)), np.arange(4)
    np.savez(tmp_path / "named.npz", left=left, right=right, y=y)
    np.savez(
        tmp_path / "parts.npz",
        left_train=left,
        right_train=right,
        y_train=y,
        left_test=left[:1],
        right_test=right[:1],
        y_test=y[:1],
    )
    named, parts = (load(str(tmp_path / name)) for name in ("named.npz", "parts.npz"))
    for samples, count in ((named.train, 4), (parts.train, 4), (parts.test, 1)):
        assert set(samples.x) == {"left", "right"}
        assert len(samples) == count
        np.testing.assert_array_equal(samples.x["right"], right[:count])
        np.testing.assert_array_equal(samples.y, y[:count])
    assert named.test is None


def test_a_summary_says_what_was_read(tmp_path):
    images(tmp_path)
    assert summary(load(f"dir:{tmp_path}", input_shape=(8, 8, 3), scale=1.0)).endswith(
        ", in 2 classes: cat, dog."
    )
    np.savez(tmp_path / "x.npz", x=np.arange(12, dtype="uint8").reshape(6, 2))
    assert summary(load(str(tmp_path / "x.npz"))) == (
        f"{tmp_path / 'x.npz'}: 6 samples of shape (2,), uint8 from 0 to 11, without labels."
    )
    lazy = load(str(tmp_path / "x.npz"), memory_limit=1)
    assert "from 0 to 11" in summary(lazy)


def test_samples_are_scaled(tmp_path):
    np.savez(tmp_path / "x.npz", x=np.arange(6, dtype="uint8").reshape(3, 2))
    scaled = load(str(tmp_path / "x.npz"), scale=0.5).train.x
    assert scaled.dtype == np.float32
    np.testing.assert_array_equal(scaled, np.arange(6).reshape(3, 2) / 2)
    np.savez(tmp_path / "text.npz", x=np.array(["a", "b"]))
    with pytest.raises(DataError, match="Only numbers can be scaled"):
        load(str(tmp_path / "text.npz"), scale=0.5)
    with pytest.raises(ValueError, match="`scale` must be a finite number"):
        load("digits", scale=float("nan"))


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
    (tmp_path / "all" / ".cache").mkdir()
    source = f"dir:{tmp_path / 'all'}"
    dataset = load(source, input_shape=(8, 10, 3))
    assert dataset.train.x.shape == (6, 8, 10, 3)
    assert dataset.train.x.dtype == np.float32
    assert dataset.train.x.min() >= 0.0
    assert 100.0 < dataset.train.x.max() <= 255.0
    assert list(dataset.train.y) == [0, 0, 0, 1, 1, 1]
    assert dataset.classes == ("cat", "dog")
    assert dataset.test is None
    original = keras.utils.img_to_array(keras.utils.load_img(tmp_path / "all" / "cat" / "0.png"))
    exact = load(source, input_shape=(12, 12, 3)).train
    np.testing.assert_array_equal(exact.x[0], original)
    scaled = load(source, input_shape=(12, 12, 3), scale=1 / 255)
    assert scaled.classes == ("cat", "dog")
    np.testing.assert_allclose(scaled.train.x, exact.x / 255.0, rtol=1e-6)
    on_disk = load(source, input_shape=(8, 10, 3), memory_limit=1000).train
    assert on_disk.on_disk
    np.testing.assert_array_equal(on_disk.x[:], dataset.train.x)
    np.testing.assert_array_equal(on_disk.y, dataset.train.y)
    lazily_scaled = load(source, input_shape=(12, 12, 3), scale=1 / 255, memory_limit=1000).train
    assert lazily_scaled.on_disk
    np.testing.assert_array_equal(lazily_scaled.x[:], scaled.train.x)
    images(tmp_path / "parts" / "train")
    images(tmp_path / "parts" / "test", count=2)
    parts = load(f"dir:{tmp_path / 'parts'}", input_shape=(None, None, 1))
    assert parts.train.x.shape == (6, 256, 256, 1)
    assert len(parts.test) == 4
    images(tmp_path / "parts" / "test", classes=("emu",))
    with pytest.raises(DataError, match="must have the same classes"):
        load(f"dir:{tmp_path / 'parts'}", input_shape=(None, None, 1))


@pytest.mark.parametrize("suffix", ["png", "bmp", "gif", "jpg"])
@pytest.mark.parametrize("size", [(12, 12), (5, 7), (30, 17)])
def test_pillow_and_tensorflow_read_the_same(tmp_path, suffix, size):
    pytest.importorskip("tensorflow")
    gradient = np.linspace(0, 255, 12 * 12 * 3).reshape(12, 12, 3)
    keras.utils.save_img(tmp_path / f"image.{suffix}", gradient, scale=False)
    path = tmp_path / f"image.{suffix}"
    np.testing.assert_allclose(
        _decoded_by_pillow(path, size, 3),
        _decoded_by_tensorflow(path, size, 3),
        atol=4.0 if suffix == "jpg" else 1e-3,
    )


@pytest.mark.parametrize(("size", "channels"), [((12, 12), 3), ((7, 20), 3), ((9, 9), 1)])
def test_image_folders_are_read_as_keras_reads_them(tmp_path, size, channels):
    pytest.importorskip("tensorflow")
    images(tmp_path)
    (tmp_path / "cat" / "more").mkdir()
    keras.utils.save_img(tmp_path / "cat" / "more" / "1.jpg", np.full((12, 12, 3), 77), scale=False)
    (tmp_path / "cat" / "notes.txt").write_text("")
    (tmp_path / ".hidden").mkdir()
    expected = keras.utils.image_dataset_from_directory(
        tmp_path,
        image_size=size,
        color_mode={1: "grayscale", 3: "rgb"}[channels],
        shuffle=False,
        verbose=False,
        batch_size=100,
    )
    x, y = next(iter(expected))
    for limit in (1e9, 10):
        found = load(f"dir:{tmp_path}", input_shape=(*size, channels), memory_limit=limit)
        np.testing.assert_array_equal(found.train.y, y)
        np.testing.assert_array_equal(np.asarray(found.train.x), x)
        assert list(found.classes) == expected.class_names


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
def batches(): return ((X[i : i + 4], Y[i : i + 4]) for i in (0, 4))
def pair_of_batches(): return batches(), batches()
def double(x): return 2 * x
def first(x): return x[:1]
"""


def test_functions_of_the_users_own(tmp_path, monkeypatch):
    (tmp_path / "own_data.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    assert load("own_data:unlabelled").train.y is None
    for name in ("labelled", "samples", "parts", "batches", "pair_of_batches"):
        assert len(load(f"own_data:{name}").train) == 6
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
