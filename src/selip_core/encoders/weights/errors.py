"""The error of weights that do not fit, and why they may not."""

from selip_core.encoders.weights.report import LoadReport, listed, percent


class WeightsError(ValueError):
    """The weights of a file fit an encoder too little; nothing was loaded.

    Attributes:
        report: What would have been loaded.
    """

    def __init__(self, report: LoadReport, minimum_share: float) -> None:
        self.report = report
        super().__init__(
            f"{report.file} (format {report.format}) fits {percent(report.share)} of the encoder's "
            f"parameters, and {percent(report.used_share)} of the file would be used; both must be "
            f"at least {percent(minimum_share)} (minimum_share), so nothing was loaded"
            f"\n  in the encoder, not in the file: {listed(report.unmatched_encoder)}"
            f"\n  in the file, not in the encoder: {listed(report.unmatched_file)}"
            f"\n  likely cause: {likely_cause(report)}"
        )


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
