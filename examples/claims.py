"""Ten claims about PReLU, each with its formula, what was measured, and whether it holds. `python
examples/claims.py [SEEDS]`.

Under three minutes on two cores with three seeds. Prints Markdown: the runs behind claims 2, 9 and
10, and a table; `examples/CLAIMS.md` is what it printed.
"""

from __future__ import annotations

import sys
import warnings
from collections.abc import Callable, Iterator, Sequence
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
MEASURES = (
    ("spread", 1),
    ("rank", 1),
    ("participation", 1),
    ("cosine", -1),
)  # 1 where less of it is nearer to collapse
HOLDS, CONDITIONALLY, FAILS = "holds", "holds under a condition", "does not hold"


@dataclass(frozen=True)
class Check:
    """One thing that a claim says: the formula, what it gives, what was measured, how far they may
    be apart, and the verdict."""

    claim: int
    says: str
    expected: str
    measured: str
    tolerance: str
    verdict: str


def within(claim: int, says: str, measured: Any, expected: Any, tolerance: float) -> Check:
    """Numbers that are to agree, relative to the expected one, or absolutely where that is 0."""
    found, wanted = (
        np.atleast_1d(np.asarray(measured, float)),
        np.atleast_1d(np.asarray(expected, float)),
    )
    apart = np.abs(found - wanted) / np.where(wanted == 0, 1.0, np.abs(wanted))
    verdict = HOLDS if np.all(apart <= tolerance) else FAILS
    return Check(claim, says, listed(wanted), listed(found), f"{tolerance:.0e}", verdict)


def listed(values: Any) -> str:
    return ", ".join(f"{value:.4g}" for value in np.atleast_1d(values))


def spread(values: Sequence[float], scale: float = 1.0) -> str:
    array = np.asarray(values, float) * scale
    return f"{array.mean():.3g}" + (f" ± {array.std(ddof=1):.2g}" if len(array) > 1 else "")


def digits() -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
    found = kp.data.load("digits", input_shape=(64,))
    return found.train.x, found.train.y, found.test.x, found.test.y


def activation(_seeds: int) -> Iterator[Check]:
    """Claim 1: φ(x) = max(0, x) + α·min(0, x), and its gradients, of our own backward pass, against
    finite differences."""
    rng = np.random.default_rng(0)
    x, upstream, step = rng.normal(size=(500, 4)), rng.normal(size=(500, 4)), 1e-3
    x[np.abs(x) < 2 * step] = 0.5  # finite differences across the kink say nothing
    slopes = np.array([0.05, 0.25, 0.9, 1.5])

    def phi(inputs: np.ndarray, alpha: np.ndarray) -> np.ndarray:
        return keras.ops.convert_to_numpy(
            kp.prelu(inputs.astype("float32"), alpha.astype("float32"))
        )

    yield within(
        1,
        "φ(x) at x = −2 and 3, α = 0.25",
        phi(np.array([-2.0, 3.0]), np.array(0.25)),
        [-0.5, 3.0],
        1e-6,
    )
    by_x = (phi(x + step, slopes) - phi(x - step, slopes)).astype(float) / (2 * step)
    yield within(
        1,
        "∂φ/∂x is 1, or α for x ≤ 0: largest deviation",
        np.abs(by_x - np.where(x > 0, 1.0, slopes)).max(),
        0.0,
        1e-3,
    )
    by_slope = np.sum(
        upstream * (phi(x, slopes + step) - phi(x, slopes - step)) / (2 * step), axis=0
    )
    yield within(
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
    x, y, _, _ = digits()
    keras.utils.set_random_seed(seed)
    model.compile(
        keras.optimizers.Adam(rate),
        keras.losses.SparseCategoricalCrossentropy(from_logits=True),
        metrics=["accuracy"],
    )
    model.fit(x, y, batch_size=64, epochs=epochs, verbose=0)
    return model


def dying(seeds: int) -> Iterator[Check]:
    """Claim 2: under ReLU dead units get no gradient and stay dead; under PReLU, and with
    BatchNormalization, they come back."""
    x, _, x_test, y_test = digits()
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
                float(np.mean(model.predict(x_test, verbose=0).argmax(-1) == y_test))
            )
    for name, found in shares.items():
        print(
            f"- Claim 2, {name}: dead units {spread(found, 100)} %, {spread(accuracies[name], 100)}"
            " % of the test digits"
        )
    start = (
        f"biases start at −1, so that {spread(before, 100)} % of the units are dead before training"
    )
    for name in ("PReLU", "BN + ReLU", "BN + PReLU"):
        fewer = all(one < other for one, other in zip(shares[name], shares["ReLU"], strict=True))
        said = f"fewer units end dead with {name} than with ReLU ({start})"
        yield Check(
            2,
            said,
            f"< {spread(shares['ReLU'], 100)} %",
            f"{spread(shares[name], 100)} %",
            "every seed",
            HOLDS if fewer else FAILS,
        )
    network, counts = mlp(L.ReLU, normalized=False, bias=-1.0, seed=0), []
    for _ in range(2):
        counts.append(96 * dead_share(network, x))
        kp.revive(network, x)
    once = f"{counts[1]:.0f} after once: a layer behind one that is dead as a whole waits"
    said = f"dead units after `revive` twice, of {counts[0]:.0f} ({once})"
    yield within(2, said, 96 * dead_share(network, x), 0.0, 1e-9)


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
        yield within(
            3,
            f"factor of {depth} layers, α = {slope:g}, c = {weight:g}",
            measured,
            theory.path_gradient_factor(slope, weight, depth),
            1e-4,
        )


