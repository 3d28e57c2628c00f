"""Focal loss (Lin et al. 2017, arXiv:1708.02002, eq. 5), sigmoid and softmax form, as `mmcv._ext` names it.

`target` [N] int64 is a class index; in the sigmoid form an index outside 0..C-1 means background. `weight` [C], or
empty for none, multiplies the row of a sample whose target is that class. For background the compiled op reads past
its end; here background has weight 1.
"""
import torch
import torch.nn.functional as F
from torch import Tensor

from mimtransfer.openmmlab.mmcv_ext.kernels import kernel, widen


def _row_weight(weight: Tensor, target: Tensor) -> Tensor:
    """Return the weight [N] of each sample."""
    inside = (target >= 0) & (target < len(weight))
    return torch.where(inside, widen(weight)[target.clamp(0, len(weight) - 1)], 1.0)


def _one_hot(target: Tensor, like: Tensor) -> Tensor:
    """Return 1 at the target class, else 0, in the shape [N, C] and dtype of `like`."""
    return (target[:, None] == torch.arange(like.shape[1], device=like.device)).to(like)


def _terms(logits: Tensor, target: Tensor, alpha: float) -> tuple[Tensor, Tensor, Tensor]:
    """Return, each [N, C]: sign (+1 at the target, else -1), logit of the right answer, and alpha or 1 - alpha."""
    hit = _one_hot(target, logits)
    sign = 2 * hit - 1
    return sign, sign * logits, alpha * hit + (1 - alpha) * (1 - hit)


@kernel
def sigmoid_focal_loss_forward(
    input: Tensor, target: Tensor, weight: Tensor, output: Tensor, gamma: float, alpha: float
) -> None:
    """Fill `output` [N, C] with -a (1 - q)^gamma log q, where q is the probability of the right answer for the class.

    log q comes from the logit. The compiled op takes the log of q as rounded, and jumps where q rounds to 0.
    """
    _, right, balance = _terms(widen(input), target, alpha)
    loss = -balance * torch.sigmoid(-right) ** gamma * F.logsigmoid(right)
    output.copy_(loss * _row_weight(weight, target)[:, None] if weight.numel() else loss)


@kernel
def sigmoid_focal_loss_backward(
    input: Tensor, target: Tensor, weight: Tensor, grad_input: Tensor, gamma: float, alpha: float
) -> None:
    """Fill `grad_input` [N, C] with -a s (1 - q)^gamma (1 - q - gamma q log q), s the sign: derivative by the logit."""
    sign, right, balance = _terms(widen(input), target, alpha)
    wrong = torch.sigmoid(-right)
    grad = -balance * sign * wrong**gamma * (wrong - gamma * torch.sigmoid(right) * F.logsigmoid(right))
    grad_input.copy_(grad * _row_weight(weight, target)[:, None] if weight.numel() else grad)


def _target_probability(probability: Tensor, target: Tensor) -> Tensor:
    """Return the probability [N] of the target class, kept above 0 so that its log is finite."""
    tiny = torch.finfo(probability.dtype).tiny
    return probability.gather(1, target.clamp(min=0)[:, None])[:, 0].clamp(min=tiny)


@kernel
def softmax_focal_loss_forward(
    input: Tensor, target: Tensor, weight: Tensor, output: Tensor, gamma: float, alpha: float
) -> None:
    """Fill `output` [N] with -alpha (1 - p)^gamma log p, p the probability of the target; 0 for a negative target.

    Args:
        input: [N, C] probabilities; mmcv's wrapper has applied the softmax.
    """
    p = _target_probability(widen(input), target)
    loss = torch.where(target >= 0, -alpha * (1 - p) ** gamma * p.log(), 0.0)
    output.copy_(loss * _row_weight(weight, target) if weight.numel() else loss)


@kernel
def softmax_focal_loss_backward(
    input: Tensor, target: Tensor, weight: Tensor, buff: Tensor, grad_input: Tensor, gamma: float, alpha: float
) -> None:
    """Fill `buff` [N] with p times the derivative of the loss by p, and `grad_input` [N, C] with that by the logits."""
    softmax = widen(input)
    p = _target_probability(softmax, target)
    wrong = (1 - p).clamp(min=torch.finfo(p.dtype).tiny)  # gamma < 1, p = 1: wrong^(gamma - 1) is infinite, log p is 0
    slope = alpha * (gamma * wrong ** (gamma - 1) * p * p.log() - wrong**gamma)
    slope = torch.where(target >= 0, slope, 0.0)
    if weight.numel():
        slope = slope * _row_weight(weight, target)
    buff.copy_(slope)
    grad_input.copy_(slope[:, None] * (_one_hot(target, softmax) - softmax))
