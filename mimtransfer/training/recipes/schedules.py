"""Schedules that config files call by name: `param_scheduler = warmup_cosine(epochs=400, warmup=40)`.

Each function returns plain dictionaries with mmengine's own keys, so a dumped config holds numbers, not calls.
"""

Scheduler = list[dict]
COCO_IMAGES = 118000  # the training images of COCO, as ViTDet counts them


def warmup_cosine(
    epochs: int, warmup: int, start_factor: float = 1e-6, eta_min_ratio: float | None = None
) -> Scheduler:
    """Return linear warm-up, then half a cosine; both are counted in epochs and step with every iteration.

    Args:
        epochs: length of the run.
        warmup: epochs of warm-up, fewer than `epochs`.
        start_factor: first lr, as a fraction of the peak lr.
        eta_min_ratio: last lr, as a fraction of the peak lr. Default: 0, written as `eta_min`.
    """
    end = {"eta_min": 0.0} if eta_min_ratio is None else {"eta_min_ratio": eta_min_ratio}
    return [
        _warmup(warmup, start_factor, by_epoch=True, convert_to_iter_based=True),
        dict(type="CosineAnnealingLR", T_max=epochs - warmup, **end, begin=warmup, end=epochs, by_epoch=True,
             convert_to_iter_based=True),
    ]


def weight_decay_cosine(epochs: int, end_ratio: float) -> dict:
    """Return half a cosine of the weight decay over a whole run, from its value in the config, to be put behind the
    schedule of the lr. What is not decayed stays so.

    Args:
        end_ratio: last weight decay, as a multiple of the first.
    """
    return dict(type="CosineAnnealingParamScheduler", param_name="weight_decay", T_max=epochs, eta_min_ratio=end_ratio,
                begin=0, end=epochs, by_epoch=True, convert_to_iter_based=True)


def iteration_cosine(
    iters: int, warmup: int, start_factor: float = 0.01, val_interval: int | None = None
) -> tuple[dict, Scheduler]:
    """Return `train_cfg, param_scheduler` of a run counted in iterations: warm-up, then half a cosine to 0.

    Args:
        val_interval: iterations between two evaluations. Default: one evaluation, at the end.
    """
    return _loop(iters, val_interval), [
        _warmup(warmup, start_factor, by_epoch=False),
        dict(type="CosineAnnealingLR", eta_min=0.0, by_epoch=False, begin=warmup, T_max=iters - warmup, end=iters),
    ]


def iteration_linear(
    iters: int, warmup: int = 1500, start_factor: float = 1e-6, val_interval: int | None = None
) -> tuple[dict, Scheduler]:
    """Return `train_cfg, param_scheduler` of UperNet: warm-up, then linearly to 0 (MAE and BEiT on ADE20K).

    Args:
        val_interval: iterations between two evaluations. Default: one evaluation, at the end.
    """
    return _loop(iters, val_interval), [
        _warmup(warmup, start_factor, by_epoch=False),
        dict(type="PolyLR", eta_min=0.0, power=1.0, by_epoch=False, begin=warmup, end=iters),
    ]


def vitdet_schedule(
    epochs: int, images: int = COCO_IMAGES, batch: int = 64, val_interval: int = 20000
) -> tuple[dict, Scheduler]:
    """Return `train_cfg, param_scheduler` of ViTDet (arXiv 2203.16527): a tenth of the lr twice, near the end.

    The steps are at 8/9 and 26/27 of the run. A run of other than 100 epochs has the steps of 100 epochs scaled and
    rounded down, as detectron2's configs do. The warm-up sees 16000 images, 250 iterations of 64.

    Args:
        epochs: length of the run.
        images: in one epoch.
        batch: images of one iteration on all devices; an iteration that only accumulates counts.
        val_interval: iterations between two evaluations; there is one more at the end.
    """
    iters = round(epochs * images / batch)
    milestones = [round(100 * images / batch * part) * epochs // 100 for part in (8 / 9, 26 / 27)]
    return _long_loop(iters, val_interval), [
        _warmup(16000 // batch, 0.001, by_epoch=False),
        dict(type="MultiStepLR", milestones=milestones, gamma=0.1, by_epoch=False, begin=0, end=iters),
    ]


def mae_detection_schedule(
    epochs: int, images: int = COCO_IMAGES, batch: int = 64, val_interval: int = 20000
) -> tuple[dict, Scheduler]:
    """Return `train_cfg, param_scheduler` of MAE's detection before ViTDet (arXiv 2111.11429): a cosine to 0.

    The warm-up is a quarter of an epoch. Arguments as of `vitdet_schedule`.
    """
    iters = round(epochs * images / batch)
    _, schedule = iteration_cosine(iters, round(images / batch / 4), start_factor=0.001)
    return _long_loop(iters, val_interval), schedule


def linear_sweep(batch_size: int) -> dict:
    """Return `test_cfg` of linear probes on cached features of small data: 7 learning rates x 3 weight decays.

    Args:
        batch_size: of the probes; the lr is scaled by it.
    """
    return dict(
        type="LinearSweepLoop",
        lrs=(0.1, 0.3, 1.0, 3.0, 10.0, 30.0, 100.0),  # small data need high ones
        weight_decays=(0.0, 1e-4, 1e-2),
        optimizer=dict(type="LARS", momentum=0.9),
        epochs=90,
        warmup_epochs=10,
        batch_size=batch_size,
    )


def _warmup(length: int, start_factor: float, **unit: bool) -> dict:
    return dict(type="LinearLR", start_factor=start_factor, begin=0, end=length, **unit)


def _loop(iters: int, val_interval: int | None) -> dict:
    return dict(type="IterBasedTrainLoop", max_iters=iters, val_interval=val_interval or iters)


def _long_loop(iters: int, val_interval: int) -> dict:
    last = iters // val_interval * val_interval + 1  # from here on the next evaluation is that of the end
    return dict(_loop(iters, val_interval), dynamic_intervals=[(last, iters)])
