"""Parts of models that config files call by name: the sizes of a plain ViT as detectors and UperNet use them.

Each function returns plain dictionaries, to be merged into those of a base; nothing heavy is imported.
"""

# width, blocks after which ViTDet attends globally, drop path of ViTDet (arXiv 2203.16527, table 13)
_VITDET = {
    "vit_small_patch16_224": (384, (2, 5, 8, 11), 0.1),
    "vit_base_patch16_224": (768, (2, 5, 8, 11), 0.1),
    "vit_large_patch16_224": (1024, (5, 11, 17, 23), 0.4),
    "vit_huge_patch14_224": (1280, (7, 15, 23, 31), 0.5),
}
# width, blocks whose maps UperNet takes, drop path (MAE, arXiv 2111.06377, app. A.4, and BEiT)
_UPERNET = {
    "vit_small_patch16_224": (384, (3, 5, 7, 11), 0.1),
    "vit_large_patch16_224": (1024, (7, 11, 15, 23), 0.2),
}


def vitdet_backbone(image_size: int = 1024) -> dict:
    """Return ViTDet's ViT-B/16: windows of 14, four global blocks, relative positions for images of `image_size`."""
    width_and_blocks = _VITDET["vit_base_patch16_224"]
    return dict(
        type="mimtransfer.TimmViT",
        arch="vit_base_patch16_224",
        img_size=224,  # of the pretrained position embedding; resampled in the forward pass, as in the paper
        pos_antialias=False,  # detectron2's bicubic
        out_indices=(-1,),
        final_norm=False,
        window_size=14,
        global_blocks=width_and_blocks[1],
        rel_pos="decomposed",
        rel_pos_size=image_size,
        drop_path_rate=width_and_blocks[2],
    )


def vitdet_size(arch: str, **backbone: object) -> dict:
    """Return what `model` of another size changes in a ViTDet detector of ViT-B.

    Args:
        arch: a ViT of timm, small to huge. The huge one has patches of 16 here: a checkpoint of 14 is resampled.
        backbone: further settings of the backbone, or others than the published ones, e.g. `drop_path_rate=0.4`.
    """
    width, blocks, drop_path = _VITDET[arch]
    patch = {"patch_size": 16} if "patch14" in arch else {}
    return dict(
        backbone=dict(arch=arch, **patch, **{"global_blocks": blocks, "drop_path_rate": drop_path, **backbone}),
        neck=dict(in_channels=width),
    )


def upernet_size(arch: str, **backbone: object) -> dict:
    """Return what `model` of another size changes in an UperNet of ViT-B; arguments as of `vitdet_size`."""
    width, blocks, drop_path = _UPERNET[arch]
    return dict(
        backbone=dict(arch=arch, **{"out_indices": blocks, "drop_path_rate": drop_path, **backbone}),
        neck=dict(embed_dim=width),
        decode_head=dict(in_channels=[width] * 4, channels=width),
        auxiliary_head=dict(in_channels=width),
    )


def sliding_window(
    crop_size: tuple[int, int], stride: tuple[int, int], num_classes: int | None = None,
    img_size: int | tuple[int, int] | None = None,
) -> dict:
    """Return what `model` of mmseg changes for crops of `crop_size`: their padding, and the test by sliding window.

    Args:
        crop_size: height and width in pixels.
        stride: of the window, height and width in pixels; commonly two thirds of the crop.
        num_classes: of both heads, where the base has another number.
        img_size: of the backbone, where the base has another.
    """
    heads = {} if num_classes is None else {
        head: dict(num_classes=num_classes) for head in ("decode_head", "auxiliary_head")
    }
    backbone = {} if img_size is None else {"backbone": dict(img_size=img_size)}
    test = dict(_delete_=True, mode="slide", crop_size=crop_size, stride=stride)
    return dict(data_preprocessor=dict(size=crop_size), test_cfg=test, **backbone, **heads)
