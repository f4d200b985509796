"""Check ten claims about PReLU: the formula, what was measured, and whether the claim holds.

Run it with `python examples/claims.py [SEEDS]`; the default of three seeds takes less than three
minutes on two cores. It prints Markdown: the trainings behind claims 2, 9 and 10, and a table of
all checks. `examples/CLAIMS.md` holds its output.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import keras
import numpy as np
from sklearn.neighbors import KNeighborsClassifier

import keras_prelu as kp
from keras_prelu import theory
from keras_prelu.diagnostics import (
    Embeddings,
    batch_norm_gammas,
    dead_units,
    embedding_statistics,
    gradient_noise,
    rescale_channels,
    signal_by_depth,
)

L = keras.layers
SEEDS = 3
SLOPES = (0.0, 0.01, 0.25, 0.5, 1.0)
STEPS = 4000
"""Of gradient descent on a penalty of α, near whose end it is slow."""
STATISTICS = {"spread": 1, "rank": 1, "participation": 1, "cosine": -1}
"""Of embeddings: 1 if small values mean collapse, −1 if large values do."""
HOLDS, CONDITIONALLY, FAILS = "holds", "holds under a condition", "does not hold"


@dataclass(frozen=True)
class Check:
    """One check of a claim.

    Attributes:
        claim: The number of the claim.
        statement: What the claim says.
        expected: The value by the formula, or the bound.
        measured: The value that was measured.
        tolerance: How far the two may be apart.
        verdict: `HOLDS`, `CONDITIONALLY` or `FAILS`.
    """

    claim: int
    statement: str
    expected: str
    measured: str
    tolerance: str
    verdict: str


def check_values(
    claim: int, statement: str, measured: Any, expected: Any, tolerance: float
) -> Check:
    """Compare values, relative to the expected ones, or absolutely where these are 0."""
    measured = np.atleast_1d(np.asarray(measured, float))
    expected = np.atleast_1d(np.asarray(expected, float))
    difference = np.abs(measured - expected) / np.where(expected == 0, 1.0, np.abs(expected))
    return Check(
        claim=claim,
        statement=statement,
        expected=list_values(expected),
        measured=list_values(measured),
        tolerance=f"{tolerance:.0e}",
        verdict=HOLDS if np.all(difference <= tolerance) else FAILS,
    )


def list_values(values: Any) -> str:
    return ", ".join(f"{value:.4g}" for value in np.atleast_1d(values))


def mean_and_deviation(values: Sequence[float], scale: float = 1.0) -> str:
    array = np.asarray(values, float) * scale
    return f"{array.mean():.3g}" + (f" ± {array.std(ddof=1):.2g}" if len(array) > 1 else "")


def digits() -> Any:
    """Return the digits as vectors, split into `train` and `test` samples."""
    return kp.data.load("digits", input_shape=(64,))


def activation(_seeds: int) -> Iterator[Check]:
    """Claim 1: φ(x) = max(0, x) + α·min(0, x), and its gradients against finite differences."""
    rng = np.random.default_rng(0)
    x, upstream, step = rng.normal(size=(500, 4)), rng.normal(size=(500, 4)), 1e-3
    x[np.abs(x) < 2 * step] = 0.5  # Finite differences across the kink are not the derivative.
    slopes = np.array([0.05, 0.25, 0.9, 1.5])

    def phi(inputs: np.ndarray, alpha: np.ndarray) -> np.ndarray:
        return keras.ops.convert_to_numpy(
            kp.prelu(inputs.astype("float32"), alpha.astype("float32"))
        )

    yield check_values(
        1,
        "φ(x) at x = −2 and 3, α = 0.25",
        phi(np.array([-2.0, 3.0]), np.array(0.25)),
        [-0.5, 3.0],
        1e-6,
    )
    by_x = (phi(x + step, slopes) - phi(x - step, slopes)).astype(float) / (2 * step)
    yield check_values(
        1,
        "∂φ/∂x is 1, or α for x ≤ 0: largest deviation",
        np.abs(by_x - np.where(x > 0, 1.0, slopes)).max(),
        0.0,
        1e-3,
    )
    by_slope = np.sum(
        upstream * (phi(x, slopes + step) - phi(x, slopes - step)) / (2 * step), axis=0
    )
    yield check_values(
        1,
        "∂L/∂α is Σ g·x over x ≤ 0, by channel",
        by_slope,
        np.sum(upstream * np.minimum(x, 0), axis=0),
        2e-3,
    )


def mlp(
    activation_of: Callable[[], Any], *, normalized: bool, bias: float, seed: int
) -> keras.Model:
    keras.utils.set_random_seed(seed)
    steps: list[Any] = []
    for _ in range(3):
        steps += [
            L.Dense(
                32,
                kernel_initializer="he_normal",
                bias_initializer=keras.initializers.Constant(bias),
            )
        ]
        steps += [L.BatchNormalization(momentum=0.9)] if normalized else []
        steps += [activation_of()]
    return keras.Sequential([keras.Input((64,)), *steps, L.Dense(10)])


def train(model: keras.Model, epochs: int, seed: int, rate: float = 3e-3) -> keras.Model:
    keras.utils.set_random_seed(seed)
    model.compile(
        keras.optimizers.Adam(rate),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    train_samples = digits().train
    model.fit(train_samples.x, train_samples.y, batch_size=64, epochs=epochs, verbose=0)
    return model


def dying(seeds: int) -> Iterator[Check]:
    """Claim 2: under ReLU dead units stay dead; under PReLU and BatchNormalization they recover."""
    x, test = digits().train.x, digits().test
    shares: dict[str, list[float]] = {}
    accuracies: dict[str, list[float]] = {}
    before: list[float] = []
    for seed in range(seeds):
        for name, make, normalized in (
            ("ReLU", L.ReLU, False),
            ("PReLU", kp.PReLU, False),
            ("BN + ReLU", L.ReLU, True),
            ("BN + PReLU", kp.PReLU, True),
        ):
            model = mlp(make, normalized=normalized, bias=-1.0, seed=seed)
            if name == "ReLU":
                before.append(dead_share(model, x))
            train(model, 8, seed)
            shares.setdefault(name, []).append(dead_share(model, x))
            accuracies.setdefault(name, []).append(
                float(np.mean(model.predict(test.x, verbose=0).argmax(-1) == test.y))
            )
    for name, values in shares.items():
        print(
            f"- Claim 2, {name}: dead units {mean_and_deviation(values, 100)} %,"
            f" {mean_and_deviation(accuracies[name], 100)} % of the test digits"
        )
    start = (
        f"biases start at −1, so that {mean_and_deviation(before, 100)} % of the units are dead"
        " before training"
    )
    for name in ("PReLU", "BN + ReLU", "BN + PReLU"):
        fewer = all(one < other for one, other in zip(shares[name], shares["ReLU"], strict=True))
        yield Check(
            claim=2,
            statement=f"fewer units end dead with {name} than with ReLU ({start})",
            expected=f"< {mean_and_deviation(shares['ReLU'], 100)} %",
            measured=f"{mean_and_deviation(shares[name], 100)} %",
            tolerance="every seed",
            verdict=HOLDS if fewer else FAILS,
        )
    network, counts = mlp(L.ReLU, normalized=False, bias=-1.0, seed=0), []
    for _ in range(2):
        counts.append(96 * dead_share(network, x))
        kp.revive(network, x)
    statement = (
        f"dead units after two calls of `revive`, of {counts[0]:.0f} before ({counts[1]:.0f} after"
        " one call, which can't revive a layer behind an entirely dead one)"
    )
    yield check_values(2, statement, 96 * dead_share(network, x), 0.0, 1e-9)


def dead_share(model: keras.Model, x: np.ndarray) -> float:
    sites = dead_units(model, x)
    return sum(site.dead for site in sites) / sum(site.units for site in sites)


def path(_seeds: int) -> Iterator[Check]:
    """Claim 3: a path of negative pre-activations carries (α·c)^L."""
    for slope, weight, depth in ((0.25, 0.8, 5), (0.5, 2.5, 8), (0.0, 1.0, 3)):
        steps = [
            part
            for _ in range(depth)
            for part in (L.Dense(1), kp.PReLU(slope, parameterization="identity"))
        ]
        model = keras.Sequential([keras.Input((1,)), *steps])
        for layer in model.layers[::2]:
            layer.set_weights([np.full((1, 1), weight), np.full(1, -1.0)])
        layers = signal_by_depth(model, np.float32([[-1.0], [-2.0]]))
        measured = np.sqrt(layers[0].gradient / layers[-1].gradient) * weight
        yield check_values(
            3,
            f"factor of {depth} layers, α = {slope:g}, c = {weight:g}",
            measured,
            theory.path_gradient_factor(slope, weight, depth),
            1e-4,
        )


def initialization(seeds: int) -> Iterator[Check]:
    """Claim 4: the second moment grows by 1 + α² a layer with He's weights, not with PReLUHeNormal.

    Measured forward and backward through 30 layers. Networks of finite width fluctuate, so the mean
    logarithm over four networks for each seed has to be within three of its standard errors.
    """
    x = np.random.default_rng(0).normal(size=(64, 256)).astype("float32")
    depth, slope, networks = 30, 0.25, 4 * seeds
    for name, gain in (("he_normal", 1 + slope**2), ("PReLUHeNormal", 1.0)):
        forward, backward = [], []
        for seed in range(networks):
            keras.utils.set_random_seed(seed)
            steps = [
                part
                for _ in range(depth)
                for part in (L.Dense(256, kernel_initializer=name), kp.PReLU(slope))
            ]
            linear = signal_by_depth(
                keras.Sequential([keras.Input((256,)), *steps]), x, probes=64, seed=seed
            )[::2]
            forward.append(np.log(linear[-1].moment / linear[0].moment) / (depth - 1))
            backward.append(np.log(linear[0].gradient / linear[-1].gradient) / (depth - 1))
        for direction, logarithms in (("forward", forward), ("backward", backward)):
            error = np.std(logarithms, ddof=1) / np.sqrt(len(logarithms))
            difference = abs(np.mean(logarithms) - np.log(gain))
            yield Check(
                claim=4,
                statement=f"gain of a layer, {direction}, {name}, {networks} networks",
                expected=f"{gain:.4f}",
                measured=f"{np.exp(np.mean(logarithms)):.4f} ± {error:.4f}",
                tolerance="3 standard errors",
                verdict=HOLDS if difference <= 3 * error else FAILS,
            )


def maps(_seeds: int) -> Iterator[Check]:
    """Claim 5: L2 on β pulls α to the map's fixed point; L2 on α pulls it to 0 under every map."""
    limits = {"exp": 1.0, "square": 0.0, "softplus": np.log(2), "sigmoid": 0.5, "identity": 0.0}
    on_beta = {"beta_regularizer": keras.regularizers.L2(0.5)}
    for name, slope in pulled(limits, on_beta, rate=0.05, steps=400).items():
        yield check_values(5, f"L2 on β pulls α to, {name}", slope, limits[name], 1e-2)
    on_alpha = {"alpha_regularizer": kp.regularizers.AlphaL2(1.0)}
    for name, slope in pulled(limits, on_alpha, rate=0.9, steps=STEPS).items():
        yield Check(
            claim=5,
            statement=f"L2 on α pulls it to 0, {name}",
            expected="< 0.025 from 0.25",
            measured=f"{slope:.3g}",
            tolerance="a tenth",
            verdict=HOLDS if slope < 0.025 else FAILS,
        )


