"""Every shipped transfer config: it resolves to its recipe, its model and optimizer build."""
import pytest
import torch
from mmengine.registry import MODELS
from transfer_configs import LEAVES, ROOT, build, build_all, load, nodes, num_classes

from mimtransfer.datasets.configured import classes_of, leaves
from mimtransfer.datasets.scenes.style import DEFAULT_THINGS, STUFF

pytestmark = pytest.mark.usefixtures("quick_weights")
VITDET = "detection/mask-rcnn_vitdet_vit-base_100e_coco.py"
ADE20K = "segmentation/upernet_vit-base_160k_ade20k-512x512.py"
DEMO_DET = "detection/mask-rcnn_vit-demo_scenes.py"
DEMO_SEG = "segmentation/upernet_vit-demo_scenes.py"


def test_the_shipped_set():
    assert {VITDET, ADE20K, DEMO_DET, DEMO_SEG} < set(LEAVES)


@pytest.mark.parametrize("leaf", LEAVES)
def test_resolves_and_builds(leaf):
    cfg = load(leaf)
    assert cfg.task == leaf.split("/")[0] and cfg.protocol
    assert [h["type"] for h in cfg.custom_hooks] == [
        "mimtransfer.RecordHook", "mimtransfer.PredictionPictureHook"
    ]
    assert '"""' in (ROOT / leaf).read_text()[:3] and "Command" in (ROOT / leaf).read_text()
    # nothing of the bases' own backbone or synchronised BN is left
    assert cfg.model.backbone.type in ("mimtransfer.TimmViT", "mimtransfer.TimmCNN")
    assert "depth" not in cfg.model.backbone and not cfg.model.get("pretrained")
    assert not [n for n in nodes(cfg.model.to_dict()) if n.get("type") in ("SyncBN", "MMSyncBN")]
    for split in ("train", "val", "test"):
        for dataset in leaves(cfg[f"{split}_dataloader"].dataset):
            assert set(num_classes(cfg)) == {len(classes_of(dataset))}
    # the schedule ends where training ends
    last = cfg.param_scheduler[-1]
    assert last["end"] == (cfg.train_cfg.max_epochs if last["by_epoch"] else cfg.train_cfg.max_iters)
    build_all(cfg)


@pytest.mark.parametrize("leaf", [leaf for leaf in LEAVES if "resnet" not in leaf])
def test_rates_of_a_vit(leaf):
    cfg = load(leaf)
    assert cfg.model.backbone.type == "mimtransfer.TimmViT"
    assert set(cfg.optim_wrapper.optimizer) == {"type", "lr", "betas", "weight_decay"}  # nothing of SGD
    model, wrapper = build_all(cfg)
    rate, layers = cfg.optim_wrapper.paramwise_cfg.layer_decay_rate, len(model.backbone.blocks)
    lrs = sorted({g["lr"] for g in wrapper.optimizer.param_groups})
    base = cfg.optim_wrapper.optimizer.lr
    frozen = cfg.model.backbone.get("frozen_stages", -1) + 1
    scales = {rate ** (layers + 1 - i) for i in range(frozen, layers + 2)}
    assert lrs == pytest.approx([base * scale for scale in sorted(scales)])
    # the ratios survive the schedule: no absolute floor of the lr
    assert all(s.get("eta_min", 0.0) == 0.0 for s in cfg.param_scheduler)
    cosine = [s for s in cfg.param_scheduler if s["type"] == "CosineAnnealingLR"]
    assert all(s["begin"] + s["T_max"] == s["end"] for s in cosine)


