"""Give every head of a model another number of classes, and what follows from it."""
from __future__ import annotations

from typing import Any

from mimtransfer.datasets.configured import dicts_in, name_of
from mimtransfer.errors import UserError

_THINGS, _STUFF = "num_things_classes", "num_stuff_classes"  # of Mask2Former in mmdet


def set_num_classes(cfg: Any, number: int) -> None:
    """Set `num_classes` wherever the model of a config has it; weights of classes get the same length.

    Raises:
        UserError: no part of the model has a number of classes, fewer than 1 are wanted, or weights differ by class.
    """
    if number < 1:
        raise UserError(f"{number} classes: expected 1 or more")
    found = False
    for node in dicts_in(cfg.get("model") or {}):
        if name_of(node) == "FederatedLoss":
            raise UserError("the loss of this config (FederatedLoss) is made for the classes of LVIS; choose a config "
                            "of COCO for others")
        if type(node.get("num_classes")) is int:
            before, node["num_classes"], found = node["num_classes"], number, True
            _set_weights(node, before, number)
        if _THINGS in node:
            before = node[_THINGS] + node.get(_STUFF, 0)
            node[_THINGS], node[_STUFF], found = number, 0, True
            _set_weights(node, before, number)
    if not found:
        raise UserError("no part of the model has num_classes, so it cannot be set; choose a config of detection, "
                        "segmentation or classification")


def _set_weights(head: dict, before: int, number: int) -> None:
    """Resize lists of a weight for each class, and maybe one for the background at the end."""
    for node in dicts_in(head):
        weights = node.get("class_weight")
        if not isinstance(weights, list | tuple) or len(weights) not in (before, before + 1):
            continue
        if len(set(weights[:before])) > 1:
            raise UserError(f"the model weighs its {before} classes differently (class_weight), which says nothing of "
                            f"{number} others; set class_weight in the config")
        node["class_weight"] = [weights[0]] * number + list(weights[before:])
