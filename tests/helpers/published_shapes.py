"""State dicts with the names and shapes that the code of each codebase gives its models, and random values."""
import json
import math
import re
import zlib
from pathlib import Path

import torch

FIXTURES = Path(__file__).parents[1] / "mimtransfer" / "checkpoints" / "fixtures"
FAMILIES = json.loads((FIXTURES / "published_shapes.json").read_text())["families"]
NOISE = torch.randn(2**22, generator=torch.Generator().manual_seed(0)) * 0.02


def published(family, deepest=99):
    """Return the state dict of a family; its tensors are different windows of one storage, which a file holds once."""
    state = {}
    for name, shape in FAMILIES[family].items():
        found = re.search(r"(?<=\.)(\d+)-(\d+)(?=\.)", name)
        first, last = map(int, found.groups()) if found else (0, 0)
        for number in range(first, min(last, deepest) + 1):
            full = name[: found.start()] + str(number) + name[found.end():] if found else name
            state[full] = values(full, shape)
    return state


def values(name, shape):
    if name.endswith(("relative_position_index", "attn_mask", "num_batches_tracked", "position_ids")):
        return torch.zeros(shape, dtype=torch.long)
    size = math.prod(shape)
    if size > len(NOISE):  # the words of CLIP, of no interest to an image encoder: a byte each
        return torch.zeros(shape, dtype=torch.bool)
    start = zlib.crc32(name.encode()) % max(len(NOISE) - size, 1)
    return NOISE[start : start + size].view(shape)
