"""Test a classifier on corrupted images: error at each corruption and severity, and the mean corruption error
(Hendrycks and Dietterich, ICLR 2019, arXiv 1903.12261, section 4.1). All in points.
"""
from collections.abc import Iterator, Mapping, Sequence
from statistics import fmean
from typing import Any

from mmengine.evaluator import Evaluator
from mmengine.logging import print_log
from mmengine.runner import Runner
from torch import Tensor
from torch.utils.data import DataLoader

from mimtransfer.errors import UserError, near_matches
from mimtransfer.evaluation.robustness.changed_images import ChangedImagesLoop
from mimtransfer.evaluation.robustness.common_corruptions import NAMES, Corruptions
from mimtransfer.registry import LOOPS
from mimtransfer.results.record import read_record


@LOOPS.register_module()
class CorruptionLoop(ChangedImagesLoop):
    """Test on 15 corruptions at 5 severities, computed on the device. Metrics: `corruption_metrics`.

    Args:
        runner, dataloader, evaluator: see `ChangedImagesLoop`.
        corruptions: names; by default all 15.
        severities: of 1 to 5.
        baseline: whose errors count as 100 in mCE: 'alexnet' for ImageNet, a `result.json`, errors, or None for no mCE.
            The record's protocol holds the errors, so that a column of mCE has one baseline.
        seed, parameters, frost_pictures, jpeg_quality: see `Corruptions`.

    Raises:
        UserError: an unknown corruption, or a baseline without its error.
    """

    def __init__(
        self,
        runner: Runner,
        dataloader: DataLoader | dict,
        evaluator: Evaluator | dict | list,
        corruptions: Sequence[str] = NAMES,
        severities: Sequence[int] = (1, 2, 3, 4, 5),
        baseline: str | Mapping[str, float] | None = None,
        seed: int = 0,
        parameters: int | None = None,
        frost_pictures: str | None = None,
        jpeg_quality: int | None = None,
    ):
        for name in corruptions:
            if name not in NAMES:
                hint = near_matches(name, NAMES) or f"there are {', '.join(NAMES)}"
                raise UserError(f"CorruptionLoop: no corruption {name!r}; {hint}")
        if not corruptions or not severities or not set(severities) <= {1, 2, 3, 4, 5}:
            raise UserError(f"CorruptionLoop: got corruptions={corruptions}, severities={severities}, expected at "
                            "least one of each, severities of 1 to 5")
        self.names, self.severities = tuple(corruptions), tuple(severities)
        self.baseline = baseline_errors(baseline, self.names, self.severities)
        if self.baseline is not None:
            runner.cfg.test_cfg["baseline"] = self.baseline
        self.corrupt = Corruptions(seed, parameters, frost_pictures, jpeg_quality)
        super().__init__(runner, dataloader, evaluator, [f"{n}/{s}" for n in self.names for s in self.severities])

    def versions(self, images: Tensor, labels: Tensor) -> Iterator[tuple[str, Tensor]]:
        """Yield the corrupted images."""
        for name in self.names:
            for severity in self.severities:
                yield f"{name}/{severity}", self.corrupt(images, name, severity)

    def summary(self, top1: dict[str, float]) -> dict[str, float]:
        """Return the metrics and print the errors as a table."""
        errors = {(n, s): 100.0 - top1[f"{n}/{s}"] for n in self.names for s in self.severities}
        metrics = corruption_metrics(errors, 100.0 - top1["clean"], self.baseline)
        lines = [f"{'error (%) at severity':22}  mean" + "".join(f"{severity:7}" for severity in self.severities)]
        for name in self.names:
            row = [metrics[f"error/{name}"], *(errors[name, severity] for severity in self.severities)]
            lines.append(f"{name:20}" + "".join(f"{value:7.1f}" for value in row))
        print_log("\n".join(lines), logger="current")
        return metrics


# Means over the five severities of ImageNet-C, as all tables of mCE use them; clean: table 1 of the paper.
ALEXNET = dict(zip(NAMES, (
    88.6428, 89.4468, 92.2640, 81.9880, 82.6268, 78.5948, 79.8360, 86.6816, 82.6572, 81.9324, 56.4592, 85.3204, 64.6056,
    71.7840, 60.6500,
))) | {"clean": 43.5}


def corruption_metrics(
    errors: Mapping[tuple[str, int], float], clean: float, baseline: Mapping[str, float] | None
) -> dict[str, float]:
    """Sum up the errors of a classifier.

    Args:
        errors: (corruption, severity) -> error in points; every corruption at the same severities.
        clean: error on the images as they are.
        baseline: corruption, and `clean` -> mean error over the severities of the classifier that counts as 100.

    Returns:
        clean_top1; corruption_error: mean over all; mce: mean of the corruptions' ratios to the baseline, and
        relative_mce: the same of what is added to the clean error, both only with a baseline; then `error/NAME` and
        `error/NAME/SEVERITY`.
    """
    names = list(dict.fromkeys(name for name, _ in errors))
    means = {name: fmean(error for (other, _), error in errors.items() if other == name) for name in names}
    found = {"clean_top1": 100.0 - clean, "corruption_error": fmean(means.values())}
    if baseline is not None:
        found["mce"] = 100 * fmean(means[name] / baseline[name] for name in names)
        if all(baseline[name] > baseline["clean"] for name in names):
            found["relative_mce"] = 100 * fmean(
                (means[name] - clean) / (baseline[name] - baseline["clean"]) for name in names
            )
    found |= {f"error/{name}": mean for name, mean in means.items()}
    return found | {f"error/{name}/{severity}": error for (name, severity), error in errors.items()}


def baseline_errors(
    baseline: str | Mapping[str, float] | None, names: Sequence[str], severities: Sequence[int]
) -> dict[str, float] | None:
    """Return the errors of the classifier that counts as 100, for `corruption_metrics`.

    Args:
        baseline: 'alexnet'; a `result.json` of a test on the same corruptions; the errors themselves; or None.
        names: of the corruptions.
        severities: that the errors are means of.

    Raises:
        UserError: errors are missing or 0, or AlexNet's are asked for at other severities than 1 to 5.
    """
    if baseline is None:
        return None
    if baseline == "alexnet":
        if sorted(severities) != [1, 2, 3, 4, 5]:
            raise UserError(f"CorruptionLoop: baseline='alexnet' holds means over severities 1 to 5, got {severities}")
        errors: Mapping[str, Any] = ALEXNET
    elif isinstance(baseline, str):
        errors = _of_record(read_record(baseline)["raw_metrics"], names, severities)
    else:
        errors = baseline
    absent = [name for name in (*names, "clean") if not errors.get(name)]
    if absent:
        raise UserError(f"CorruptionLoop: the baseline {baseline!r} has no error above 0 for {', '.join(absent)} at "
                        f"severities {list(severities)}; give 'alexnet', the result.json of a test on the same "
                        "corruptions, or the errors")
    return {name: float(errors[name]) for name in (*names, "clean")}


def _of_record(raw: Mapping[str, Any], names: Sequence[str], severities: Sequence[int]) -> dict[str, float]:
    found = {}
    for name in names:
        errors: list[Any] = [raw.get(f"error/{name}/{severity}") for severity in severities]
        if None not in errors:
            found[name] = fmean(errors)
    if "clean_top1" in raw:
        found["clean"] = 100.0 - raw["clean_top1"]
    return found
