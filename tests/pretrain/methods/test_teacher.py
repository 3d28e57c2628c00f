"""The EMA teacher: how it follows, that a resume goes on with it, and which encoder is transferred."""
import pytest
import torch
from latent_toys import ENCODER, METHODS, build
from noise_images import make_images
from shipped_configs import load
from timm.models.vision_transformer import ParallelScalingBlock

from mimtransfer.checkpoints.load import load_backbone
from mimtransfer.checkpoints.newest import newest_checkpoint
from mimtransfer.checkpoints.safe_load import read_checkpoint
from mimtransfer.cli import launch
from mimtransfer.errors import UserError
from mimtransfer.registry import MODELS
from mimtransfer.results.record import read_record
from mimtransfer.training.safeguards import set_safeguards
from pretrain.benchmarks import marks
from pretrain.methods.data2vec2 import Data2Vec2
from pretrain.methods.ijepa import IJEPA
from pretrain.runner import build_runner


@pytest.mark.parametrize("name", METHODS)
def test_the_teacher_begins_as_the_student_and_follows_it(name):
    model = build(name)
    teacher, student = model.teacher.state_dict(), model.student.state_dict()
    assert (model.encoder is model.teacher) == (name == "IJEPA")
    assert all(torch.equal(teacher[key], student[key]) for key in teacher)
    assert not any(parameter.requires_grad for parameter in model.teacher.parameters())
    assert model.student.training and not any(module.training for module in model.teacher.modules())
    with torch.no_grad():
        for parameter in model.student.parameters():
            parameter.add_(1.0)
    before = model.teacher.norm.bias.clone()
    model.update_teacher(0.25)
    kept = model.momentum_at(0.25)
    torch.testing.assert_close(model.teacher.norm.bias, kept * before + (1 - kept) * model.student.norm.bias)


def test_the_momentum_is_linear_in_the_share_of_the_training():
    model = build("Data2Vec2")
    assert [round(model.momentum_at(share), 6) for share in (0.0, 0.25, 0.5, 1.0)] == [0.5, 0.7, 0.9, 0.9]
    jepa = build("IJEPA")
    assert [jepa.momentum_at(share) for share in (0.0, 0.5, 1.0)] == [0.5, 0.75, 1.0]
    before = jepa.teacher.norm.weight.clone()
    torch.nn.init.zeros_(jepa.student.norm.weight)
    jepa.update_teacher(1.0)
    assert torch.equal(jepa.teacher.norm.weight, before)  # keeps all of it


@pytest.fixture(scope="module")
def images(tmp_path_factory):
    return make_images(tmp_path_factory.mktemp("images"), 8, (32, 32))


def train(name, images, work_dir, resume=False, hooks=(), **options):
    """Train 2 epochs of 4 batches, two batches to a step, and return the momenta."""
    cfg = load("debug/mae_vit-debug_2e_folder.py")
    cfg.model = dict(METHODS[name], data_preprocessor=cfg.model.data_preprocessor, **options)
    cfg.train_dataloader.update(batch_size=2, num_workers=0)
    cfg.train_dataloader.pop("persistent_workers", None)
    cfg.train_dataloader.dataset.root = str(images)
    cfg.optim_wrapper.accumulative_counts = 2
    cfg.custom_hooks = [*(hook for hook in cfg.custom_hooks if hook.type == "SeedHook"), *hooks]
    cfg.work_dir = str(work_dir)
    launch.enter_scope(cfg)
    launch.set_resume(cfg, str(newest_checkpoint(work_dir)) if resume else None)
    set_safeguards(cfg)
    runner = build_runner(cfg)
    momenta, move = [], runner.model.update_teacher
    runner.model.update_teacher = lambda progress: momenta.append(runner.model.momentum_at(progress)) or move(progress)
    runner.train()
    return momenta


