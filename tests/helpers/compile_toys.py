"""Pretraining methods so small that a compile takes a second, and batches of which only the content differs."""
import multiprocessing

import brightness_tokenizer  # noqa: F401  registers it
import torch
import torch._dynamo
import torch.distributed as dist
from mmengine.model import MMDistributedDataParallel
from mmengine.optim import OptimWrapper
from mmengine.registry import init_default_scope
from torch._dynamo.testing import CompileCounterWithBackend

import pretrain.methods  # noqa: F401
from mimtransfer.registry import MODELS
from pretrain.aug_record import AugRecord

ENCODER = dict(type="TimmViT", arch="vit_tiny_patch16_224", img_size=32, patch_size=8,
               model_kwargs=dict(embed_dim=48, depth=1, num_heads=3))
RANDOM = dict(type="RandomMasking", mask_ratio=0.75)
TOKENIZER = dict(type="BrightnessTokenizer")
MAE = dict(type="MAE", encoder=dict(ENCODER, pos_embed="sincos"), decoder=dict(embed_dim=32, depth=1, num_heads=2))
SWIN = dict(type="TimmSwin", arch="swin_tiny_patch4_window7_224", img_size=32, window_size=4,
            model_kwargs=dict(embed_dim=16, depths=(1, 1), num_heads=(1, 2)))
AMT = dict(mask_ratio=0.45, throw_ratio=0.4, warmup=RANDOM)
# In each another graph: other layouts (block, grid, noise) are other numbers to the same one.
METHODS = {
    "MAE": MAE,
    "SimMIM": dict(type="SimMIM", encoder=ENCODER, strategy=dict(type="RandomMasking", mask_ratio=0.5, unit=2)),
    "SimMIM of a Swin": dict(type="SimMIM", encoder=SWIN, strategy=dict(type="RandomMasking", mask_ratio=0.5)),
    "SimMIM that throws": dict(type="SimMIM", encoder=dict(ENCODER, rel_pos="bias", pos_embed="none"),
                               strategy=dict(type="RandomMasking", mask_ratio=0.5, throw_ratio=0.25)),
    "BEiT of blocks": dict(type="BEiT", encoder=dict(ENCODER, layer_scale=0.1), tokenizer=TOKENIZER,
                           strategy=dict(type="BlockMasking", mask_ratio=0.375, area=(0.1, 0.375))),
    "MaPeT": dict(type="MaPeT", encoder=ENCODER, tokenizer=TOKENIZER, strategy=RANDOM),
    "MFM": dict(type="MFM", encoder=ENCODER, corruption=dict(type="FrequencyMasking", radius=3)),
    "MAE, cross decoder": dict(MAE, decoder=dict(type="CrossDecoder", embed_dim=32, depth=1, num_heads=2,
                                                 predict_ratio=0.25)),
    "MAE, 2 masks": dict(MAE, masks_per_image=2),
    "I-JEPA": dict(type="IJEPA", encoder=dict(ENCODER, pos_embed="sincos"),
                   predictor=dict(embed_dim=32, depth=1, num_heads=2)),
    "data2vec 2.0": dict(type="Data2Vec2", encoder=dict(ENCODER, pos_embed="sincos", post_norm=True), masks_per_image=2,
                         decoder=dict(embed_dim=32, depth=2, groups=4, noise_std=0.0), top_blocks=1, cls_weight=1.0),
    "MAE, recomputed": dict(MAE, encoder=dict(MAE["encoder"], grad_checkpointing=True)),
}
MEASURED = {
    "AMT": dict(MAE, strategy=dict(type="AMTMasking", **AMT)),
    "FAMT": dict(MAE, strategy=dict(type="FAMTMasking", **AMT)),
    "semantic": dict(MAE, strategy=dict(type="SemanticMasking", mask_ratio=0.75, warmup=RANDOM)),
}
PRELOADED = ["compile_toys", "mimtransfer.backbones"]
PREPROCESSOR = dict(type="ImgDataPreprocessor", mean=[123.675, 116.28, 103.53], std=[58.395, 57.12, 57.375])


def build(config, **kwargs):
    torch.manual_seed(0)
    return MODELS.build(dict(config, data_preprocessor=PREPROCESSOR, **kwargs)).train()


def raw_batch(seed, images=2):
    """Return a batch as a loader gives it; only its content depends on the seed."""
    numbers = torch.Generator().manual_seed(seed)
    record = AugRecord(torch.arange(images), torch.randint(0, 2**40, (images,), generator=numbers),
                       torch.tensor([[0.1, 0.1, 0.9, 0.9]]).repeat(images, 1),
                       torch.rand(images, generator=numbers) < 0.5)
    return dict(inputs=torch.randint(0, 256, (images, 3, 32, 32), dtype=torch.uint8, generator=numbers), record=record)


def step(model, seed):
    """Return the loss of a batch and the gradients of all trained parameters, one after the other."""
    model.zero_grad()
    loss = model(**model.data_preprocessor(raw_batch(seed), True))["loss"]
    loss.backward()
    grads = [parameter.grad.flatten() for parameter in model.parameters() if parameter.grad is not None]
    return loss.detach(), torch.cat(grads)


def train_in_two_processes(folder):
    """Train eagerly and compiled under DDP; return losses and weights of both, graphs and breaks, for each rank."""
    context = multiprocessing.get_context("forkserver")
    context.set_forkserver_preload(PRELOADED)
    ranks = [context.Process(target=_train_wrapped, args=(rank, str(folder))) for rank in range(2)]
    for rank in ranks:
        rank.start()
    for rank in ranks:
        rank.join(240)
    assert [rank.exitcode for rank in ranks] == [0, 0]
    return [torch.load(f"{folder}/{rank}.pt") for rank in range(2)]


def _train_wrapped(rank, folder):
    torch.set_num_threads(1)
    dist.init_process_group("gloo", init_method=f"file://{folder}/store", rank=rank, world_size=2)
    init_default_scope("mimtransfer")
    weights, counter = [], CompileCounterWithBackend("aot_eager")
    wide = dict(MAE, encoder=dict(MAE["encoder"], model_kwargs=dict(embed_dim=48, depth=2, num_heads=3, mlp_ratio=64)))
    for backend in (False, counter):
        model = build(wide, compile_loss=backend)
        wrapped = MMDistributedDataParallel(model, device_ids=None, broadcast_buffers=False, bucket_cap_mb=1)
        optim = OptimWrapper(torch.optim.SGD(model.parameters(), lr=0.1))
        with torch._dynamo.config.patch(error_on_recompile=True):
            losses = [wrapped.train_step(raw_batch(2 * seed + rank), optim)["loss"] for seed in range(3)]
        weights.append((torch.stack(losses), torch.nn.utils.parameters_to_vector(model.parameters())))
    breaks = dict(torch._dynamo.utils.counters["graph_break"])
    torch.save((weights, counter.frame_count, breaks), f"{folder}/{rank}.pt")
    dist.destroy_process_group()
