"""Orders of labelled images: exact on cases worked out by hand, the same for ever, proportional, nested, whole."""
import hashlib

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from mimtransfer.datasets.label_order import hashed_order, shot_order, stratified_order

NAMES = [f"train/{k:03d}.jpg" for k in range(40)]


def tables(max_images=30, max_classes=6, max_count=3):
    """Numbers of objects [N, C], with a seed."""
    def table(size):
        rows = st.lists(st.integers(0, max_count), min_size=size[1], max_size=size[1])
        return st.tuples(st.lists(rows, min_size=size[0], max_size=size[0]).map(np.array), st.integers(0, 99))
    return st.tuples(st.integers(1, max_images), st.integers(1, max_classes)).flatmap(table)


def long_table(images=3000, classes=20):
    """Classes of very different frequency, which come together in crowded images."""
    random = np.random.RandomState(0)
    frequency = np.geomspace(0.0015, 0.5, classes)
    crowd = random.gamma(2, 0.5, (images, 1))
    return (random.rand(images, classes) < np.minimum(1, frequency * crowd)).astype(int)


def test_the_order_is_that_of_the_hashes_of_seed_and_name():
    digests = [hashlib.sha256(f"7\0{name}".encode()).hexdigest() for name in NAMES]
    assert hashed_order(NAMES, 7).tolist() == sorted(range(40), key=digests.__getitem__)
    # By coreutils' sha256sum: the same on any machine, in any version.
    assert hashed_order(NAMES, 7)[:8].tolist() == [10, 37, 31, 18, 26, 28, 1, 33]
    assert hashed_order(NAMES, 8)[:8].tolist() == [33, 5, 2, 11, 39, 26, 18, 29]
    assert hashed_order([], 0).tolist() == []


def test_the_place_of_an_image_in_the_data_set_does_not_matter():
    counts = long_table(40, 6)
    turned = np.random.RandomState(1).permutation(40)
    names = [NAMES[k] for k in turned]
    for choose, amount in ((stratified_order, 25), (shot_order, 3)):
        first = [NAMES[k] for k in choose(counts, NAMES, 3, amount)]
        assert [names[k] for k in choose(counts[turned], names, 3, amount)] == first


def test_one_class_an_image_by_hand():
    """12 images of classes 0 0 0 0 0 0 1 1 1 2 2 -: each once, rarest first, then what is lacking most."""
    labels = [0] * 6 + [1] * 3 + [2] * 2
    counts = np.zeros((12, 3), int)
    counts[range(11), labels] = 1  # the last has none, which is a class of one image
    names = NAMES[:12]
    found = stratified_order(counts, names, 0, 12)
    classes = [[*labels, 3][k] for k in found]
    # Turn 1: 3 (one image), 2, 1, 0. Then (taken so far + 1) * total - taken * 12: at 5 images class 0 lacks 5*6-12=18,
    # 1 lacks 5*3-12=3, 2 lacks 5*2-12=-2; at 6: 0 lacks 12, 1 6; at 7: 0 lacks 6, 1 9, 2 2; at 8: 0 lacks 12, 1 0, 2 4;
    # at 9: 0 6, 1 3, 2 6, and of equals the one that waits in front; then what is left.
    assert classes[:8] == [3, 2, 1, 0, 0, 0, 1, 0]
    assert sorted(classes[8:]) == [0, 0, 1, 2] and {*classes[8:10]} == {0, 2}
    order = hashed_order(names, 0).tolist()
    for label in range(4):  # of a class the images come as they are hashed
        chosen = [k for k in found if [*labels, 3][k] == label]
        assert chosen == [k for k in order if [*labels, 3][k] == label]


