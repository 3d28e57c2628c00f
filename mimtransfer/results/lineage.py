"""What the weights of a run went through before it: a pretraining, and perhaps other trainings behind that."""
import re
from collections.abc import Iterator, Mapping
from typing import Any

RANDOM_INIT = "random init"
_LENGTH = re.compile(r"[\d.]+k? (epochs?|iterations?)")


def signatures(init: Mapping[str, Any]) -> Iterator[tuple[str, dict[str, Any] | None]]:
    """Yield path and signature of the checkpoints that a run goes back to, the newest first.

    Args:
        init: of a record or of a signature.

    Returns:
        of a file that no run of ours has signed None, which is then the last: nothing says what was before it.
    """
    found: Any = init
    while isinstance(found, Mapping) and found.get("kind", "random") != "random":
        signed = found.get("pretraining")
        signed = signed if isinstance(signed, dict) and signed else None
        yield str(found.get("path")), signed
        if signed is None:
            return
        found = signed.get("init")


def label_from(origin: Mapping[str, Any]) -> str | None:
    """Return the label of a run that starts from a checkpoint with this signature.

    A pretraining gives its own. A transfer that started from random weights has trained them, so what follows it is
    named by it; another one adds a step: `MAE, then Mask R-CNN on scenes`.
    """
    if origin.get("kind") != "transfer":
        return origin.get("label")
    step, earlier = _step(origin.get("protocol"), origin.get("dataset")), origin.get("label") or RANDOM_INIT
    return step if earlier == RANDOM_INIT else f"{earlier}, then {step}"


def inherited(label: str | None, init: Mapping[str, Any]) -> bool:
    """Say whether a label is that of the transfer behind a run, which until December 2026 it took over as it was."""
    origin = init.get("pretraining") or {}
    return origin.get("kind") == "transfer" and label == origin.get("label")


def _step(protocol: str | None, dataset: str | None) -> str:
    """Name a training: `Mask R-CNN on y` of the protocol `Mask R-CNN, COCO, 25 epochs, on y`."""
    name, *rest = (protocol or "a training").split(", ")
    own = [part.removeprefix("on ") for part in rest if part.startswith("on ")]
    # Data of the user's own lie in a folder `data` of the work dir, so the protocol knows their name, not the data set.
    shipped = [part for part in rest[:1] if not _LENGTH.fullmatch(part)]
    data = next(iter([*own, *shipped]), None) or (dataset or "").partition(" ")[2]
    return f"{name} on {data}" if data else name
