"""Few labels by one option, put where it is read: `label_share` or `label_shots`, and `label_seed`."""
from __future__ import annotations

from typing import Any

from mmengine.config import Config, ConfigDict

from mimtransfer.datasets.configured import is_pretraining, keeps_a_part, leaves
from mimtransfer.datasets.label_subset import check_subset, what_is_kept
from mimtransfer.errors import UserError
from mimtransfer.results.description import protocol_of, training_loader

KEYS = ("label_share", "label_shots", "label_seed")


def set_labels(cfg: Config) -> None:
    """Let the training see a part of its labelled images, and say so in the name of the protocol.

    A data set of mmdet or mmseg gets a `LabelSubset` around it, one for classification its own `fraction` or
    `images_per_class`. The three keys are taken out of the config: it then says all that a record or a resume has to
    know. A share of 1 leaves the config as it is.

    Raises:
        UserError: both a share and shots, a seed without either, values that are none, no labelled training data, or
            data that have a subset already.
    """
    share, shots, seed = (cfg.pop(key, None) for key in KEYS)
    if share is None and shots is None:
        if seed is not None:
            raise UserError(f"label_seed={seed} without a subset: set label_share or label_shots, too")
        return
    if share is not None and shots is not None:
        raise UserError(f"got label_share={share} and label_shots={shots}, expected one of them")
    seed = 0 if seed is None else seed
    check_subset("label_share" if shots is None else "label_shots", share, shots, seed)
    dataset: Any = training_loader(cfg).get("dataset")
    if not isinstance(dataset, dict) or is_pretraining(cfg):
        raise UserError("label_share and label_shots are for configs that learn from labels; this one has no labelled "
                        "training data")
    if share == 1:
        return
    if keeps_a_part(dataset):
        raise UserError("the training data are a subset already; leave out label_share and label_shots, or take a "
                        "config of the whole data set")
    for part in list(leaves(dataset)):
        if cfg.get("task") == "classification":
            part.update({"fraction" if shots is None else "images_per_class": share or shots, "seed": seed})
        else:
            whole = ConfigDict(part)
            part.clear()
            chosen = {"share": share} if shots is None else {"shots": shots}
            part.update(type="mimtransfer.LabelSubset", **chosen, seed=seed, dataset=whole)
    cfg.protocol = f"{protocol_of(cfg)}, {what_is_kept(share, shots)}"
