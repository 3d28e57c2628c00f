"""SimMIM with Swin-B at 192 pixels, window 6 (arXiv 2111.09886): 22 of the 36 cells of 32 x 32 pixels masked.

The official count is ceil(0.6 * 36) = 22; 0.6 here would give floor(21.6) = 21. A cell is one output token, so unit 1.
"""
model = dict(
    type="SimMIM",
    encoder=dict(type="TimmSwin", arch="swin_base_patch4_window7_224", img_size=192, window_size=6),
    strategy=dict(type="RandomMasking", mask_ratio=22 / 36),
    data_preprocessor=dict(
        type="ImgDataPreprocessor", mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375], non_blocking=True
    ),
)
