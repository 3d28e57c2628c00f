"""Tokenizers: ids equal brute force, whatever the precision around them; owners keep them out of their state."""
import timm
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mmengine.config import Config
from pytest import fixture, mark, raises
from torch import nn

from mimtransfer.backbones.inspect import view_block
from mimtransfer.errors import UserError
from mimtransfer.registry import MODELS, PATCH_FEATURES, TOKENIZERS
from pretrain.patches import patchify
from pretrain.tokenizers.base import TokenizerOwner
from pretrain.tokenizers.kmeans import nearest

PIXELS = dict(type="PixelFeatures", patch_size=4)
VIT = dict(type="TimmViT", arch="vit_tiny_patch16_224", img_size=16, patch_size=4, init_cfg=None,
           model_kwargs=dict(depth=2, embed_dim=24, num_heads=3))  # fmt: skip


def write_codebook(path, features=PIXELS, dim=48, num_codes=20, weights_sha256=None) -> str:
    generator = torch.Generator().manual_seed(0)
    centroids = torch.rand(num_codes, dim, generator=generator)
    patches = torch.randint(0, 256, (num_codes, 4, 4, 3), generator=generator, dtype=torch.uint8)
    content = dict(centroids=centroids, patches=patches, features=features, weights_sha256=weights_sha256)
    torch.save(content, path)
    return str(path)


@fixture
def codebook(tmp_path) -> str:
    return write_codebook(tmp_path / "codebook.pth")


@fixture
def mae(tmp_path) -> str:
    """A checkpoint as tools/pretrain.py writes it, with random weights."""
    torch.manual_seed(0)
    model = dict(type="MAE", encoder=VIT, data_preprocessor=dict(mean=[100.0, 110.0, 120.0], std=[50.0, 60.0, 70.0]))
    state = {f"encoder.{name}": value for name, value in MODELS.build(VIT).state_dict().items()}
    torch.save({"state_dict": state, "meta": {"cfg": Config(dict(model=model)).pretty_text}}, tmp_path / "mae.pth")
    return str(tmp_path / "mae.pth")


@settings(max_examples=25, deadline=None)
@given(num_points=st.integers(1, 40), num_codes=st.integers(1, 30), dim=st.integers(1, 8), mean=st.floats(-1e3, 1e3))
def test_nearest_is_brute_force(num_points, num_codes, dim, mean):
    generator = torch.Generator().manual_seed(num_points * 100 + num_codes)
    points = torch.randn(num_points, dim, generator=generator) + mean
    centroids = torch.randn(num_codes, dim, generator=generator) + mean
    distances = (points.double()[:, None] - centroids.double()).square().sum(2)
    chosen = distances.gather(1, nearest(points, centroids)[:, None])[:, 0]
    assert torch.allclose(chosen, distances.min(1).values, rtol=1e-4, atol=1e-4)


def test_nearest_of_more_points_than_are_compared_at_once():
    points, centroids = torch.randn(9000, 3), torch.randn(7, 3)
    assert torch.equal(nearest(points, centroids), torch.cdist(points, centroids).argmin(1))


@mark.parametrize("autocast", [False, True])
def test_kmeans_ids_are_the_nearest_centroids(codebook, autocast):
    tokenizer, images = TOKENIZERS.build(dict(type="KMeansTokenizer", codebook=codebook)), torch.rand(3, 3, 12, 20)
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        ids = tokenizer(images)
    assert ids.shape == (3, 3, 5) and ids.dtype == torch.int64
    for image in range(3):
        for row in range(3):
            for column in range(5):
                patch = images[image, :, 4 * row : 4 * row + 4, 4 * column : 4 * column + 4].permute(1, 2, 0)
                distances = (patch.flatten().double() - tokenizer.centroids.double()).square().sum(1)
                assert ids[image, row, column] == distances.argmin()