def pulled(
    names: Iterable[str], regularizer: dict[str, Any], *, rate: float, steps: int
) -> dict[str, float]:
    """Return the slope under each map after gradient descent on its penalty alone.

    The layers stand side by side in one network, so that they are trained at once.
    """
    inputs = keras.Input((1,))
    layers = {name: kp.PReLU(0.25, parameterization=name, **regularizer) for name in names}
    model = keras.Model(inputs, L.Add()([layer(inputs) for layer in layers.values()]))
    model.compile(
        keras.optimizers.SGD(rate),
        lambda y, outputs: 0.0 * outputs,
        steps_per_execution=1 if keras.backend.backend() == "torch" else 20,
    )
    zeros = np.zeros((steps * 8, 1), "float32")
    model.fit(zeros, zeros, batch_size=8, verbose=0)
    return {
        name: float(keras.ops.convert_to_numpy(layer.alpha).mean())
        for name, layer in layers.items()
    }


def symmetry(seeds: int) -> Iterator[Check]:
    """Claim 6: rescaling channels at random keeps a trained network's function, unless capped."""
    x = digits().train.x[:256]
    model = train(mlp(kp.PReLU, normalized=False, bias=0.0, seed=0), 3, 0)
    expected = model.predict(x, verbose=0)
    for seed in range(seeds):
        outputs = rescale_channels(model, seed=seed).predict(x, verbose=0)
        change = np.abs(outputs - expected).max() / np.abs(expected).max()
        yield check_values(
            6,
            f"change of the outputs by random scales from 0.1 to 10, seed {seed}",
            change,
            0.0,
            1e-5,
        )
    capped = kp.PReLU(0.25, max_value=6.0)
    grid = np.linspace(-8, 8, 33, dtype="float32")[:, None]
    change = np.abs(keras.ops.convert_to_numpy(capped(3 * grid) - 3 * capped(grid))).max()
    yield Check(
        claim=6,
        statement="with a cap of 6, φ(3x) − 3φ(x) is not 0",
        expected="> 1",
        measured=f"{change:.3g}",
        tolerance="–",
        verdict=HOLDS if change > 1 else FAILS,
    )