def test_vitdet_is_the_published_recipe():
    cfg = load(VITDET)
    model, wrapper = build_all(cfg)
    assert sum(p.numel() for p in model.parameters()) == pytest.approx(110.9e6, rel=1e-3)
    attention = [b.attn for b in model.backbone.blocks]
    tables = [tuple(a.rel_pos_h.shape) for a in attention]
    assert [i for i, t in enumerate(tables) if t == (127, 64)] == [2, 5, 8, 11]  # 64 x 64 patches: 2 * 64 - 1
    assert set(tables) == {(127, 64), (27, 64)}
    assert model.rpn_head.num_convs == 2 and model.roi_head.bbox_head.num_shared_convs == 4
    assert cfg.param_scheduler[1].milestones == [163889, 177546] and cfg.train_cfg.max_iters == 100 * 118000 // 64
    names = {id(p): n for n, p in model.named_parameters()}
    decay = {names[id(p)]: g["weight_decay"] for g in wrapper.optimizer.param_groups for p in g["params"]}
    assert decay["backbone.blocks.0.attn.rel_pos_h"] == decay["backbone.blocks.0.attn.qkv.bias"] == 0.1
    assert decay["backbone.pos_embed"] == decay["backbone.blocks.3.norm1.weight"] == 0.0


def test_ade20k_is_the_published_recipe():
    cfg = load(ADE20K)
    model, _ = build_all(cfg)
    assert (model.decode_head.channels, model.decode_head.num_classes) == (768, 150)
    assert cfg.model.auxiliary_head.loss_decode.loss_weight == 0.4 and model.auxiliary_head.in_index == 2
    assert model.test_cfg == dict(mode="slide", crop_size=(512, 512), stride=(341, 341))
    assert model.backbone.blocks[0].attn.relative_position_bias_table.shape[1] == 12
    assert cfg.param_scheduler[0].end == 1500 and cfg.train_cfg.max_iters == 160000
    assert cfg.train_dataloader.batch_size * 8 == cfg.auto_scale_lr.base_batch_size == 16


def test_a_protocol_is_one_config():
    assert len({load(leaf).protocol for leaf in LEAVES}) == len(LEAVES)


def test_demo_pair_shares_its_vit_and_the_scenes():
    det, seg = load(DEMO_DET), load(DEMO_SEG)
    for key, value in det.vit.items():
        assert det.model.backbone[key] == seg.model.backbone[key] == value
    assert tuple(det.metainfo.classes) == DEFAULT_THINGS
    assert tuple(seg.metainfo.classes) == DEFAULT_THINGS + STUFF


@pytest.mark.parametrize("leaf", [leaf for leaf in LEAVES if "/linear_" in leaf or "_frozen-" in leaf])
def test_on_a_frozen_backbone_only_what_lies_behind_it_is_trained(leaf):
    """And the final norm, whose scale and shift a linear layer could take up."""
    model = build(load(leaf)).train()
    trained = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    assert {name for name in trained if name.startswith("backbone.")} == {"backbone.norm.weight", "backbone.norm.bias"}
    behind = {name for name, _ in model.named_parameters() if not name.startswith("backbone.")}
    assert behind and behind == trained - {"backbone.norm.weight", "backbone.norm.bias"}


def test_the_linear_probe_of_blocks_is_batch_norm_and_one_layer_in_float64():
    cfg = load("segmentation/linear_vit-base-4-blocks_40k_ade20k-512x512.py")
    torch.manual_seed(0)
    neck, head = (MODELS.build(cfg.model[part]).train() for part in ("neck", "decode_head"))
    torch.nn.init.normal_(head.conv_seg.weight, std=0.02)
    maps = [torch.randn(3, 768, 4, 5) * scale + scale for scale in (1.0, 3.0, 0.2, 10.0)]
    tokens = torch.cat(maps, dim=1).double().movedim(1, -1)
    normal = (tokens - tokens.mean((0, 1, 2))) / (tokens.var((0, 1, 2), correction=0) + 1e-5).sqrt()
    weight, bias = head.conv_seg.weight.double()[:, :, 0, 0], head.conv_seg.bias.double()
    expected = (normal @ weight.T + bias).movedim(-1, 1)
    torch.testing.assert_close(head(neck(maps)).double(), expected, atol=1e-4, rtol=1e-5)
