"""`source='teacher'`: maps of the very crops of a batch, from the forward pass of the targets."""
from unittest import mock

import pytest
import torch
from latent_toys import METHODS, build
from shipped_configs import load

from mimtransfer.backbones.inspect import view_block
from mimtransfer.draws import SampleGenerator
from mimtransfer.errors import UserError
from mimtransfer.registry import HOOKS, MASKINGS, MODELS
from pretrain.aug_record import AugRecord, StoredRecord
from pretrain.benchmarks.steps import loss_flops
from pretrain.methods.teacher import Latents
from pretrain.pictures import picture_columns
from pretrain.runner import _check_maps

AMT = dict(type="AMTMasking", mask_ratio=0.25, throw_ratio=0.25, source="teacher",
           warmup=dict(type="RandomMasking", mask_ratio=0.75))
KINDS = [("IJEPA", "AMTMasking", {}), ("Data2Vec2", "FAMTMasking", {}),
         ("Data2Vec2", "AMTMasking", dict(post_norm=True)), ("Data2Vec2", "SemanticMasking", {})]


def method(name, strategy="AMTMasking", masks=2, **encoder):
    torch.manual_seed(0)
    config = METHODS[name]
    return MODELS.build(dict(config, strategy=dict(AMT, type=strategy), masks_per_image=masks,
                             encoder=dict(config["encoder"], **encoder))).train()


def batch(images=3):
    """Crops and flips that a map of these very images must not follow."""
    box = torch.tensor([0.1, 0.2, 0.6, 0.5]).repeat(images, 1)
    record = AugRecord(torch.arange(images), torch.arange(images) + 7, box, torch.ones(images, dtype=torch.bool))
    return torch.randn(images, 3, 32, 32, generator=torch.Generator().manual_seed(1)), record


@pytest.mark.parametrize(("name", "strategy", "encoder"), KINDS)
def test_maps_are_those_of_the_teacher_on_these_images(name, strategy, encoder):
    model, (images, record) = method(name, strategy, **encoder), batch()
    drawn = model.draw_layout(images, record, 2)
    assert isinstance(drawn, Latents) and model.strategy.bank is None
    torch.testing.assert_close(drawn.targets, model.targets(images))
    with torch.no_grad():
        maps = model.strategy.measure(view_block(model.teacher, images))
    whole = record._replace(box=torch.tensor([[0.0, 0.0, 1.0, 1.0]]).repeat(3, 1), flip=torch.zeros(3).bool())
    expected = model.strategy(images, StoredRecord(*whole, maps=maps, ids=None), (4, 4),
                              SampleGenerator(record.seed).spread(2))
    assert all(torch.equal(*parts) for parts in zip(drawn.layout, expected))
    assert drawn.layout.masked.shape == (6, 4)
    # The same loss as of a layout from anywhere, and no second pass of the teacher.
    torch.manual_seed(1)
    loss = model.loss(images, drawn.layout)["loss"]
    torch.manual_seed(1)
    model.targets = None
    torch.testing.assert_close(model.loss(images, drawn)["loss"], loss)


def test_patches_are_masked_as_often_as_they_are_attended_to():
    model, (images, record) = method("IJEPA", masks=1), batch(1000)
    images = images[:1].expand(1000, -1, -1, -1)
    maps = model.strategy.measure(view_block(model.teacher, images[:1])).flatten()
    first = torch.bincount(model.draw_layout(images, record).layout.masked[:, 0], minlength=16) / 1000
    assert (first - maps / maps.sum()).abs().max() < 0.04


def test_attention_of_a_post_norm_block_is_that_of_its_inputs():
    torch.manual_seed(0)
    encoder = MODELS.build(dict(METHODS["IJEPA"]["encoder"], post_norm=True)).eval()
    images = batch()[0]
    view, seen = view_block(encoder, images), []
    encoder.blocks[-1].attn.register_forward_pre_hook(lambda attn, args: seen.append(args[0]))
    assert torch.equal(view.output, encoder.blocks[-1](view._inputs))
    q, k, _ = encoder.blocks[-1].attn.qkv(seen[0]).unflatten(2, (3, 3, 16)).permute(2, 0, 3, 1, 4)
    torch.testing.assert_close(view.attention, (q @ k.transpose(2, 3) / 4).softmax(3))