def initialization(seeds: int) -> Iterator[Check]:
    """Claim 4: with He's weights the second moment grows by 1 + α² a layer, with ours it stays;
    forward and backward, 30 layers deep.

    Networks of finite width fluctuate, so the mean of the logarithm over four for each seed is to
    be within three of its standard errors.
    """
    x, depth, slope, networks = (
        np.random.default_rng(0).normal(size=(64, 256)).astype("float32"),
        30,
        0.25,
        4 * seeds,
    )
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
        for direction, found in (("forward", forward), ("backward", backward)):
            error = np.std(found, ddof=1) / np.sqrt(len(found))
            verdict = HOLDS if abs(np.mean(found) - np.log(gain)) <= 3 * error else FAILS
            measured = f"{np.exp(np.mean(found)):.4f} ± {error:.4f}"
            yield Check(
                4,
                f"gain of a layer, {direction}, {name}, {networks} networks",
                f"{gain:.4f}",
                measured,
                "3 standard errors",
                verdict,
            )


def maps(_seeds: int) -> Iterator[Check]:
    """Claim 5: where L2 on β pulls α, and that L2 on α pulls it to 0 under every map."""
    for name, limit in (
        ("exp", 1.0),
        ("square", 0.0),
        ("softplus", np.log(2)),
        ("sigmoid", 0.5),
        ("identity", 0.0),
    ):
        yield within(
            5,
            f"L2 on β pulls α to, {name}",
            pulled(name, {"beta_regularizer": keras.regularizers.L2(0.5)}),
            limit,
            1e-2,
        )
    for name in ("exp", "square", "softplus", "sigmoid", "identity"):
        found = pulled(name, {"alpha_regularizer": kp.regularizers.AlphaL2(1.0)}, steps=4000)
        yield Check(
            5,
            f"L2 on α pulls it to 0, {name}",
            "< 0.025 from 0.25",
            f"{found:.3g}",
            "a tenth",
            HOLDS if found < 0.025 else FAILS,
        )


def pulled(parameterization: str, regularizer: dict[str, Any], steps: int = 400) -> float:
    """The slope after gradient descent on its penalty alone."""
    layer = kp.PReLU(0.25, parameterization=parameterization, **regularizer)
    model = keras.Sequential([keras.Input((1,)), layer])
    model.compile(
        keras.optimizers.SGD(0.05 if steps == 400 else 0.9),
        lambda y, outputs: 0.0 * outputs,
        steps_per_execution=20,
    )
    zeros = np.zeros((steps * 8, 1), "float32")
    model.fit(zeros, zeros, batch_size=8, verbose=0)
    return float(keras.ops.convert_to_numpy(layer.alpha).mean())