def moments(_seeds: int) -> Iterator[Check]:
    """Claim 7: the moments of PReLU on a Gaussian, from a million draws."""
    normal = np.random.default_rng(0).normal(size=1_000_000)
    for slope, mu, sigma in ((0.0, 0.0, 1.0), (0.25, -0.7, 2.0), (0.5, 1.0, 0.5)):
        x = mu + sigma * normal
        y, derivative = np.where(x > 0, x, slope * x), np.where(x > 0, 1.0, slope)
        measured = [
            y.mean(),
            np.mean(y**2),
            np.mean(derivative),
            np.mean(derivative**2),
            np.cov(x, y)[0, 1],
        ]
        formulas = (
            theory.output_mean,
            theory.output_second_moment,
            theory.derivative_mean,
            theory.derivative_second_moment,
            theory.input_output_covariance,
        )
        expected = [float(formula(slope, mu, sigma)) for formula in formulas]
        yield check_values(
            7,
            f"E[y], E[y²], E[φ′], E[φ′²], Cov(x, y) at α = {slope:g}, μ = {mu:g}, σ = {sigma:g}",
            measured,
            expected,
            1e-2,
        )


def gamma(seeds: int) -> Iterator[Check]:
    """Claim 8: the γ of a BatchNormalization after PReLU, on Gaussians and in trained networks."""
    x = np.random.default_rng(0).normal(size=(200_000, 1)).astype("float32")
    for slope, identity, reconstruction in (
        (0.0, 0.584, 0.856),
        (0.25, 0.665, 0.940),
        (0.5, 0.765, 0.980),
        (1.0, 1.0, 1.0),
    ):
        y = np.where(x > 0, x, slope * x)
        yield check_values(8, f"γ that keeps the outputs, α = {slope:g}", y.std(), identity, 5e-3)
        fitted = np.polyfit(((y - y.mean()) / y.std())[:, 0], x[:, 0], 1)[0]
        yield check_values(
            8, f"γ that reconstructs best, α = {slope:g}", fitted, reconstruction, 5e-3
        )
    errors: dict[str, list[float]] = {"for a mean of 0": [], "for the mean measured (claim 7)": []}
    for seed in range(seeds):
        keras.utils.set_random_seed(seed)
        steps = [
            L.Dense(64, kernel_initializer="he_normal"),
            kp.PReLU(0.25),
            L.BatchNormalization(momentum=0.5),
        ]
        model = train(keras.Sequential([keras.Input((64,)), *steps, L.Dense(10)]), 5, seed)
        x_train = digits().train.x
        (gammas,) = batch_norm_gammas(model, x_train)
        hidden = keras.Model(model.inputs, model.layers[0].output).predict(x_train, verbose=0)
        slopes = keras.ops.convert_to_numpy(model.layers[1].alpha)
        true = np.where(hidden > 0, hidden, slopes * hidden).std(axis=0)
        centred = theory.bn_gamma_identity(slopes, hidden.std(axis=0))
        for name, closed in zip(errors, (centred, gammas.identity), strict=True):
            errors[name].append(float(np.median(np.abs(closed / true - 1.0))))
    for name, values in errors.items():
        verdict = CONDITIONALLY if max(values) <= 0.1 else FAILS
        yield Check(
            claim=8,
            statement=(
                f"γ that keeps the outputs of trained digits networks, {name}: median relative"
                " error; pre-activations are not quite normal"
            ),
            expected="0",
            measured=mean_and_deviation(values),
            tolerance="1e-01",
            verdict=verdict,
        )


