"""Settings of a training by name."""

import keras
import pytest

from keras_prelu.errors import DataError, InvalidArgumentError
from keras_prelu.training.named_settings import named_settings


def test_optimizers_have_settings():
    named = named_settings(
        {"optimizer": "AdamW:weight_decay=1e-4,amsgrad=true", "learning_rate": 0.1}
    )
    config = named["optimizer"].get_config()
    assert isinstance(named["optimizer"], keras.optimizers.AdamW)
    assert (config["weight_decay"], config["amsgrad"]) == (1e-4, True)
    assert config["learning_rate"] == pytest.approx(0.1)
    assert named["schedule"] == "cosine"
    assert "learning_rate" not in named


def test_objects_of_the_user(tmp_path, monkeypatch):
    (tmp_path / "settings_of_user.py").write_text(
        "import keras\n"
        "scheduled = keras.optimizers.SGD(keras.optimizers.schedules.CosineDecay(0.1, 10))\n"
        "def optimizer():\n    return keras.optimizers.SGD(0.5)\n"
        "def half(rate, steps):\n    return rate / 2\n"
        "class Metric(keras.metrics.Mean):\n    pass\n"
        "layer = keras.layers.RandomFlip()\n"
        "number = 3\n"
        "def none():\n    return None\n"
        "def broken(x=None):\n    raise KeyError('rate')\n"
        "class Broken:\n    def __init__(self):\n        raise KeyError('rate')\n"
    )
    monkeypatch.chdir(tmp_path)
    named = named_settings(
        {
            "optimizer": "settings_of_user:optimizer",
            "learning_rate": 0.25,
            "schedule": "settings_of_user:half",
            "metrics": ["settings_of_user:Metric", "auc"],
            "augment": "settings_of_user:layer",
            "class_weight": "0=1,2=0.5",
            "epochs": 3,
        }
    )
    assert float(named["optimizer"].get_config()["learning_rate"]) == pytest.approx(0.25)
    assert named["schedule"](1.0, 5) == 0.5
    assert [type(metric).__name__ for metric in named["metrics"]] == ["Metric", "AUC"]
    assert isinstance(named["augment"], keras.layers.RandomFlip)
    assert named["class_weight"] == {0: 1.0, 2: 0.5}
    assert named["epochs"] == 3
    # Its own schedule stays.
    assert named_settings({"optimizer": "settings_of_user:scheduled"}).get("schedule") is None
    with pytest.raises(DataError, match="has no function 'number'"):
        named_settings({"augment": "settings_of_user:number"})
    with pytest.raises(InvalidArgumentError, match="must be or return a Keras optimizer"):
        named_settings({"optimizer": "settings_of_user:none"})
    scheduled = {"optimizer": "settings_of_user:scheduled", "learning_rate": 1e-4}
    with pytest.raises(InvalidArgumentError, match="has a learning rate schedule of its own"):
        named_settings(scheduled)
    for settings in (
        {"optimizer": "settings_of_user:broken"},
        {"loss": "settings_of_user:Broken"},
        {"metrics": ["settings_of_user:Broken"]},
        {"augment": "settings_of_user:Broken"},
    ):
        with pytest.raises(DataError, match=r"'settings_of_user:[bB]roken' failed: .*rate"):
            named_settings(settings)


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"optimizer": "adamx"}, "no Keras optimizer 'adamx'. Did you mean 'adamax'?"),
        ({"optimizer": "optimizer"}, "no Keras optimizer 'optimizer'"),
        ({"optimizer": "adamw:decay=1"}, "has no setting 'decay'"),
        ({"optimizer": "adamw:weight_decay"}, "'weight_decay' is no KEY=VALUE"),
        ({"optimizer": "sgd:momentum=fast"}, "The optimizer 'sgd:momentum=fast'"),
        ({"optimizer": "sgd:learning_rate=1", "learning_rate": 2.0}, "is given twice"),
        ({"metrics": ["accurcy"]}, "no Keras metric 'accurcy'. Did you mean 'accuracy'?"),
        ({"schedule": "cosin"}, "no schedule 'cosin'. Did you mean 'cosine'?"),
        ({"class_weight": "0:1"}, "must be 'balanced' or CLASS=WEIGHT"),
        ({"augment": "flip"}, "'flip' names no augmentation"),
        ({"loss": "meen_squared_error"}, "mean_squared_error"),
    ],
)
def test_names_that_are_none(settings, message):
    with pytest.raises(InvalidArgumentError) as caught:
        named_settings(settings)
    assert message in str(caught.value)
