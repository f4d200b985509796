"""keras_prelu.utils.suggestions: names that a misspelled one may stand for."""

from keras_prelu.utils.suggestions import did_you_mean, nearest


def test_the_most_similar_names_come_first_as_they_are_written():
    names = ["ResNet50", "VGG16", "VGG19", "Xception"]
    assert nearest("vgg61", names, count=3)[0] in ("VGG16", "VGG19")
    assert nearest("XCEPTION", names) == ["Xception"]
    assert nearest("VGG16", names, count=2) == ["VGG16", "VGG19"]
    assert nearest("zzz", names) == []
    assert nearest("resnet", names, cutoff=0.9) == []


def test_a_suggestion_is_a_sentence_or_nothing():
    assert did_you_mean("adamx", ["adam", "sgd"]) == " Did you mean 'adam'?"
    assert did_you_mean("abc", ["abd", "abe"], count=2) in (
        " Did you mean 'abd' or 'abe'?",
        " Did you mean 'abe' or 'abd'?",
    )
    assert did_you_mean("zzz", ["adam"]) == ""
