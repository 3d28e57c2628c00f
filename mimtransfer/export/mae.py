"""Write a whole MAE, encoder and decoder, as ViTMAEForPreTraining of Transformers.

He et al. 2021, arXiv 2111.06377. Its patches are drawn anew in each call: for features of whole images export without
the decoder, which gives a ViTModel.
"""
from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import torch
from torch import Tensor

from mimtransfer.checkpoints.names import HF_VIT, State
from mimtransfer.errors import UserError
from mimtransfer.export.folder import need
from mimtransfer.export.huggingface import TARGET, Model, model_of, write_model
from mimtransfer.export.source import Source, check_equal, require_vit, sample_images

_TOPS = {"embed.": "decoder_embed.", "norm.": "decoder_norm.", "pred.": "decoder_pred.", "mask_token": "mask_token"}


def write_mae(source: Source, method: Any, folder: Path) -> str:
    """Write `config.json` and `model.safetensors` into a folder, read them back and compare the predicted pixels.

    Args:
        method: our `MAE` with the weights of the checkpoint, in evaluation mode.

    Returns:
        A line that says what was written.

    Raises:
        UserError: the method or its decoder has no counterpart, or Transformers is not installed.
    """
    transformers = need("transformers", "--to huggingface")
    instead = "leave out --decoder, which writes the encoder alone"
    vit = require_vit(source, TARGET, instead)
    encoder = model_of(source, vit)
    decoder: Any = getattr(method, "decoder", None)
    if type(method).__name__ != "MAE" or type(decoder).__name__ != "PixelDecoder":
        raise UserError(f"checkpoint {source.path!r} is of {type(method).__name__} with a "
                        f"{type(decoder).__name__}, expected MAE with a PixelDecoder: {instead}")
    if encoder.model_class != "ViTModel" or vit.num_prefix_tokens != 1:
        raise UserError(f"checkpoint {source.path!r} has the encoder of a {encoder.model_class}, and ViTMAE's is that "
                        f"of a ViTModel with a class token alone: {instead}")
    if vit.grid_size[0] != vit.grid_size[1] or vit.patch_size[0] != vit.patch_size[1]:
        raise UserError(f"checkpoint {source.path!r} is of images of {vit.img_size} in patches of {vit.patch_size}, "
                        f"and ViTMAE takes square ones alone: {instead}")
    if decoder.grid != vit.grid_size:
        raise UserError(f"checkpoint {source.path!r} has a decoder for a grid of {decoder.grid} and an encoder for "
                        f"{vit.grid_size}: leave out --img-size")
    model = _model(encoder, method)
    loaded = write_model(transformers, model, folder, source.report.pretraining)
    images = sample_images(vit)
    difference = check_equal(*predictions(method, loaded, images), f"{TARGET}' ViTMAEForPreTraining")
    return f"ViTMAEForPreTraining of {TARGET}, {len(model.state)} tensors; predicted pixels equal to {difference:.0e}"


def _model(encoder: Model, method: Any) -> Model:
    decoder = method.decoder
    state: State = {f"vit.{name}": value for name, value in encoder.state.items() if not name.startswith("pooler.")}
    own = dict(decoder.state_dict())
    for name, value in own.items():
        if top := next((top for top in _TOPS if name.startswith(top)), None):
            state["decoder." + name.replace(top, _TOPS[top], 1)] = value
    blocks, unmapped = HF_VIT.write({name: value for name, value in own.items() if name.startswith("blocks.")})
    assert not unmapped, unmapped
    state |= {f"decoder.{name.replace('encoder.layer.', 'decoder_layers.')}": value for name, value in blocks.items()}
    # Theirs has a row for the class token, which has no position in the decoder.
    positions = decoder.pos_embed
    state["decoder.decoder_pos_embed"] = torch.cat([torch.zeros_like(positions[:, :1]), positions], dim=1)
    first = decoder.blocks[0] if len(decoder.blocks) else None
    config = {key: value for key, value in encoder.config.items() if key != "pooler_act"}
    config |= {"decoder_hidden_size": positions.shape[-1], "decoder_num_hidden_layers": len(decoder.blocks),
               "mask_ratio": method.strategy.mask_ratio, "norm_pix_loss": method.norm_pix_loss}
    if first is not None:
        config |= {"decoder_num_attention_heads": first.attn.num_heads,
                   "decoder_intermediate_size": first.mlp.fc1.out_features}
    return Model("ViTMAEForPreTraining", "ViTMAEConfig", config, state)


@torch.no_grad()
def predictions(method: Any, loaded: Any, images: Tensor) -> tuple[Tensor, Tensor]:
    """Return the (normalised) pixels of masked patches that ours and theirs predict, [B, M, p*p*C] each."""
    h, w = method.encoder.patch_grid(images)
    noise = torch.rand(len(images), h * w, generator=torch.Generator().manual_seed(1))
    num_visible = int(h * w * (1 - loaded.config.mask_ratio))  # as theirs counts
    visible, masked = noise.argsort(1).tensor_split([num_visible], dim=1)
    ours = method.predict(images, SimpleNamespace(visible=visible, masked=masked))  # of pretraining's `TokenLayout`
    theirs = loaded(pixel_values=images, noise=noise).logits
    return ours, theirs.gather(1, masked[..., None].expand(-1, -1, theirs.shape[-1]))
