"""Two streams: who sees whom, by a literal reading of the rules; the content stream is the plain ViT."""
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from mimtransfer.backbones.vit import TimmViT
from mimtransfer.checkpoints.load import load_backbone
from pretrain.layout import take
from pretrain.methods.two_stream import encode_two_streams, two_stream_mask

SIZE = dict(depth=3, embed_dim=48, num_heads=3)


def vit(**kwargs) -> TimmViT:
    torch.manual_seed(0)
    model_kwargs = SIZE | kwargs.pop("model_kwargs", {})
    model = TimmViT("vit_tiny_patch16_224", **dict(img_size=(24, 32), patch_size=8) | kwargs, model_kwargs=model_kwargs)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(0.15 * torch.randn(parameter.shape))
    return model


def allowed(row: tuple[str, int], key: tuple[str, int], context: set[int], earlier: dict[int, set[int]]) -> bool:
    """Read the rules of the paper for one row and one key; places are 0 .. P+L-1, prefix first, in raster order.

    Args:
        row, key: stream (content, aux, query) and place.
        context: places of prefix and visible patches.
        earlier: the predicted patches that come before each predicted patch.
    """
    (stream, i), (kind, j) = row, key
    if kind == "content" and j in context:
        return True
    if stream == "aux" or i in context:  # no content of predicted patches, all positions
        return kind == "aux"
    if stream == "query":
        return j in earlier[i] if kind == "content" else j not in earlier[i]
    return j in earlier[i] or j == i if kind == "content" else j not in earlier[i] and j != i


@settings(max_examples=60, deadline=None)
@given(prefix=st.integers(0, 3), visible=st.integers(0, 6), predicted=st.integers(0, 8), data=st.data())
def test_mask_equals_a_literal_reading_of_the_rules(prefix, visible, predicted, data):
    order = [prefix + patch for patch in data.draw(st.permutations(range(visible + predicted)))]
    shown, hidden = order[:visible], order[visible:]
    context = {*range(prefix), *shown}
    earlier = {place: set(hidden[:rank]) for rank, place in enumerate(hidden)}
    content = [("content", place) for place in [*range(prefix), *shown, *hidden]]
    keys = content + [("aux", place) for place in hidden]
    rows = keys + [("query", place) for place in hidden]
    mask = two_stream_mask(prefix + visible, predicted)
    assert mask.dtype == torch.bool and mask.shape == (len(rows), len(keys))
    assert mask.tolist() == [[allowed(row, key, context, earlier) for key in keys] for row in rows]
    for row in mask.tolist():  # each position once, as content or as stand-in
        assert sorted(place for (_, place), seen in zip(keys, row) if seen) == list(range(prefix + len(order)))
    # Without auxiliary position tokens: the same rules about content, and nothing else.
    rows = content + [("query", place) for place in hidden]
    bare = two_stream_mask(prefix + visible, predicted, auxiliary=False)
    assert bare.tolist() == [[allowed(row, key, context, earlier) for key in content] for row in rows]


def streams(model: TimmViT, images: torch.Tensor, order: torch.Tensor, num_predicted: int, **kwargs) -> torch.Tensor:
    """Run both streams with auxiliary position tokens, queries from a mask token of zeros."""
    grid = model.patch_grid(images)
    tokens = take(model.add_position(model.embed(images), grid), order)
    hidden = order[:, order.shape[1] - num_predicted :]
    queries = take(model.add_position(torch.zeros(1, order.shape[1], model.embed_dim), grid), hidden)
    mask = two_stream_mask(model.num_prefix_tokens + order.shape[1] - num_predicted, num_predicted)
    return encode_two_streams(model, torch.cat([tokens, queries], 1), queries, mask, **kwargs)


def random_order(batch: int, length: int) -> torch.Tensor:
    return torch.rand(batch, length).argsort(1)