class Loop:
    """What the hook reads of a Runner."""

    iter, max_iters = 0, 100

    def __init__(self, model):
        self.model, self.hooks = model, []


def test_the_warm_up_decides_until_the_share_of_the_training():
    model, (images, record) = method("IJEPA"), batch()
    runner, hook, masked = Loop(model), HOOKS.build(dict(type="TeacherHook")), {}
    hook.before_train(runner)
    for runner.iter in (0, 9, 10, 99):
        hook.before_train_iter(runner, 0)
        drawn = model.draw_layout(images, record)
        masked[runner.iter] = (drawn.layout if isinstance(drawn, Latents) else drawn).masked.shape[1]
    assert masked == {0: 12, 9: 12, 10: 4, 99: 4}  # 3 of 4 by the warm-up, 1 of 4 by AMT
    model.data_preprocessor = MODELS.build(dict(type="ImgDataPreprocessor", mean=[0.0] * 3, std=[1.0] * 3))
    columns, drawn = picture_columns(model.eval(), images, record)  # they show roles
    assert drawn.masked.shape[1] == 4 and "roles" in columns


def test_without_a_teacher_or_with_a_bank_it_is_refused():
    with pytest.raises(UserError, match="MAE: got a strategy with source='teacher', but it has no teacher"):
        MODELS.build(dict(type="MAE", encoder=METHODS["IJEPA"]["encoder"], strategy=AMT))
    with pytest.raises(UserError, match="AMTMasking: got source='student'; expected 'bank' or 'teacher'"):
        MASKINGS.build(dict(AMT, source="student"))
    with pytest.raises(UserError, match="FAMTMasking: got legacy_crop=True with source='teacher'"):
        MASKINGS.build(dict(AMT, type="FAMTMasking", legacy_crop=True))
    runner = Loop(method("IJEPA"))
    _check_maps(runner)
    runner.hooks.append(HOOKS.build(dict(type="MapBankHook")))
    with pytest.raises(UserError, match="AMTMasking has source='teacher' and reads no bank: remove MapBankHook"):
        _check_maps(runner)
    shipped = load("pretrain/data2vec2_amt_vit-tiny-p4_10e_cifar10.py")
    assert build("IJEPA").maps_begin == shipped.model.maps_begin == 0.1


@pytest.mark.parametrize(("name", "strategy"), [("IJEPA", "AMTMasking"), ("Data2Vec2", "FAMTMasking")])
def test_operations_count_one_pass_of_the_teacher(name, strategy):
    """In evaluation mode too, in which operations are counted, whether or not those of drawing are asked for."""
    model, (images, record) = method(name, strategy), batch(2)
    passes = []
    model.teacher.blocks[0].attn.register_forward_hook(lambda *_: passes.append(1))
    flops, counted = [], []
    for drawing in (True, False):
        with mock.patch("pretrain.benchmarks.steps.count_flops", lambda work, times=1: work()):
            loss_flops(model, images, record, drawing)
        counted.append(len(passes))
        flops.append(loss_flops(model, images, record, drawing))
        passes.clear()
    assert counted == [1, 1] and flops[0] == flops[1] > 0


def test_an_encoder_that_has_no_map_is_refused_before_training():
    runner = Loop(method("IJEPA", model_kwargs=dict(embed_dim=48, depth=2, num_heads=3, class_token=False)))
    with pytest.raises(UserError, match="class attention: the encoder has no class token"):
        HOOKS.build(dict(type="TeacherHook")).before_train(runner)
    HOOKS.build(dict(type="TeacherHook")).before_train(Loop(method("IJEPA")))
