"""The error of weights that do not fit, and why they may not."""

import inspect
from collections.abc import Mapping, Sequence

from selip_core.encoders.interface import ImageEncoder
from selip_core.encoders.resnet_network import STEMS
from selip_core.encoders.weights.report import LoadReport, listed, percent
from selip_core.weight_values import INTEGER, REMEDIES, described


class WeightsError(ValueError):
    """The weights of a file do not fit an encoder, or are no weights; nothing was loaded.

    Attributes:
        report: What would have been loaded.
    """

    def __init__(self, report: LoadReport, reason: str) -> None:
        self.report = report
        super().__init__(f"{report.file} (format {report.format}) {reason}")


def too_little(report: LoadReport, minimum_share: float) -> WeightsError:
    """Return the error of a share that is under the bar."""
    return WeightsError(
        report,
        f"fits {percent(report.share)} of the encoder's parameters, and "
        f"{percent(report.used_share)} of the file would be used; both must be at least "
        f"{percent(minimum_share)} (minimum_share), so nothing was loaded"
        f"\n  in the encoder, not in the file: {listed(report.unmatched_encoder)}"
        f"\n  in the file, not in the encoder: {listed(report.unmatched_file)}"
        f"\n  likely cause: {likely_cause(report)}",
    )


def no_first_layer(report: LoadReport, name: str, encoders: str) -> WeightsError:
    """Return the error of a first layer that would stay random.

    Args:
        report: What would have been loaded.
        name: The name of that layer's weight in the encoder.
        encoders: The encoders that the format fits.
    """
    cause = "the file has none"
    if name in report.mismatched:
        have, want = report.mismatched[name]
        cause = f"its shape is {have} in the file and {want} in the encoder{_stems(have, want)}"
    return WeightsError(
        report,
        f"does not fit the encoder's first layer, {name}: {cause}. All that follows would read "
        "what a random layer makes of the volume, so nothing was loaded. Make the encoder with the "
        f"stem or the patch of the file (this format fits {encoders}); "
        "load_weights(..., random_first_layer=True) loads the rest all the same",
    )


def fits_in_part(
    report: LoadReport, encoder: ImageEncoder, excess: Sequence[str], missing: Sequence[str]
) -> WeightsError:
    """Return the error of layers that would hold a part of what the file's compute with.

    Args:
        report: What would have been loaded.
        encoder: The encoder.
        excess: Names of what its layers lack and the file's have, such as a bias.
        missing: Names of its running statistics that the file lacks.
    """
    causes = []
    if excess:
        causes.append(f"the file's network has what the encoder was made without{_bias(encoder)}")
    if missing:
        causes.append(
            "running statistics were left out where the file was written, or its network "
            "normalises otherwise"
        )
    return WeightsError(
        report,
        "fits layers of the encoder in part only. They would compute something else, so nothing "
        f"was loaded\n  in layers of the file, not in the encoder's: {listed(excess)}"
        f"\n  running statistics that the file lacks: {listed(missing)}"
        f"\n  likely cause: {'; '.join(causes)}"
        "\n  load_weights(..., partial_layers=True) loads the rest all the same",
    )


def no_floats(file: str, names: Sequence[str]) -> ValueError:
    """Return the error of tensors of another type than floating point.

    Args:
        file: The name of the file.
        names: Names in the file, with their types.
    """
    return ValueError(
        f"{file} holds other values than floating point where the encoder has weights, so nothing "
        f"was loaded\n  {INTEGER}: {listed(names)}\n  likely cause: {REMEDIES[INTEGER]}"
    )


def unusable_values(report: LoadReport, problems: Mapping[str, Sequence[str]]) -> WeightsError:
    """Return the error of values that no trained network has.

    Args:
        report: What would have been loaded.
        problems: Names in the encoder, by what is wrong with their values.
    """
    return WeightsError(report, described(problems))


def _bias(encoder: ImageEncoder) -> str:
    """What the encoder would be made with, if it has options for biases."""
    options = [name for name in inspect.signature(type(encoder)).parameters if "bias" in name]
    return f": create it with {' or '.join(f'{name}=True' for name in options)}" if options else ""


def _stems(have: tuple[int, ...], want: tuple[int, ...]) -> str:
    """What a ResNet would be made with, if both are kernels of one."""
    kernels = {stem.kernel for stem in STEMS.values()}
    if not {have[2:], want[2:]} <= kernels:
        return ""
    fitting = [repr(name) for name, stem in STEMS.items() if stem.kernel == have[2:]]
    return f" (of a ResNet's stems, {', '.join(fitting)} have that of the file)"


def likely_cause(report: LoadReport) -> str:
    """Return a guess why weights fit badly."""
    if report.mismatched:
        name, (have, want) = next(iter(report.mismatched.items()))
        return (
            f"another width, kind of block or patch: {name} has shape {have} in the file and "
            f"{want} in the encoder"
        )
    if not report.matched:
        return f"another kind of network than the format {report.format} is for"
    if len(report.unmatched_file) > len(report.unmatched_encoder):
        return "the file's network is deeper: another depth or number of layers"
    if all("downsample" in name for name in report.unmatched_encoder):
        return "another kind of shortcut"
    return "the encoder is deeper than the file's network: another depth or number of layers"