def test_ids_belong_to_the_crop_that_is_shown(codebook):
    tokenizer, image = TOKENIZERS.build(dict(type="KMeansTokenizer", codebook=codebook)), torch.rand(1, 3, 24, 24)
    assert torch.equal(tokenizer(image[:, :, 4:20, 8:24]), tokenizer(image)[:, 1:5, 2:6])
    assert not torch.equal(tokenizer(image[:, :, 2:22, 2:22]), tokenizer(image)[:, :5, :5])


def test_codes_are_drawn_as_their_mean_patches(codebook):
    tokenizer = TOKENIZERS.build(dict(type="KMeansTokenizer", codebook=codebook))
    ids = torch.tensor([[[3, 19, 0], [7, 3, 1]]])
    pictures = tokenizer.decode(ids)
    assert pictures.shape == (1, 3, 8, 12)
    for row in range(2):
        for column in range(3):
            expected = tokenizer.patches[ids[0, row, column]].permute(2, 0, 1) / 255
            assert torch.equal(pictures[0, :, 4 * row : 4 * row + 4, 4 * column : 4 * column + 4], expected)


def test_owner_moves_its_tokenizer_and_has_it_nowhere_else(codebook):
    class Owner(TokenizerOwner, nn.Module):
        def __init__(self):
            super().__init__()
            self.layer = nn.Linear(2, 2)
            self.own(TOKENIZERS.build(dict(type="KMeansTokenizer", codebook=codebook)))

    owner = Owner()
    assert list(owner.state_dict()) == ["layer.weight", "layer.bias"] and len(list(owner.parameters())) == 2
    assert not owner.train().tokenizer.training and not owner.tokenizer.train().features.training
    owner.to("meta")
    assert owner.tokenizer.centroids.is_meta and owner.layer.weight.is_meta


def test_identity_follows_the_content_of_the_file(codebook, tmp_path):
    own = TOKENIZERS.build(dict(type="KMeansTokenizer", codebook=codebook)).identity
    (tmp_path / "elsewhere").mkdir()
    moved = (tmp_path / "codebook.pth").rename(tmp_path / "elsewhere" / "other.pth")
    assert TOKENIZERS.build(dict(type="KMeansTokenizer", codebook=str(moved))).identity == own
    assert own["type"] == "KMeansTokenizer" and own["num_codes"] == 20 and own["source"] == "PixelFeatures"
    other = write_codebook(tmp_path / "codebook.pth", num_codes=21)
    assert TOKENIZERS.build(dict(type="KMeansTokenizer", codebook=other)).identity["sha256"] != own["sha256"]


def test_features_of_our_own_checkpoint_are_its_tokens(mae):
    features = PATCH_FEATURES.build(dict(type="CheckpointFeatures", checkpoint=mae, block=0)).eval()
    images = torch.rand(2, 3, 16, 16)
    mean, std = torch.tensor([100.0, 110.0, 120.0]).view(3, 1, 1), torch.tensor([50.0, 60.0, 70.0]).view(3, 1, 1)
    expected = view_block(features.encoder, (images * 255 - mean) / std, 0).tokens[:, 1:]
    with torch.no_grad():
        torch.testing.assert_close(features(images), expected.unflatten(1, (4, 4)), rtol=1e-4, atol=1e-4)
        last = PATCH_FEATURES.build(dict(type="CheckpointFeatures", checkpoint=mae, input_size=32)).eval()
        assert last(images).shape == (2, 8, 8, 24)