def test_a_resumed_run_has_the_same_teacher(images, tmp_path):
    """The hook moves it after each step of the optimizer, and a run that goes on from epoch 1 ends in the same bits;
    with drop path, and noise in the decoder.
    """
    name = "Data2Vec2"
    momenta = train(name, images, tmp_path / "whole")
    assert len(momenta) == 4  # of 8 batches
    assert momenta == pytest.approx([0.5 + 0.8 / 8, 0.5 + 0.8 * 3 / 8, 0.9, 0.9])
    whole = read_checkpoint(str(tmp_path / "whole/epoch_2.pth"))["state_dict"]
    (tmp_path / "cut").mkdir()
    (tmp_path / "whole/epoch_1.pth").rename(tmp_path / "cut/epoch_1.pth")
    (tmp_path / "cut/last_checkpoint").write_text(str(tmp_path / "cut/epoch_1.pth"))
    assert train(name, images, tmp_path / "cut", resume=True) == momenta[2:]
    resumed = read_checkpoint(str(tmp_path / "cut/epoch_2.pth"))["state_dict"]
    assert whole.keys() == resumed.keys() and all(torch.equal(whole[key], resumed[key]) for key in whole)
    assert not torch.equal(whole["encoder.norm.bias"], whole["teacher_encoder.norm.bias"])


def test_masks_of_an_image_are_counted_though_no_config_names_them(images, tmp_path):
    assert "masks_per_image" not in METHODS["IJEPA"]
    train("IJEPA", images, tmp_path, hooks=[dict(type="RecordHook")])
    assert read_record(tmp_path / "result.json")["schedule"]["masks_per_image"] == 4
    assert "16 images, 4 masks of each (64 masks; lr" in next(tmp_path.glob("*/*.log")).read_text()


def test_a_mark_has_the_teacher_of_its_step_and_counts_the_masks_of_the_warm_up(images, tmp_path, monkeypatch):
    """Whatever looks at a run is registered before the hook, and comes after it."""
    counted = []
    monkeypatch.setattr(marks, "loss_flops", lambda model, *rest, **named: counted.append(model.hands_maps) or 1)
    amt = dict(type="AMTMasking", source="teacher", warmup=dict(type="RandomMasking"))
    hook = dict(type="pretrain.benchmarks.marks.MarkHook", images=[0, 4], turn_epochs=2)
    train("IJEPA", images, tmp_path, hooks=[hook], strategy=amt, maps_begin=0.5)
    assert counted == [False, True]
    untrained, mark = (read_checkpoint(str(tmp_path / f"marks/images-{n}.pth"))["state_dict"] for n in (0, 4))
    # The teacher, which the first step moves.
    assert not torch.equal(untrained["encoder.blocks.0.attn.qkv.weight"], mark["encoder.blocks.0.attn.qkv.weight"])


@pytest.mark.parametrize(("name", "said", "left"), [
    ("IJEPA", "mimtransfer pretraining (encoder.*, the EMA teacher)", "student_encoder.*"),
    ("Data2Vec2", "mimtransfer pretraining (encoder.*, the student of an EMA teacher)", "teacher_encoder.*"),
])  # fmt: skip
def test_the_encoder_of_the_paper_is_transferred_and_the_report_says_so(name, said, left, tmp_path):
    model = build(name)
    with torch.no_grad():
        for number, part in enumerate((model.teacher, model.student)):
            part.norm.bias.fill_(number)
    torch.save({"state_dict": model.state_dict()}, tmp_path / "epoch_1.pth")
    backbone = MODELS.build(ENCODER)
    report = load_backbone(backbone, tmp_path / "epoch_1.pth")
    assert report.source == said and left in report.summary()
    assert (backbone.norm.bias == (0 if name == "IJEPA" else 1)).all()


def test_encoders_that_cannot_be_a_student_are_refused():
    swin = dict(type="TimmSwin", arch="swin_tiny_patch4_window7_224", img_size=32, window_size=4,
                model_kwargs=dict(embed_dim=16, depths=(1, 1), num_heads=(1, 2)))
    with pytest.raises(UserError, match="IJEPA: its student sees visible patches only, which TimmSwin cannot"):
        IJEPA(swin)
    with pytest.raises(UserError, match="Data2Vec2: got an encoder of GridBlock; expected timm's plain Block"):
        Data2Vec2(dict(ENCODER, rel_pos="bias"), top_blocks=1)
    with pytest.raises(UserError, match="post_norm of TimmViT needs timm's plain Block, got ParallelScalingBlock"):
        MODELS.build(dict(ENCODER, arch="vit_base_patch16_224", post_norm=True,
                          model_kwargs=dict(ENCODER["model_kwargs"], block_fn=ParallelScalingBlock)))
