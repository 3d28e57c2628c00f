import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from mmcv.ops import batched_nms, bbox_overlaps, nms, nms_match, soft_nms

# mmcv tests/test_ops/test_nms.py
BOXES = [[6.0, 3, 8, 7], [3, 6, 9, 11], [3, 7, 10, 12], [1, 4, 13, 7]]
SCORES = [0.6, 0.9, 0.7, 0.2]


def iou(a, b, offset=0):
    """IoU in float32, as mmcv's loops."""
    f = np.float32
    w = max(f(0), f(min(a[2], b[2]) - max(a[0], b[0]) + offset))
    h = max(f(0), f(min(a[3], b[3]) - max(a[1], b[1]) + offset))
    area = [f((x[2] - x[0] + offset) * (x[3] - x[1] + offset)) for x in (a, b)]
    union = area[0] + area[1] - w * h
    return f(w * h) / union if union else f(0)


def brute_force_nms(boxes, scores, threshold, offset):
    kept = []
    for i in sorted(range(len(boxes)), key=lambda i: -scores[i]):  # sorted is stable
        if all(iou(boxes[k], boxes[i], offset) <= np.float32(threshold) for k in kept):
            kept.append(i)
    return kept


def brute_force_soft_nms(boxes, scores, threshold, sigma, min_score, method, offset):
    left = {i: float(s) for i, s in enumerate(scores)}
    kept = []
    while left:
        best = max(left, key=left.get)
        kept.append((best, left.pop(best)))
        for i in list(left):
            overlap = float(iou(boxes[best], boxes[i], offset))
            if method == "gaussian":
                left[i] *= np.exp(-(overlap**2) / sigma)
            elif overlap >= threshold:
                left[i] *= 1 - overlap if method == "linear" else 0
            if left[i] < min_score:
                del left[i]
    return [i for i, _ in kept], [s for _, s in kept]


corner = st.integers(0, 12)
box = st.tuples(corner, corner, st.integers(1, 8), st.integers(1, 8)).map(
    lambda b: (b[0], b[1], b[0] + b[2], b[1] + b[3])
)
boxes_and_scores = st.lists(box, min_size=1, max_size=24).flatmap(
    lambda boxes: st.tuples(st.just(boxes), st.permutations([(i + 1) / 32 for i in range(len(boxes))]))
)


@settings(max_examples=40, deadline=None)
@given(boxes_and_scores, st.sampled_from([0.1, 0.3, 0.5, 0.7]), st.sampled_from([0, 1]))
def test_nms_equals_brute_force(device, case, threshold, offset):
    boxes, scores = case
    dets, index = nms(
        torch.tensor(boxes, dtype=torch.float32, device=device), torch.tensor(scores, device=device), threshold, offset
    )
    assert index.tolist() == brute_force_nms(boxes, scores, threshold, offset)
    assert torch.equal(dets[:, :4].cpu(), torch.tensor(boxes, dtype=torch.float32)[index.cpu()])


@settings(max_examples=30, deadline=None)
@given(
    boxes_and_scores,
    st.sampled_from(["naive", "linear", "gaussian"]),
    st.sampled_from([0, 1]),
    st.sampled_from([1e-3, 0.2]),
)
def test_soft_nms_equals_brute_force(device, case, method, offset, min_score):
    boxes, scores = case
    scores = [s + i * 1e-3 for i, s in enumerate(scores)]  # no ties after scaling by equal overlaps
    dets, index = soft_nms(
        torch.tensor(boxes, dtype=torch.float64, device=device),
        torch.tensor(scores, dtype=torch.float64, device=device),
        0.3,
        0.5,
        min_score,
        method,
        offset,
    )
    kept, kept_scores = brute_force_soft_nms(boxes, scores, 0.3, 0.5, min_score, method, offset)
    np.testing.assert_allclose(dets[:, 4].cpu(), kept_scores, atol=1e-6)
    assert index.tolist() == kept


@settings(max_examples=40, deadline=None)
@given(boxes_and_scores, st.sampled_from([0.3, 0.5]))
def test_nms_match_groups_are_a_partition_led_by_kept_boxes(case, threshold):
    boxes, scores = case
    dets = torch.tensor([[*b, s] for b, s in zip(boxes, scores)], dtype=torch.float32)
    groups = [g.tolist() for g in nms_match(dets, threshold)]
    assert sorted(i for group in groups for i in group) == list(range(len(boxes)))
    leaders = [g[0] for g in groups]
    for number, (leader, *members) in enumerate(groups):
        assert members == sorted(members, key=lambda i: -scores[i])
        for member in members:
            assert scores[leader] > scores[member] and iou(boxes[leader], boxes[member]) >= np.float32(threshold)
            assert all(iou(boxes[k], boxes[member]) < np.float32(threshold) for k in leaders[:number])


