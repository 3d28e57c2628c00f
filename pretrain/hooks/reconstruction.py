"""Draw what the method restores, while it trains: files under the run's `vis_data`, and TensorBoard."""
from contextlib import suppress
from typing import Any

import torch
from mmengine.dist import master_only
from mmengine.hooks import Hook
from mmengine.model import is_model_wrapper

from mimtransfer.errors import UserError
from mimtransfer.registry import HOOKS
from pretrain.pictures import attention_columns, picture_columns, tile


@HOOKS.register_module()
class ReconstructionHook(Hook):
    """Show what `pretrain.pictures.picture_columns` gives: image, roles or corruption, reconstruction ..., one image to
    a row.

    The images are the first of the run's first batch. The last epoch also shows the encoder's attention to them.

    Args:
        interval: epochs between pictures; the last epoch always has one.
        num_images: rows of the picture.
    """

    priority = "BELOW_NORMAL"

    def __init__(self, interval: int = 10, num_images: int = 4):
        self.interval, self.num_images = interval, num_images
        self._batch: dict[str, Any] | None = None

    def before_train_iter(self, runner, batch_idx: int, data_batch: Any = None) -> None:
        """Keep the first batch of the run: the same pictures each time make progress visible."""
        if self._batch is None:
            record = data_batch["record"]
            parts = {name: data_batch[name][: self.num_images].clone() for name in data_batch if name != "record"}
            kept = type(record)(*(part[: self.num_images].clone() for part in record))
            self._batch = {**parts, "record": kept}

    @master_only
    def after_train_epoch(self, runner) -> None:
        """Draw when it is time."""
        if not (self.every_n_epochs(runner, self.interval) or self.is_last_train_epoch(runner)):
            return
        model = runner.model.module if is_model_wrapper(runner.model) else runner.model
        was_training = model.training
        model.eval()
        with torch.no_grad():
            batch = model.data_preprocessor(self._batch)
            pictures = {"reconstruction": picture_columns(model, batch["inputs"], batch["record"])[0]}
            if self.is_last_train_epoch(runner):
                with suppress(UserError):  # an encoder without attention over the whole image
                    pictures["attention"] = attention_columns(model, batch["inputs"])
        model.train(was_training)
        for name, columns in pictures.items():
            runner.visualizer.add_image(name, tile(columns), step=runner.epoch + 1)