@pytest.mark.parametrize(
    "kwargs",
    [
        dict(layer_scale=0.1),
        dict(model_kwargs=dict(qkv_bias=False, class_token=False)),
        dict(model_kwargs=dict(qk_norm=True, scale_attn_norm=True, pre_norm=True, reg_tokens=2)),
    ],
    ids=["layer-scale", "no-bias-no-class-token", "norms-registers"],
)
def test_content_stream_of_a_full_image_is_the_plain_vit(kwargs, tmp_path):
    model, images = vit(**kwargs).eval(), torch.randn(2, 3, 24, 32)
    torch.save({"state_dict": {f"encoder.{name}": value for name, value in model.state_dict().items()}},
               tmp_path / "epoch_1.pth")
    options = kwargs | dict(model_kwargs=SIZE | kwargs.get("model_kwargs", {}))
    plain = TimmViT("vit_tiny_patch16_224", img_size=(24, 32), patch_size=8, **options).eval()
    assert not load_backbone(plain, tmp_path / "epoch_1.pth").unexpected
    order = random_order(2, 12)
    with torch.no_grad():
        content = streams(model, images, order, 0, whole=True)[:, model.num_prefix_tokens :]
        features = plain(images)[0].flatten(2).transpose(1, 2)
    assert torch.allclose(content, take(features, order), atol=1e-5)


def test_context_and_stand_ins_are_the_plain_vit_with_mask_tokens():
    model, images, order = vit().eval(), torch.randn(2, 3, 24, 32), random_order(2, 12)
    with torch.no_grad():
        both = streams(model, images, order, 8, whole=True)  # 1 + 4 + 8 + 8 content, 8 queries
        tokens = model.embed(images)
        hidden = torch.zeros(2, 12, 1, dtype=torch.bool).scatter_(1, order[:, 4:, None], True)
        tokens = take(model.add_position(tokens.masked_fill(hidden, 0.0), (3, 4)), order)
        expected = model.encode(tokens)
    assert torch.allclose(both[:, :5], expected[:, :5], atol=1e-5)
    assert torch.allclose(both[:, 13:21], expected[:, 5:], atol=1e-5)
    # The first query has the same view as its stand-in, later ones another.
    assert torch.allclose(both[:, 21], both[:, 13], atol=1e-5)
    assert (both[:, 22:] - both[:, 14:21]).abs().amax(2).min() > 1e-3


def test_last_block_may_leave_out_the_content_stream():
    model, images, order = vit().eval(), torch.randn(2, 3, 24, 32), random_order(2, 12)
    with torch.no_grad():
        assert torch.allclose(
            streams(model, images, order, 7), streams(model, images, order, 7, whole=True)[:, -7:], atol=1e-6
        )


def test_checkpointed_gradients_are_the_same():
    model, images, order = vit().train(), torch.randn(2, 3, 24, 32), random_order(2, 12)
    gradients = []
    for model.grad_checkpointing in (False, True):
        model.zero_grad()
        streams(model, images, order, 7).square().sum().backward()
        gradients.append([parameter.grad.clone() for parameter in model.parameters()])
    assert all(torch.equal(a, b) for a, b in zip(*gradients))


def test_both_streams_share_drop_path():
    model, images, order = vit(drop_path_rate=0.5).train(), torch.randn(16, 3, 24, 32), random_order(16, 12)
    *before, last = model.blocks
    model.blocks = nn.ModuleList([last])
    model.norm, last.mlp = nn.Identity(), nn.Sequential(nn.Identity(), nn.Linear(48, 48).requires_grad_(False))
    nn.init.zeros_(last.mlp[1].weight), nn.init.zeros_(last.mlp[1].bias)
    with torch.no_grad():
        attended = streams(model, images, order, 7, whole=True)
        last.drop_path1 = nn.Identity()
        undropped = streams(model, images, order, 7, whole=True)
        last.ls1 = nn.Module()
        last.ls1.forward = torch.zeros_like
        start = streams(model, images, order, 7, whole=True)
    dropped = (attended - start).abs().amax(2) == 0  # [B, rows]
    assert (dropped.all(1) | ~dropped.any(1)).all() and 0 < dropped[:, 0].sum() < 16
    kept = ~dropped[:, 0]
    assert torch.allclose(attended[kept] - start[kept], 2 * (undropped[kept] - start[kept]), atol=1e-5)
    assert len(before) == 2