def symmetry(seeds: int) -> Iterator[Check]:
    """Claim 6: channels' scales moved at random between layers leave a trained network's function;
    a cap breaks that."""
    x = digits()[0][:256]
    model = train(mlp(kp.PReLU, normalized=False, bias=0.0, seed=0), 3, 0)
    expected = model.predict(x, verbose=0)
    for seed in range(seeds):
        found = rescale_channels(model, seed=seed).predict(x, verbose=0)
        apart = np.abs(found - expected).max() / np.abs(expected).max()
        yield within(
            6,
            f"change of the outputs by random scales from 0.1 to 10, seed {seed}",
            apart,
            0.0,
            1e-5,
        )
    capped = kp.PReLU(0.25, max_value=6.0)
    numbers = np.linspace(-8, 8, 33, dtype="float32")[:, None]
    change = np.abs(keras.ops.convert_to_numpy(capped(3 * numbers) - 3 * capped(numbers))).max()
    yield Check(
        6,
        "with a cap of 6, φ(3x) − 3φ(x) is not 0",
        "> 1",
        f"{change:.3g}",
        "–",
        HOLDS if change > 1 else FAILS,
    )


def moments(_seeds: int) -> Iterator[Check]:
    """Claim 7: the moments of PReLU on a Gaussian, by a million draws."""
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
        yield within(
            7,
            f"E[y], E[y²], E[φ′], E[φ′²], Cov(x, y) at α = {slope:g}, μ = {mu:g}, σ = {sigma:g}",
            measured,
            expected,
            1e-2,
        )


def gamma(seeds: int) -> Iterator[Check]:
    """Claim 8: the γ of a BatchNormalization after PReLU, on normal pre-activations and on those of
    a trained network."""
    x = np.random.default_rng(0).normal(size=(200_000, 1)).astype("float32")
    for slope, identity, reconstruction in (
        (0.0, 0.584, 0.856),
        (0.25, 0.665, 0.940),
        (0.5, 0.765, 0.980),
        (1.0, 1.0, 1.0),
    ):
        y = np.where(x > 0, x, slope * x)
        yield within(8, f"γ that keeps the outputs, α = {slope:g}", y.std(), identity, 5e-3)
        fitted = np.polyfit(((y - y.mean()) / y.std())[:, 0], x[:, 0], 1)[0]
        yield within(8, f"γ that reconstructs best, α = {slope:g}", fitted, reconstruction, 5e-3)
    errors: dict[str, list[float]] = {"for a mean of 0": [], "for the mean measured (claim 7)": []}
    for seed in range(seeds):
        keras.utils.set_random_seed(seed)
        steps = [
            L.Dense(64, kernel_initializer="he_normal"),
            kp.PReLU(0.25),
            L.BatchNormalization(momentum=0.5),
        ]
        model = train(keras.Sequential([keras.Input((64,)), *steps, L.Dense(10)]), 5, seed)
        (found,) = batch_norm_gammas(model, digits()[0])
        hidden = keras.Model(model.inputs, model.layers[0].output).predict(digits()[0], verbose=0)
        slopes = keras.ops.convert_to_numpy(model.layers[1].alpha)
        true = np.where(hidden > 0, hidden, slopes * hidden).std(axis=0)
        centred = theory.bn_gamma_identity(slopes, hidden.std(axis=0))
        for name, closed in zip(errors, (centred, found.identity), strict=True):
            errors[name].append(float(np.median(np.abs(closed / true - 1.0))))
    for name, values in errors.items():
        verdict = CONDITIONALLY if max(values) <= 0.1 else FAILS
        said = (
            f"γ that keeps the outputs of trained digits networks, {name}: median relative error;"
            " pre-activations are not quite normal"
        )
        yield Check(8, said, "0", spread(values), "1e-01", verdict)