def noise(seeds: int) -> Iterator[Check]:
    """Claim 9: the relative variance of φ′, and whether the noise scale falls with the slope."""
    normal = np.random.default_rng(0).normal(size=1_000_000)
    derivatives = [np.where(normal > 0, 1.0, slope) for slope in SLOPES]
    measured = [np.var(values) / np.mean(values) ** 2 for values in derivatives]
    yield check_values(
        9,
        f"Var(φ′)/E[φ′]² at α = {list_values(SLOPES)}",
        measured,
        [theory.derivative_relative_variance(slope) for slope in SLOPES],
        1e-2,
    )
    data = digits().train
    for when, epochs in (("fresh", 0), ("trained", 4)):
        scales_by_slope: dict[float, list[float]] = {slope: [] for slope in SLOPES}
        for seed in range(seeds):
            for slope in SLOPES:
                make = partial(kp.PReLU, slope, parameterization="identity", trainable=False)
                model = mlp(make, normalized=False, bias=0.0, seed=seed)
                model = train(model, epochs, seed) if epochs else model
                loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
                noise_scale = gradient_noise(model, data, loss=loss, limit=512, group=8).scale
                scales_by_slope[slope].append(noise_scale)
        for slope, scales in scales_by_slope.items():
            print(
                f"- Claim 9, {when} networks, α = {slope:g}: noise scale"
                f" {mean_and_deviation(scales)} samples"
            )
        relu, linear = scales_by_slope[0.0], scales_by_slope[1.0]
        falls = all(one >= other for one, other in zip(relu, linear, strict=True))
        yield Check(
            claim=9,
            statement=f"the noise scale of {when} digits networks falls from α = 0 to α = 1",
            expected=f"< {mean_and_deviation(relu)}",
            measured=mean_and_deviation(linear),
            tolerance="every seed",
            verdict=HOLDS if falls else FAILS,
        )


