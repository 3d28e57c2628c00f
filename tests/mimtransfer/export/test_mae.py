"""A whole MAE as ViTMAEForPreTraining: pixels and loss are those of our method."""
import pytest
import torch
import transformers
from exported import PIXELS, PLAIN, SIGNED, images
from mmengine.config import Config
from vit_families import random_state

from mimtransfer.checkpoints.recorded_config import config_in_checkpoint
from mimtransfer.errors import UserError
from mimtransfer.export.folder import new_folder
from mimtransfer.export.mae import write_mae
from mimtransfer.export.source import all_tokens, read_source
from mimtransfer.registry import MODELS
from pretrain.from_checkpoint import load_method
from pretrain.layout import TokenLayout

DECODER = dict(embed_dim=32, depth=2, num_heads=4)


def saved(tmp_path, model="MAE", norm_pix_loss=True, decoder=DECODER, **options):
    config = {"type": model, "encoder": {"type": "TimmViT", **PLAIN, "pos_embed": "sincos", **options},
              "data_preprocessor": {"type": "ImgDataPreprocessor", **PIXELS}}
    if model == "MAE":
        config |= {"decoder": decoder, "norm_pix_loss": norm_pix_loss}
    method = MODELS.build(config)
    random_state(method)
    meta = {"cfg": Config(dict(model=config)).pretty_text,
            "mimtransfer": {**SIGNED, "arch": PLAIN["arch"], "grid": list(method.encoder.grid_size)}}
    torch.save({"state_dict": method.state_dict(), "meta": meta}, tmp_path / "epoch_3.pth")
    return method.eval(), str(tmp_path / "epoch_3.pth")


def exported(tmp_path, **options):
    method, path = saved(tmp_path, **options)
    with new_folder(tmp_path / "out") as folder:
        line = write_mae(read_source(path), load_method(config_in_checkpoint(path), path), folder)
    return method, tmp_path / "out", line


@pytest.mark.parametrize("norm_pix_loss", [True, False])
@torch.no_grad()
def test_pixels_and_loss_are_ours(norm_pix_loss, tmp_path):
    method, folder, line = exported(tmp_path, norm_pix_loss=norm_pix_loss)
    assert line.startswith("ViTMAEForPreTraining of Transformers")
    model, report = transformers.AutoModelForPreTraining.from_pretrained(folder, output_loading_info=True)
    assert not report["missing_keys"] and not report["unexpected_keys"]
    batch = images(32, 32)
    noise = torch.rand(2, 16, generator=torch.Generator().manual_seed(5))
    output = model.eval()(pixel_values=batch, noise=noise)
    visible, masked = noise.argsort(1).tensor_split([4], dim=1)
    layout = TokenLayout(visible, masked, masked[:, :0])
    theirs = output.logits.gather(1, masked[..., None].expand(-1, -1, output.logits.shape[-1]))
    torch.testing.assert_close(theirs, method.predict(batch, layout), rtol=0, atol=1e-5)
    torch.testing.assert_close(output.loss, method.loss(batch, layout)["loss"], rtol=1e-5, atol=0)
    assert model.config.mask_ratio == 0.75 and model.config.norm_pix_loss is norm_pix_loss


@torch.no_grad()
def test_its_encoder_is_ours(tmp_path):
    method, folder, _ = exported(tmp_path)
    model = transformers.ViTMAEModel.from_pretrained(folder, mask_ratio=0.0).eval()
    batch = images(32, 32)
    tokens = model(pixel_values=batch, noise=torch.arange(16.0).expand(2, -1)).last_hidden_state
    torch.testing.assert_close(tokens, all_tokens(method.encoder, batch), rtol=0, atol=1e-5)


@pytest.mark.parametrize(("options", "why"), [
    (dict(model="SimMIM"), "is of SimMIM"),
    (dict(decoder=dict(type="CrossDecoder", embed_dim=32, depth=2, num_heads=4, predict_ratio=0.25)),
     "MAE with a CrossDecoder"),
    (dict(img_size=(32, 16)), "ViTMAE takes square ones alone"),
    (dict(layer_scale=0.1), "the encoder of a Dinov2Model"),
])
def test_what_has_no_counterpart_is_refused(options, why, tmp_path):
    with pytest.raises(UserError, match=why) as error:
        exported(tmp_path, **options)
    assert "--decoder" in str(error.value) and not (tmp_path / "out").exists()
