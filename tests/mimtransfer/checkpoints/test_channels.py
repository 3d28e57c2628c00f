"""Checkpoints of grey, RGB and multi-band images in backbones of another number of channels."""
import pytest
import torch

from mimtransfer.backbones import TimmCNN, TimmViT
from mimtransfer.checkpoints.channels import fit_channels, stem_of
from mimtransfer.checkpoints.load import load_backbone

VIT = dict(embed_dim=48, depth=1, num_heads=3)


def vit(in_chans, patch_size=8):
    small = dict(img_size=32, patch_size=patch_size, model_kwargs=VIT)
    return TimmViT("vit_tiny_patch16_224", **small, in_chans=in_chans).eval()


@pytest.mark.parametrize("old, new", [(3, 1), (1, 3), (3, 4), (13, 3), (4, 3), (2, 5)])
def test_a_grey_image_gives_the_same_tokens(old, new, tmp_path):
    source, target = vit(old), vit(new)
    path = tmp_path / "checkpoint.pth"
    torch.save(source.state_dict(), path)
    report = load_backbone(target, path)
    word = "summed" if old > new else "repeated"
    change = f"48x{old}x8x8 -> 48x{new}x8x8 ({old} channels {word} to {new})"
    assert report.resized == {"patch_embed.proj.weight": change}
    assert change in report.summary()
    grey = torch.rand(2, 1, 32, 32)
    maps = [backbone(grey.expand(-1, channels, -1, -1))[0] for backbone, channels in ((source, old), (target, new))]
    torch.testing.assert_close(*maps, atol=1e-5, rtol=1e-4)


def test_channels_are_summed_and_repeated_in_their_order():
    kernel = torch.arange(1.0, 6.0).view(1, 5, 1, 1)
    assert fit_channels(kernel, 3)[0].flatten().tolist() == [1 + 4, 2 + 5, 3]
    assert fit_channels(kernel[:, :2], 5)[0].flatten().tolist() == pytest.approx([1 / 3, 2 / 2, 1 / 3, 2 / 2, 1 / 3])


def test_another_patch_size_and_number_of_channels_at_once(tmp_path):
    path = tmp_path / "checkpoint.pth"
    torch.save(vit(4, patch_size=16).state_dict(), path)
    change = load_backbone(vit(3), path).resized["patch_embed.proj.weight"]
    assert change == "48x4x16x16 -> 48x3x8x8 (4 channels summed to 3)"


def test_the_stem_of_a_network_of_stages(tmp_path):
    nets = {channels: TimmCNN("resnet10t", in_chans=channels, out_indices=(0,)).eval() for channels in (3, 1)}
    path, stem = tmp_path / "checkpoint.pth", stem_of(nets[3].state_dict())
    torch.save(nets[3].state_dict(), path)
    assert list(load_backbone(nets[1], path).resized) == [stem]
    grey = torch.rand(1, 1, 32, 32)
    torch.testing.assert_close(nets[1](grey)[0], nets[3](grey.expand(-1, 3, -1, -1))[0], atol=1e-4, rtol=1e-3)