@mark.parametrize("arch, size, grid, width", [("test_vit", 160, 10, 64), ("test_byobnet", 64, 2, 256)])
def test_features_of_timm_models_from_a_local_file(arch, size, grid, width, tmp_path):
    torch.manual_seed(0)
    model = timm.create_model(arch, pretrained=False).eval()
    torch.save(model.state_dict(), tmp_path / "weights.pth")
    config = dict(type="TimmFeatures", arch=arch, checkpoint=str(tmp_path / "weights.pth"), input_size=size)
    features, images = PATCH_FEATURES.build(config).eval(), torch.rand(2, 3, size, size)
    mean, std = (torch.tensor(model.pretrained_cfg[key]).view(3, 1, 1) for key in ("mean", "std"))
    pixels = (images - mean) / std
    with torch.no_grad():
        found = features(images)
        assert found.shape == (2, grid, grid, width)
        if arch == "test_vit":
            torch.testing.assert_close(model.norm(found.flatten(1, 2)), model.forward_features(pixels)[:, 1:])
        else:
            torch.testing.assert_close(found.permute(0, 3, 1, 2), model.stages(model.stem(pixels)))
    assert list(features(torch.rand(1, 3, size // 2, size // 2)).shape[1:3]) == [grid, grid]
    if arch == "test_vit":
        torch.save({**model.state_dict(), "blocks.0.attn.rel_pos_h": torch.ones(19, 32)}, tmp_path / "weights.pth")
        with raises(UserError, match="attends by relative positions"):
            PATCH_FEATURES.build(config)


def test_clip_of_the_published_tokenizer_gives_14_x_14_cells():
    # timm's word for it; building the model takes seconds even without memory.
    known = timm.models.get_pretrained_cfg("resnet50x64_clip_gap")
    assert known.input_size == (3, 448, 448) and known.pool_size == (14, 14) and known.tag == "openai"
    assert known.mean == (0.48145466, 0.4578275, 0.40821073)


@mark.parametrize(
    "config, message",
    [
        (dict(type="KMeansTokenizer", codebook="TMP/codebok.pth"), "codebok.pth', which does not exist; did you mean "
         "'codebook.pth'.*fit_tokenizer"),
        (dict(type="KMeansTokenizer", codebook="TMP/mae.pth"), "holds no centroids"),
        (dict(type="KMeansTokenizer", codebook="TMP/of_mae.pth"), "sha256 000000000000, got .*weights="),
        (dict(type="KMeansTokenizer", codebook="TMP/of_lost.pth"), "lost.pth', which does not exist"),
    ],
)  # fmt: skip
def test_mistakes_with_files(config, message, codebook, mae, tmp_path):
    for name, checkpoint in (("of_mae", mae), ("of_lost", str(tmp_path / "lost.pth"))):
        features = dict(type="CheckpointFeatures", checkpoint=checkpoint)
        write_codebook(tmp_path / f"{name}.pth", features, 24, weights_sha256="0" * 64)
    config["codebook"] = config["codebook"].replace("TMP", str(tmp_path))
    with raises(UserError, match=message) as error:
        TOKENIZERS.build(config)
    assert "\n" not in str(error.value)


def test_weights_of_the_features_may_have_moved(mae, tmp_path):
    features = PATCH_FEATURES.build(dict(type="CheckpointFeatures", checkpoint=mae))
    old = dict(type="CheckpointFeatures", checkpoint="gone.pth")
    path = write_codebook(tmp_path / "codebook.pth", old, 24, weights_sha256=features.sha256)
    tokenizer = TOKENIZERS.build(dict(type="KMeansTokenizer", codebook=path, weights=mae))
    assert tokenizer(torch.rand(1, 3, 16, 16)).shape == (1, 4, 4)


@mark.parametrize(
    "config, message",
    [
        (dict(type="TimmFeatures", arch="resnet50x64_clip_gab", checkpoint=""), "did you mean 'resnet50x64_clip_gap'"),
        (dict(type="TimmFeatures", arch="resnet50x64_clip_gap", checkpoint="weights/x.safetensors"),
         "model.safetensors of https://huggingface.co/timm/resnet50x64_clip_gap.openai and put it there"),
        (dict(type="CheckpointFeatures", checkpoint="weights/x.pth"), "tools/pretrain.py"),
    ],
)  # fmt: skip
def test_mistakes_with_features(config, message):
    with raises(UserError, match=message):
        PATCH_FEATURES.build(config)


def test_pixels_that_no_patches_tile():
    with raises(UserError, match="10 x 8 pixels and patch_size=4"):
        PATCH_FEATURES.build(PIXELS)(torch.rand(1, 3, 10, 8))
    assert torch.equal(PATCH_FEATURES.build(PIXELS)(torch.ones(1, 3, 8, 8)).flatten(1, 2), patchify(
        torch.ones(1, 3, 8, 8), (4, 4)))  # fmt: skip
