"""Pictures of what a method does with images: map, roles or corruption, reconstruction; as a plain pixel array or as a
figure.
"""
import matplotlib
import numpy as np
import torch
import torch.nn.functional as F
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from torch import Tensor
from torch.utils.data import default_collate

from mimtransfer.backbones.inspect import received_attention, view_block, view_blocks
from pretrain.aug_record import AugRecord
from pretrain.corruptions.base import Corrupted
from pretrain.data.images import PretrainImages
from pretrain.layout import TokenLayout
from pretrain.masking.bank import MapBank
from pretrain.masking.measured import Measured
from pretrain.methods.base import MIMethod
from pretrain.methods.preprocessor import unit_statistics
from pretrain.methods.teacher import Latents
from pretrain.methods.token_prediction import Targets

# Number in `TokenLayout.roles` and colour of the patches that are painted over: grey, dark red.
_PAINTED = {"masked": (1, (0.5, 0.5, 0.5)), "thrown": (2, (0.35, 0.0, 0.0))}
_HEAT = torch.tensor(matplotlib.colormaps["viridis"](np.arange(256))[:, :3], dtype=torch.float32)  # no colour of a role


def to_unit_range(images: Tensor, preprocessor) -> Tensor:
    """Undo the normalisation: [B, C, H, W] normalised -> [B, C, H, W] in [0, 1].

    Args:
        preprocessor: as of `unit_statistics`.
    """
    mean, std = unit_statistics(preprocessor)
    return torch.addcmul(mean, images.float(), std).clamp(0, 1)


def as_rgb(images: Tensor) -> Tensor:
    """Show channels as colours: the first three, or grey from the first of one or two; [B, C, H, W] -> [B, 3, H, W]."""
    return images[:, :3] if images.shape[1] >= 3 else images[:, :1].expand(-1, 3, -1, -1)


def show_roles(
    images: Tensor, layout: TokenLayout, grid: tuple[int, int], painted: tuple[str, ...] = ("masked", "thrown")
) -> Tensor:
    """Paint masked patches grey and thrown ones dark red: [B, 3, H, W] in [0, 1] -> same.

    Args:
        painted: the roles that are painted; patches of others stay.
    """
    roles = F.interpolate(layout.roles().view(-1, 1, *grid).float(), size=images.shape[-2:])  # [B, 1, H, W]
    for name in painted:
        number, colour = _PAINTED[name]
        images = torch.where(roles == number, images.new_tensor(colour).view(3, 1, 1), images)
    return images


def show_map(images: Tensor, maps: Tensor) -> Tensor:
    """Lay maps over grey images as heat: [B, 3, H, W] and [B, h, w], both in [0, 1] -> [B, 3, H, W]; yellow is high."""
    heat = _HEAT.to(images.device)[(maps * 255).round().long()].permute(0, 3, 1, 2)  # [B, 3, h, w]
    return (2 * F.interpolate(heat, size=images.shape[-2:]) + images.mean(1, keepdim=True)) / 3


def show_spectrum(images: Tensor, reference: Tensor) -> Tensor:
    """Show spectra as heat, the zero frequency in the middle: [B, 3, H, W] in [0, 1] -> same; yellow is strong.

    Args:
        reference: same shape; the strongest frequency of each gives the scale, which is logarithmic: log(1 + |F|).
    """
    shown, whole = (torch.fft.fft2(pixels.mean(1)).abs().log1p() for pixels in (images, reference))
    shown = torch.fft.fftshift((shown / whole.amax((1, 2), keepdim=True).clamp_min(1e-6)).clamp(max=1), dim=(1, 2))
    return _HEAT.to(images.device)[(shown * 255).round().long()].permute(0, 3, 1, 2)


def picture_columns(
    method: MIMethod, images: Tensor, record: AugRecord
) -> tuple[dict[str, Tensor], TokenLayout | Targets | Corrupted]:
    """Draw roles, or corrupt, then reconstruct, and make it visible; the method in evaluation mode, without gradients.

    Args:
        images: [B, C, H, W] normalised, as the preprocessor gives them.
        record: where the images came from.

    Returns:
        Pictures by title, [B, 3, H, W] in [0, 1] each: `image`; `codes` of all patches if those are predicted;
        `weights` or `parts` if the strategy has maps of these images; `roles`; `reconstruction`, with thrown patches
        painted, for nothing restores them. Of a method that corrupts images `image`, `corrupted`, `spectrum` of the
        latter, `reconstruction`. And what was drawn.
    """
    drawn, restored = method(images, record, mode="predict")
    if isinstance(drawn, Latents):
        drawn = drawn.layout
    image, restored = (as_rgb(to_unit_range(pixels, method.data_preprocessor)) for pixels in (images, restored))
    if isinstance(drawn, Corrupted):
        corrupted = as_rgb(to_unit_range(drawn.images, method.data_preprocessor))
        spectrum = show_spectrum(corrupted, image)
        return {"image": image, "corrupted": corrupted, "spectrum": spectrum, "reconstruction": restored}, drawn
    grid = method.encoder.patch_grid(images)
    columns, layout = {"image": image}, drawn
    if isinstance(drawn, Targets):
        columns["codes"], layout = method.show_codes(drawn.ids, images), drawn.layout
    picture = method.strategy.picture(record, grid)
    if picture is not None:
        title, maps = picture
        columns[title] = show_map(image, maps)
    columns["roles"] = show_roles(image, layout, grid)
    columns["reconstruction"] = show_roles(restored, layout, grid, painted=("thrown",))
    return columns, drawn


