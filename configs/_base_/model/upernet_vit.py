"""UperNet on a plain ViT, as MAE and BEiT use it (arXiv 2111.06377, app. A.4): four blocks' maps at strides 4 to 32."""
_base_ = "mmseg::_base_/models/upernet_mae.py"

norm_cfg = dict(type="BN", requires_grad=True)  # synchronised on several GPUs, see transfer_runtime.py
model = dict(
    backbone=dict(
        _delete_=True,
        type="mimtransfer.TimmViT",
        arch="vit_base_patch16_224",
        img_size=512,
        out_indices=(3, 5, 7, 11),
        final_norm=False,
        rel_pos="bias",
        layer_scale=1.0,
        drop_path_rate=0.1,
    ),
    neck=dict(embed_dim=768, norm_cfg=norm_cfg),
    decode_head=dict(in_channels=[768, 768, 768, 768], channels=768, num_classes=150, norm_cfg=norm_cfg),
    auxiliary_head=dict(in_channels=768, num_classes=150, norm_cfg=norm_cfg),
)
