"""Slope and parameterization chosen by scikit-learn's grid search with cross-validation, the
network as the last step of a pipeline.

    python examples/scikit_learn_pipeline.py [EPOCHS]

prints the mean accuracy of each choice over three folds, and how many of the test digits the best
one is right on.
"""

import sys

import keras
from keras.wrappers import SKLearnClassifier
from sklearn.datasets import load_digits
from sklearn.model_selection import GridSearchCV, train_test_split
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

import keras_prelu as kp


def network(X, y, alpha=0.25, parameterization="exp"):
    """What the wrapper calls with the samples that it is given; targets are one-hot."""
    initializer = kp.initializers.PReLUHeNormal(alpha)
    model = keras.Sequential(
        [
            keras.Input(X.shape[1:]),
            keras.layers.Dense(32, kernel_initializer=initializer),
            kp.PReLU(alpha, parameterization=parameterization),
            keras.layers.Dense(y.shape[1], activation="softmax"),
        ]
    )
    model.compile(keras.optimizers.Adam(5e-3), "categorical_crossentropy")
    return model


def main(epochs=10):
    keras.utils.set_random_seed(0)
    keras.config.disable_interactive_logging()  # of the predictions that scoring makes
    x, x_test, y, y_test = train_test_split(*load_digits(return_X_y=True), random_state=0)
    settings = {"alpha": 0.25, "parameterization": "exp"}
    classifier = SKLearnClassifier(network, model_kwargs=settings)
    choices = [{**settings, "alpha": alpha} for alpha in (0.05, 0.25)] + [
        {"alpha": 0.25, "parameterization": "sigmoid"}
    ]
    search = GridSearchCV(
        make_pipeline(StandardScaler(), classifier),
        {"sklearnclassifier__model_kwargs": choices},
        cv=3,
    )
    search.fit(x, y, sklearnclassifier__epochs=epochs, sklearnclassifier__verbose=0)
    for choice, mean, spread in zip(
        choices,
        search.cv_results_["mean_test_score"],
        search.cv_results_["std_test_score"],
        strict=True,
    ):
        print(f"{choice}: {100 * mean:.1f} ± {100 * spread:.1f} %")
    print(f"the best: {100 * search.score(x_test, y_test):.1f} % of the test digits")


if __name__ == "__main__":
    main(*(int(argument) for argument in sys.argv[1:]))