def attention_columns(method: MIMethod, images: Tensor) -> dict[str, Tensor]:
    """Show which patches the others attend to in the first, the middle and the last block.

    Args:
        images: [B, C, H, W] normalised and unmasked.

    Returns:
        Pictures by title, [B, 3, H, W] in [0, 1] each: `image` and `block <number>`, each map scaled to its largest
        value.

    Raises:
        UserError: the encoder has no attention over the whole image, as in a convolutional network.
    """
    image = as_rgb(to_unit_range(images, method.data_preprocessor))
    columns = {"image": image}
    depth = len(getattr(method.encoder, "blocks", ()))
    for number, block in enumerate(view_blocks(method.encoder, images), start=1):
        if number in (1, (depth + 1) // 2, depth):
            received = received_attention(block)  # [B, L]
            maps = received / received.amax(1, keepdim=True)
            columns[f"block {number}"] = show_map(image, maps.view(-1, *block.grid))
    return columns


@torch.no_grad()
def draw_whole_images(method: MIMethod, images: PretrainImages, path: str) -> None:
    """Write a figure of what a method does with whole images; a strategy that measures measures these now.

    Args:
        method: in evaluation mode.
        images: few whole images (`pretrain.data.whole.WholeImages`), numbered from 0.
        path: file to write.
    """
    batch = method.data_preprocessor(default_collate([images[i] for i in range(len(images))]))
    inputs, strategy = batch["inputs"], method.strategy
    method.check_image_size(inputs)
    if isinstance(strategy, Measured):
        strategy.bank = MapBank(strategy.measure(view_block(method.encoder, inputs)))
    columns, drawn = picture_columns(method, inputs, batch["record"])
    caption = type(method).__name__
    if isinstance(drawn, Corrupted):
        caption += f" with {type(method.corruption).__name__}"
    else:
        layout = drawn.layout if isinstance(drawn, Targets) else drawn
        counts = ", ".join(f"{part.shape[1]} {role}" for role, part in layout._asdict().items())
        caption += f" with {type(strategy).__name__}: {counts}"
    save_figure(columns, caption, path)


def tile(columns: dict[str, Tensor]) -> np.ndarray:
    """Put pictures side by side, one image to a row: n x [B, 3, H, W] in [0, 1] -> [B*(H+2), n*(W+2), 3] uint8, RGB."""
    framed = [F.pad(column, (1, 1, 1, 1), value=1.0) for column in columns.values()]
    tiles = torch.stack(framed, dim=1)  # [B, n, 3, H+2, W+2]
    rows = tiles.permute(0, 3, 1, 4, 2).flatten(2, 3).flatten(0, 1)
    return (rows * 255).round().byte().cpu().numpy()


def save_figure(columns: dict[str, Tensor], caption: str, path: str) -> None:
    """Write pictures side by side under their titles, with a legend of the roles; the file's ending says the format."""
    num_rows = len(columns["image"])
    figure = Figure(figsize=(2.1 * len(columns), 2.1 * num_rows + 0.9), dpi=150, layout="constrained")
    axes = figure.subplots(num_rows, len(columns), squeeze=False)
    for column, (title, pictures) in enumerate(columns.items()):
        axes[0, column].set_title(title)
        for axis, picture in zip(axes[:, column], pictures.permute(0, 2, 3, 1).cpu().numpy()):
            axis.imshow(picture, interpolation="nearest")
            axis.set_axis_off()
    figure.suptitle(caption, fontsize="medium")
    if "roles" in columns:
        swatches = [Patch(facecolor=colour, label=name) for name, (_, colour) in _PAINTED.items()]
        if "weights" in columns:
            swatches += [Patch(facecolor=tuple(_HEAT[0].tolist()), label="low weight")]
            swatches += [Patch(facecolor=tuple(_HEAT[-1].tolist()), label="high weight")]
        figure.legend(handles=swatches, loc="outside lower center", ncols=len(swatches), frameon=False)
    figure.savefig(path)
