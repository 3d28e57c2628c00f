"""The loss that a pretraining ends with."""
import torch
from mmengine.dist import all_reduce
from mmengine.runner import Runner


def final_loss(runner: Runner) -> float | None:
    """Return the mean loss over the last pass through the data and over the ranks; None when none was logged.

    Call it on every rank.
    """
    history = runner.message_hub.log_scalars.get("train/loss")
    if history is None:
        return None
    window = min(len(runner.train_dataloader), runner.iter)
    loss = torch.tensor(float(history.mean(window)), dtype=torch.float64)
    all_reduce(loss, op="mean")
    return float(loss)
