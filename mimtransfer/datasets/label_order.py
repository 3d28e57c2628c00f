"""Which images of a data set get their labels first: orders of which each beginning is a subset, drawn by a seed.

An order is a function of the names of the images, their labels and the seed alone. Draws are hashes of the names and
all arithmetic is on integers, so machine, version and the place of an image in its data set have no part in it.
"""
import hashlib
from collections import deque
from collections.abc import Sequence

import numpy as np

_CANDIDATES = 16  # images of which the one that fits best comes next


def hashed_order(names: Sequence[str], seed: int) -> np.ndarray:
    """Return the numbers of the images by the hashes of their names: [N] int64, a draw without replacement.

    Images of the same name stay in their order.
    """
    hashes = [hashlib.sha256(f"{seed}\0{name}".encode()).digest() for name in names]
    return np.array(sorted(range(len(names)), key=hashes.__getitem__), dtype=np.int64)


def stratified_order(counts: np.ndarray, names: Sequence[str], seed: int, length: int) -> np.ndarray:
    """Return the first images of an order in which every class comes early and then as often as in the whole.

    First the classes are gone through, the rarest one first: one that has no image yet gets its first in the order of
    the hashes. So a beginning as long as there are classes holds all of them. Then, of the next 16 images in that order
    the one follows that brings the numbers of images of all classes closest to their shares of the whole, by the sum of
    squares; the other 15 go to the end. Images without a label count as a class.

    Args:
        counts: [N, C] int, how many objects (or whether any pixels) of a class an image has.
        names: of the images, as `hashed_order` takes them.
        seed: of the draw.
        length: of the beginning that is returned, at most N.

    Returns:
        [length] int64, numbers of images; a smaller length gives a beginning of it.
    """
    order = hashed_order(names, seed)
    there = np.asarray(counts) > 0
    there = np.concatenate([there, ~there.any(1, keepdims=True)], 1)
    chosen = _in_turns(there.astype(np.int64), order, 1)[:length]
    taken, totals = there[chosen].sum(0), there.sum(0)
    waiting = deque(order[~np.isin(order, chosen)].tolist())
    while len(chosen) < length:
        candidates = [waiting.popleft() for _ in range(min(_CANDIDATES, len(waiting)))]
        found = there[candidates].astype(np.int64)
        # What each class lacks, times N; adding an image of labels x changes the sum of squares by N times this.
        lacks = totals * (len(chosen) + 1) - taken * len(there)
        best = int(np.argmin(len(there) * found.sum(1) - 2 * found @ lacks))
        taken = taken + found[best]
        chosen.append(candidates.pop(best))
        waiting.extend(candidates)
    return np.array(chosen, dtype=np.int64)


def shot_order(counts: np.ndarray, names: Sequence[str], seed: int, shots: int) -> np.ndarray:
    """Return images that hold at least `shots` objects of each class, of a class with fewer all there are.

    The classes are gone through `shots` times, the rarest one first: in turn k, one with fewer than k objects in what
    is chosen gets its next image in the order of the hashes. An image brings all its objects, so frequent classes get
    more.

    Args:
        counts, names, seed: see `stratified_order`.
        shots: k, 1 or more.

    Returns:
        [n] int64, numbers of images; fewer shots give a beginning of it.
    """
    return np.array(_in_turns(np.asarray(counts).astype(np.int64), hashed_order(names, seed), shots), dtype=np.int64)


def _in_turns(counts: np.ndarray, order: np.ndarray, turns: int) -> list[int]:
    images = (counts > 0).sum(0)
    classes = [label for label in np.argsort(images, kind="stable").tolist() if images[label]]
    members = {label: iter(order[counts[order, label] > 0].tolist()) for label in classes}
    chosen: dict[int, None] = {}
    taken = np.zeros(counts.shape[1], dtype=np.int64)
    most = int(counts.sum(0).max(initial=0))  # of any class; later turns add nothing
    for turn in range(1, min(turns, most) + 1):
        for label in classes:
            while taken[label] < turn and (image := next(members[label], None)) is not None:
                if image not in chosen:
                    chosen[image] = None
                    taken += counts[image]
    return list(chosen)