def noise(seeds: int) -> Iterator[Check]:
    """Claim 9: the relative variance of φ′, and the noise scale of real networks by their slope,
    measured whichever way it comes out."""
    normal = np.random.default_rng(0).normal(size=1_000_000)
    derivatives = [np.where(normal > 0, 1.0, slope) for slope in SLOPES]
    measured = [np.var(found) / np.mean(found) ** 2 for found in derivatives]
    yield within(
        9,
        f"Var(φ′)/E[φ′]² at α = {listed(SLOPES)}",
        measured,
        [theory.derivative_relative_variance(slope) for slope in SLOPES],
        1e-2,
    )
    x, y, _, _ = digits()
    for when, epochs in (("fresh", 0), ("trained", 4)):
        found: dict[float, list[float]] = {slope: [] for slope in SLOPES}
        for seed in range(seeds):
            for slope in SLOPES:
                make = partial(kp.PReLU, slope, parameterization="identity", trainable=False)
                model = mlp(make, normalized=False, bias=0.0, seed=seed)
                model = train(model, epochs, seed) if epochs else model
                loss = keras.losses.SparseCategoricalCrossentropy(from_logits=True)
                found[slope].append(
                    gradient_noise(model, (x, y), loss=loss, limit=512, group=8).scale
                )
        for slope, scales in found.items():
            print(
                f"- Claim 9, {when} networks, α = {slope:g}: noise scale {spread(scales)} samples"
            )
        falls = all(one >= other for one, other in zip(found[0.0], found[1.0], strict=True))
        said = f"the noise scale of {when} digits networks falls from α = 0 to α = 1"
        yield Check(
            9,
            said,
            f"< {spread(found[0.0])}",
            spread(found[1.0]),
            "every seed",
            HOLDS if falls else FAILS,
        )


class Agreement(L.Layer):
    """SimSiam's loss: minus the cosine of each view's prediction and the other's embedding, through
    which gradients stop, or don't."""

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
    """SimSiam on digits, without labels: two views of each are noisy and have lost a third of their
    pixels."""
    x = digits()[0]
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
    """Claim 10: collapse by projection head, and the positive control, without the stopped
    gradient, that every measure must flag."""
    for normalized in (True, False):
        runs = {
            name: [
                _embedded(head, normalized=normalized, stops=stops, seed=seed)
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
        for name, found in runs.items():
            told = ", ".join(
                f"{measure} {spread([getattr(run, measure) for run, _ in found])}"
                for measure, _ in MEASURES
            )
            right = spread([accuracy for _, accuracy in found], 100)
            print(
                f"- Claim 10, {name} {where}: {told}; nearest neighbours are right on {right} % of"
                " the test digits"
            )
        if normalized:
            yield from _flags(runs)
        for other in ("ReLU", "PReLU"):
            ranks = [[run.rank for run, _ in runs[name]] for name in ("saturating", other)]
            less = all(one < two for one, two in zip(*ranks, strict=True))
            said = (
                f"{where}: a saturating head uses fewer directions (RankMe) than one with {other}"
            )
            verdict = FAILS if not less else HOLDS if normalized else CONDITIONALLY
            yield Check(10, said, f"< {spread(ranks[1])}", spread(ranks[0]), "every seed", verdict)


def _embedded(head: Callable[[], Any], **settings: Any) -> tuple[Embeddings, float]:
    """What embeddings of the test digits are like, and how often the labels of the nearest training
    digits are theirs."""
    x, y, x_test, y_test = digits()
    embed = pretrained(head, **settings)
    z, z_test = (embed.predict(part, verbose=0) for part in (x, x_test))
    return embedding_statistics(z_test), float(
        KNeighborsClassifier(5, metric="cosine").fit(z, y).score(z_test, y_test)
    )


def _flags(runs: dict[str, list[tuple[Embeddings, float]]]) -> Iterator[Check]:
    for measure, sign in MEASURES:
        healthy, found = (
            [getattr(run, measure) for run, _ in runs[name]]
            for name in ("ReLU", "ReLU, gradient not stopped")
        )
        flagged = max(sign * value for value in found) < min(sign * value for value in healthy)
        expected = f"{'<' if sign > 0 else '>'} {spread(healthy)}"
        yield Check(
            10,
            f"{measure} flags the positive control",
            expected,
            spread(found),
            "every seed",
            HOLDS if flagged else FAILS,
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
            f"| {check.claim} | {check.says} | {check.expected} | {check.measured} |"
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
