"""VQ-KD, the tokenizer of BEiT v2: Peng et al. 2022, arXiv 2208.06366, sec. 2.1.

A ViT whose patch tokens are projected to a few numbers, normalised, and named by the nearest row of a codebook. Only
the way from pixels to ids is built: decoder and teacher (CLIP or DINO) of the published files serve its training.

Same weights and image give the ids of the official code (microsoft/unilm, beit2). Departure: an image of another size
than `input_size` is resized on the device, where the official loader cuts the crop from the file a second time.
"""
from collections.abc import Mapping
from typing import Any

from timm.layers import resample_abs_pos_embed
from timm.models.beit import Beit
from torch import Tensor, nn
from torch.nn import functional as F

from mimtransfer.checkpoints.formats import weights
from mimtransfer.checkpoints.safe_load import read_checkpoint
from mimtransfer.errors import UserError
from mimtransfer.files import sha256_file
from mimtransfer.registry import TOKENIZERS
from pretrain.aug_record import AugRecord
from pretrain.tokenizers.base import Tokenizer, check_file, load_all, resize
from pretrain.tokenizers.kmeans import nearest

# The published files carry the first digits of their sha256 in their names.
_PUBLISHED = {
    digest: f"vqkd_encoder_base_decoder_{rest}"
    for digest, rest in (("d93179da", "1x768x12_clip"), ("d5036aa7", "3x768x12_clip"), ("663c55d7", "1x768x12_dino"))
}
_HEAD_WIDTH = 64  # of every published encoder; the file does not say it
_TRAINING_ONLY = (
    "decoder.", "decode_task_layer.", "teacher_model.", "scaling_layer.", "loss", "quantize.cluster_size",
    "quantize.embedding.cluster_size", "quantize.embedding.embed_avg", "quantize.embedding.initted",
)  # fmt: skip


@TOKENIZERS.register_module()
class VQKDTokenizer(Tokenizer):
    """Name patches by the codebook of BEiT v2; width, depth, patch and codebook are those of the file.

    Args:
        checkpoint: `vqkd_encoder_base_decoder_3x768x12_clip-d5036aa7.pth` (MaPeT, BEiT v2) or another of
            https://github.com/addf400/files/releases/tag/BEiT-v2 (8192 codes, patch 16, 224 pixels).
        input_size: side of the square that images are resized to, which decides the grid; None takes the side that
            the encoder was trained with. Another one resamples its position embedding.

    Raises:
        UserError: the file is missing or no VQ-KD with absolute positions.
    """

    def __init__(self, checkpoint: str, input_size: int | None = None):
        check_file(checkpoint, "VQKDTokenizer", "download vqkd_encoder_base_decoder_3x768x12_clip-d5036aa7.pth from "
                   "https://github.com/addf400/files/releases/tag/BEiT-v2 and put it there")
        state = {name: value for name, value in weights(read_checkpoint(checkpoint)).items()
                 if not name.startswith(_TRAINING_ONLY)}
        absent = [name for name in ("encoder.pos_embed", "quantize.embedding.weight") if name not in state]
        if absent:
            raise UserError(f"VQKDTokenizer: {checkpoint!r} holds no {absent[0]}; expected a VQ-KD of BEiT v2, such as "
                            "vqkd_encoder_base_decoder_3x768x12_clip-d5036aa7.pth")
        sha256, (num_codes, code_dim) = sha256_file(checkpoint), state["quantize.embedding.weight"].shape
        source = _PUBLISHED.get(sha256[:8], "VQ-KD of BEiT v2")
        if input_size:
            source += f", {input_size} pixels"
        super().__init__(num_codes, dict(sha256=sha256, source=source))

        patch = state["encoder.patch_embed.proj.weight"].shape[-1]
        old_size = round((state["encoder.pos_embed"].shape[1] - 1) ** 0.5)
        self.input_size = input_size or old_size * patch
        if self.input_size % patch:
            raise UserError(f"VQKDTokenizer: got input_size={input_size}, expected a multiple of the patch {patch}")
        grid = (self.input_size // patch,) * 2
        state["encoder.pos_embed"] = resample_abs_pos_embed(state["encoder.pos_embed"], grid, (old_size, old_size))
        self.encoder = _encoder(state, self.input_size)
        width = self.encoder.embed_dim
        self.encode_task_layer = nn.Sequential(nn.Linear(width, width), nn.Tanh(), nn.Linear(width, code_dim))
        self.quantize: Any = nn.Module()
        self.quantize.embedding = nn.Embedding(num_codes, code_dim)
        load_all(self, state, checkpoint)

    def encode(self, images: Tensor, record: AugRecord | None) -> Tensor:
        tokens = self.encoder.forward_features(resize(images, self.input_size) * 2 - 1)[:, 1:]  # [B, L, D]
        codes = F.normalize(self.encode_task_layer(self.encoder.fc_norm(tokens)), dim=-1)
        ids = nearest(codes.flatten(0, 1), self.quantize.embedding.weight)
        return ids.view(-1, *self.encoder.patch_embed.grid_size)


def _encoder(state: Mapping[str, Tensor], img_size: int) -> Beit:
    """Build the ViT that a state dict is of: absolute positions, no bias for keys, a norm after the class token is
    dropped.
    """
    kernel = state["encoder.patch_embed.proj.weight"]  # [D, 3, p, p]
    width = kernel.shape[0]
    encoder = Beit(
        img_size=img_size, patch_size=kernel.shape[-1], num_classes=0, embed_dim=width, num_heads=width // _HEAD_WIDTH,
        depth=sum(name.endswith("attn.qkv.weight") for name in state),
        mlp_ratio=state["encoder.blocks.0.mlp.fc1.weight"].shape[0] / width,
        device="meta",  # random initialisation takes longer than loading
    ).to_empty(device="cpu")  # fmt: skip
    blocks: Any = encoder.blocks
    for block in blocks:
        block.attn.init_non_persistent_buffers()  # zeros in place of a bias for keys
    return encoder