class Agreement(L.Layer):
    """SimSiam's loss: minus the cosine of each view's prediction and the other view's embedding.

    The gradient is stopped at the embedding, or not.
    """

    def __init__(self, stops: bool, **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.stops = stops

    def call(self, inputs: Sequence[Any]) -> Any:
        first, second, predicted_first, predicted_second = inputs
        for predicted, target in ((predicted_first, second), (predicted_second, first)):
            target = keras.ops.stop_gradient(target) if self.stops else target
            cosine = keras.ops.sum(
                keras.ops.normalize(predicted, axis=-1) * keras.ops.normalize(target, axis=-1),
                axis=-1,
            )
            self.add_loss(-0.5 * keras.ops.mean(cosine))
        return first


def encoder(head: Callable[[], Any], *, normalized: bool) -> keras.Model:
    layers: list[Any] = [L.Dense(64, activation="relu")]
    for _ in range(2):
        layers += [L.Dense(64), *([L.BatchNormalization()] if normalized else []), head()]
    return keras.Sequential([keras.Input((64,)), *layers, L.Dense(32)])


def pretrained(head: Callable[[], Any], *, normalized: bool, stops: bool, seed: int) -> keras.Model:
    """Train an encoder by SimSiam on digits: noisy views without a third of their pixels."""
    x = digits().train.x
    keras.utils.set_random_seed(seed)
    rng = np.random.default_rng(seed)
    embed, views = encoder(head, normalized=normalized), [keras.Input((64,)), keras.Input((64,))]
    predict = keras.Sequential([keras.Input((32,)), L.Dense(16, activation="relu"), L.Dense(32)])
    first, second = map(embed, views)
    model = keras.Model(views, Agreement(stops)([first, second, predict(first), predict(second)]))
    model.compile(keras.optimizers.Adam(2e-3), loss=None)

    def view() -> np.ndarray:
        repeated = np.tile(x, (8, 1))
        return (
            (repeated + rng.normal(0, 0.1, repeated.shape)) * (rng.random(repeated.shape) > 1 / 3)
        ).astype("float32")

    model.fit([view(), view()], batch_size=128, verbose=0)
    return embed


def saturating() -> Any:
    return L.Activation(lambda inputs: keras.ops.tanh(4.0 * inputs))


def collapse(seeds: int) -> Iterator[Check]:
    """Claim 10: collapse by projection head; every statistic must flag the positive control.

    The control is trained without the stopped gradient.
    """
    for normalized in (True, False):
        trained = {
            name: [
                _embed_digits(head, normalized=normalized, stops=stops, seed=seed)
                for seed in range(seeds)
            ]
            for name, head, stops in (
                ("saturating", saturating, True),
                ("ReLU", L.ReLU, True),
                ("PReLU", kp.PReLU, True),
                ("ReLU, gradient not stopped", L.ReLU, False),
            )
        }
        where = "with BatchNormalization" if normalized else "without BatchNormalization"
        for name, encoders in trained.items():
            statistics = ", ".join(
                f"{statistic} {mean_and_deviation(_values(encoders, statistic))}"
                for statistic in STATISTICS
            )
            accuracy = mean_and_deviation([encoder.neighbour_accuracy for encoder in encoders], 100)
            print(
                f"- Claim 10, {name} {where}: {statistics}; nearest neighbours are right on"
                f" {accuracy} % of the test digits"
            )
        if normalized:
            yield from _flags(
                healthy=trained["ReLU"], collapsed=trained["ReLU, gradient not stopped"]
            )
        saturating_ranks = _values(trained["saturating"], "rank")
        for other in ("ReLU", "PReLU"):
            ranks = _values(trained[other], "rank")
            fewer = all(one < two for one, two in zip(saturating_ranks, ranks, strict=True))
            verdict = HOLDS if normalized else CONDITIONALLY
            yield Check(
                claim=10,
                statement=(
                    f"{where}: a saturating head uses fewer directions (RankMe) than one with"
                    f" {other}"
                ),
                expected=f"< {mean_and_deviation(ranks)}",
                measured=mean_and_deviation(saturating_ranks),
                tolerance="every seed",
                verdict=verdict if fewer else FAILS,
            )


@dataclass(frozen=True)
class EncoderResult:
    """What an encoder makes of the test digits.

    Attributes:
        embeddings: The statistics of the embeddings.
        neighbour_accuracy: How often the nearest training digits have the label of a test digit.
    """

    embeddings: Embeddings
    neighbour_accuracy: float


def _embed_digits(head: Callable[[], Any], **settings: Any) -> EncoderResult:
    data = digits()
    embed = pretrained(head, **settings)
    z, z_test = (embed.predict(part.x, verbose=0) for part in (data.train, data.test))
    classifier = KNeighborsClassifier(5, metric="cosine").fit(z, data.train.y)
    return EncoderResult(
        embeddings=embedding_statistics(z_test),
        neighbour_accuracy=float(classifier.score(z_test, data.test.y)),
    )


def _values(results: Sequence[EncoderResult], statistic: str) -> list[float]:
    return [getattr(result.embeddings, statistic) for result in results]


def _flags(
    *, healthy: Sequence[EncoderResult], collapsed: Sequence[EncoderResult]
) -> Iterator[Check]:
    for statistic, sign in STATISTICS.items():
        good, bad = _values(healthy, statistic), _values(collapsed, statistic)
        flagged = max(sign * value for value in bad) < min(sign * value for value in good)
        yield Check(
            claim=10,
            statement=f"{statistic} flags the positive control",
            expected=f"{'<' if sign > 0 else '>'} {mean_and_deviation(good)}",
            measured=mean_and_deviation(bad),
            tolerance="every seed",
            verdict=HOLDS if flagged else FAILS,
        )


CLAIMS = (
    activation,
    dying,
    path,
    initialization,
    maps,
    symmetry,
    moments,
    gamma,
    noise,
    collapse,
)


def main() -> None:
    warnings.simplefilter("ignore")
    seeds = int(sys.argv[1]) if len(sys.argv) > 1 else SEEDS
    print("# Ten claims about PReLU\n\nWritten by `python examples/claims.py`.\n")
    checks = [check for claim in CLAIMS for check in claim(seeds)]
    print(
        f"\nSeeds 0 to {seeds - 1}; ± is the standard deviation over them. Keras"
        f" {keras.__version__}, {keras.backend.backend()}.\n"
    )
    print(
        "| claim | what it says | expected | measured | tolerance | verdict"
        " |\n|---:|---|---:|---:|---:|---|"
    )
    for check in checks:
        print(
            f"| {check.claim} | {check.statement} | {check.expected} | {check.measured} |"
            f" {check.tolerance} | {check.verdict} |"
        )
    for verdict in (HOLDS, CONDITIONALLY, FAILS):
        print(
            f"\n{sum(check.verdict == verdict for check in checks)} of {len(checks)}: {verdict}.",
            end="",
        )
    print()


if __name__ == "__main__":
    main()
