"""SyncBN where there is no GPU: torch's refuses tensors of the CPU."""
from __future__ import annotations

import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.distributed.nn.functional import all_reduce


class HostSyncBatchNorm(nn.SyncBatchNorm):
    """Batch norm by mean and variance of the whole batch of all processes, by two sums over them.

    On a GPU, in evaluation and in a single process it is torch's. Processes may hold unequal parts of the batch.
    """

    def forward(self, images: Tensor) -> Tensor:
        """Normalise [B, C, ...]."""
        together = dist.is_available() and dist.is_initialized() and dist.get_world_size(self.process_group) > 1
        if images.device.type != "cpu" or not self.training or not together:
            return super().forward(images)
        self._check_input_dim(images)
        group = self.process_group or dist.group.WORLD
        axes = [axis for axis in range(images.dim()) if axis != 1]
        own = images.new_full((1,), images.numel() / images.shape[1])
        sums = all_reduce(torch.cat([images.sum(axes), own]), group=group)
        count = sums[-1].detach()
        mean = sums[:-1] / count
        shape = [1, -1] + [1] * (images.dim() - 2)
        centred = images - mean.view(shape)
        variance = all_reduce(centred.square().sum(axes), group=group) / count
        if self.track_running_stats:
            self._note(mean.detach(), variance.detach() * count / (count - 1))
        normal = centred * (variance + self.eps).rsqrt().view(shape)
        return normal if self.weight is None else normal * self.weight.view(shape) + self.bias.view(shape)

    def _note(self, mean: Tensor, variance: Tensor) -> None:
        assert self.num_batches_tracked is not None and self.running_mean is not None and self.running_var is not None
        self.num_batches_tracked.add_(1)
        momentum = 1 / int(self.num_batches_tracked) if self.momentum is None else self.momentum
        self.running_mean.lerp_(mean, momentum)
        self.running_var.lerp_(variance, momentum)


def run_sync_norms_on_host(model: nn.Module) -> None:
    """Let the SyncBN layers of a model run without a GPU; parameters, buffers and names stay."""
    for module in model.modules():
        if type(module) is nn.SyncBatchNorm:
            module.__class__ = HostSyncBatchNorm