@pytest.mark.parametrize(
    ("dtype", "atol"), [(torch.float16, 1e-3), (torch.bfloat16, 1e-2), (torch.float32, 0), (torch.float64, 0)]
)
def test_nms_published_values(device, dtype, atol):
    boxes, scores = (torch.tensor(v, dtype=dtype, device=device) for v in (BOXES, SCORES))
    dets, index = nms(boxes, scores, iou_threshold=0.3)
    assert index.tolist() == [1, 0, 3]
    expected = torch.tensor([[3, 6, 9, 11, 0.9], [6, 3, 8, 7, 0.6], [1, 4, 13, 7, 0.2]])
    torch.testing.assert_close(dets.float().cpu(), expected, atol=atol, rtol=0)


@pytest.mark.parametrize(
    ("method", "scores", "index"),
    [
        ("linear", [0.9, 0.6, 0.29024392, 0.2], [1, 0, 2, 3]),
        ("gaussian", [0.9, 0.59630775, 0.35275510, 0.18650459], [1, 0, 2, 3]),
        ("naive", [0.9, 0.6, 0.2], [1, 0, 3]),
    ],
)
def test_soft_nms_published_values(device, method, scores, index):
    dets, kept = soft_nms(
        torch.tensor(BOXES, device=device), torch.tensor(SCORES, device=device), 0.3, 0.5, 0.01, method
    )
    assert kept.tolist() == index
    np.testing.assert_allclose(dets[:, 4].cpu(), scores, rtol=1e-6)
    np.testing.assert_array_equal(dets[:, :4].cpu(), np.array(BOXES)[index])


def test_soft_nms_keeps_finite_scores_for_boxes_without_area():
    dets, index = soft_nms(torch.tensor([[3.0, 1, 3, 1]] * 3), torch.tensor([0.5, 0.4, 0.3]), method="gaussian")
    assert index.tolist() == [0, 1, 2]
    torch.testing.assert_close(dets[:, 4], torch.tensor([0.5, 0.4, 0.3]))


@pytest.mark.parametrize("nms_type", ["nms", "soft_nms"])
def test_batched_nms_works_class_by_class(device, nms_type):
    generator = torch.Generator().manual_seed(0)
    corner = torch.rand(60, 2, generator=generator) * 40
    boxes = torch.cat([corner, corner + 5 + torch.rand(60, 2, generator=generator) * 20], 1).to(device)
    scores = torch.rand(60, generator=generator).to(device)
    classes = torch.randint(0, 4, (60,), generator=generator).to(device)
    dets, kept = batched_nms(boxes, scores, classes, dict(type=nms_type, iou_threshold=0.4))
    alone = {"nms": nms, "soft_nms": soft_nms}[nms_type]
    expected = {}
    for label in range(4):
        members = (classes == label).nonzero()[:, 0]
        label_dets, label_kept = alone(boxes[members], scores[members], 0.4)
        expected.update(zip(members[label_kept].tolist(), label_dets[:, 4].tolist()))
    assert set(kept.tolist()) == set(expected)
    # batched_nms shifts boxes by class, which costs float32 digits in the overlaps
    np.testing.assert_allclose(dets[:, 4].cpu(), [expected[i] for i in kept.tolist()], atol=1e-4)
    split_dets, split_kept = batched_nms(boxes, scores, classes, dict(type=nms_type, iou_threshold=0.4, split_thr=10))
    assert torch.equal(kept, split_kept) and torch.equal(dets, split_dets)


def test_empty_inputs(device):
    boxes, scores = torch.zeros(0, 4, device=device), torch.zeros(0, device=device)
    for op in (nms, soft_nms):
        dets, index = op(boxes, scores, 0.5)
        assert dets.shape == (0, 5) and index.shape == (0,) and index.dtype == torch.int64


@pytest.mark.parametrize("offset", [0, 1])
def test_bbox_overlaps(device, offset):
    generator = torch.Generator().manual_seed(1)
    corner = torch.randint(0, 10, (2, 5, 2), generator=generator)
    first, second = (
        torch.cat([corner, corner + torch.randint(1, 9, (2, 5, 2), generator=generator)], 2).float().to(device)
    )
    expected = np.array([[iou(a, b, offset) for b in second.tolist()] for a in first.tolist()])
    np.testing.assert_allclose(bbox_overlaps(first, second, offset=offset).cpu(), expected, rtol=1e-6)
    aligned = bbox_overlaps(first, second, aligned=True, offset=offset)
    np.testing.assert_allclose(aligned.cpu(), expected.diagonal(), rtol=1e-6)
    area1, area2 = ((b[:, 2:] - b[:, :2] + offset).prod(1).cpu().numpy() for b in (first, second))
    inter = expected * (area1[:, None] + area2) / (1 + expected)
    over_first = bbox_overlaps(first, second, mode="iof", offset=offset)
    np.testing.assert_allclose(over_first.cpu(), inter / area1[:, None], rtol=1e-5)
