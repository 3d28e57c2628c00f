"""Test a classifier on corrupted images: error at each corruption and severity, and their mean."""
from collections.abc import Iterator, Mapping, Sequence

from mmengine.evaluator import Evaluator
from mmengine.logging import print_log
from mmengine.runner import Runner
from torch import Tensor
from torch.utils.data import DataLoader

from mimtransfer.errors import UserError, near_matches
from mimtransfer.evaluation.changed_images import ChangedImagesLoop
from mimtransfer.evaluation.corruption_error import baseline_errors, corruption_metrics
from mimtransfer.evaluation.corruptions import NAMES, Corruptions
from mimtransfer.registry import LOOPS


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