def test_the_next_image_is_the_best_of_sixteen():
    """Against a search by the definition: the smallest sum of squares of the distances to the shares of the whole."""
    counts = long_table(300, 8)
    names = [f"{k}" for k in range(300)]
    found = stratified_order(counts, names, 2, 60).tolist()
    there = np.concatenate([counts, counts.sum(1, keepdims=True) == 0], 1) > 0
    start = stratified_order(counts, names, 2, 9)
    begun = len(shot_order(there.astype(int), names, 2, 1))
    assert found[:9] == start.tolist()
    waiting = [k for k in hashed_order(names, 2).tolist() if k not in found[:begun]]
    for place in range(begun, 60):
        candidates, waiting = waiting[:16], waiting[16:]

        def distance(k, before=found[:place]):
            taken = there[[*before, k]].sum(0)
            return ((taken * 300 - there.sum(0) * len([*before, k])) ** 2).sum()

        best = min(candidates, key=distance)  # of equals the first
        assert found[place] == best
        waiting += [k for k in candidates if k != best]


@settings(max_examples=60, deadline=None)
@given(tables())
def test_every_beginning_is_a_smaller_subset_and_holds_all_classes(case):
    counts, seed = case
    names = NAMES[: len(counts)]
    whole = stratified_order(counts, names, seed, len(counts))
    assert sorted(whole) == list(range(len(counts)))  # each image once
    for length in range(len(counts) + 1):
        part = stratified_order(counts, names, seed, length)
        assert part.tolist() == whole[:length].tolist()
        if length > counts.shape[1]:  # as many as there are classes, with that of no label
            assert (counts[part].sum(0) > 0).tolist() == (counts.sum(0) > 0).tolist()


@settings(max_examples=60, deadline=None)
@given(tables())
def test_shots_are_enough_and_none_too_many(case):
    counts, seed = case
    names, before = NAMES[: len(counts)], []
    for shots in range(1, 6):
        part = shot_order(counts, names, seed, shots).tolist()
        assert len(set(part)) == len(part) and part[: len(before)] == before
        assert (counts[part].sum(0) >= np.minimum(shots, counts.sum(0))).all()
        if part:  # the last image was needed
            assert (counts[part[:-1]].sum(0) < np.minimum(shots, counts.sum(0))).any()
        before = part


def test_shots_by_hand():
    """Class 1 is in one image, class 0 in three: 1 first, whose image also has an object of 0."""
    counts = np.array([[1, 0], [4, 0], [1, 2]])
    for seed in range(5):
        order = [k for k in hashed_order("abc", seed).tolist() if k != 2]
        assert shot_order(counts, "abc", seed, 1).tolist() == [2]
        # Turn 2: class 1 has its two objects, class 0 one, so it gets the next image in the order of the hashes.
        assert shot_order(counts, "abc", seed, 2).tolist() == [2, order[0]]
        assert shot_order(counts, "abc", seed, 9).tolist() == [2, *order]
        assert shot_order(counts, "abc", seed, 10**15).tolist() == [2, *order]  # at once


@pytest.mark.parametrize("share", [0.01, 0.02, 0.05, 0.1])
def test_classes_keep_their_shares(share):
    counts = long_table()
    names, length = [str(k) for k in range(len(counts))], round(share * len(counts))
    parts = [stratified_order(counts, names, seed, length) for seed in range(3)]
    drawn = [hashed_order(names, seed)[:length] for seed in range(3)]
    expected = length * counts.mean(0)
    for part in parts:
        assert np.abs(counts[part].sum(0) - expected).max() < 3 and counts[part].sum(0).min() >= 1
        # No crowded images: more labels than in the whole only where a class would have less than one image.
        surplus = np.maximum(0, 1 - expected).sum()
        assert abs(counts[part].sum() - expected.sum() - surplus) < 0.5 * counts.shape[1]  # half a label a class
    assert max(np.abs(counts[part].sum(0) - expected).max() for part in drawn) > 3  # a draw without strata
    common = len({*parts[0].tolist()} & {*parts[1].tolist()})
    assert common < 4 * share * length + 10  # seeds are other subsets, but for the rarest images
