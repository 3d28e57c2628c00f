import numpy as np
import pytest
import torch
from mmcv.ops import SigmoidFocalLoss, SoftmaxFocalLoss, sigmoid_focal_loss, softmax_focal_loss

# mmcv tests/test_ops/test_focal_loss.py: logits, targets, (loss, gradient) of the softmax and of the sigmoid form
LOGITS = [
    [[1.0, 0], [0, 1]],
    [[1.0, 0, -1], [0, 1, 2]],
    [[1e-6, 2e-6, 3e-6], [4e-6, 5e-5, 6e-4], [7e-3, 8e-2, 9e-1]],
]
TARGETS = [[0, 1], [2, 1], [1, 2, 0]]
SOFTMAX = [
    (0.00566451, [[-0.00657264, 0.00657264], [0.00657264, -0.00657264]]),
    (0.34956908, [[0.10165970, 0.03739851, -0.13905823], [0.01227554, -0.10298023, 0.09070466]]),
    (
        0.15754992,
        [
            [0.02590877, -0.05181759, 0.02590882],
            [0.02589641, 0.02589760, -0.05179400],
            [-0.07307514, 0.02234372, 0.05073142],
        ],
    ),
]
SIGMOID = [
    (0.13562961, [[-0.00657264, 0.11185755], [0.11185755, -0.00657264]]),
    (1.10251057, [[0.28808805, 0.11185755, -0.09602935], [0.11185755, -0.00657264, 0.40376765]]),
    (
        0.42287254,
        [
            [0.07457182, -0.02485716, 0.07457201],
            [0.07457211, 0.07457669, -0.02483728],
            [-0.02462499, 0.08277918, 0.18050370],
        ],
    ),
]


def equation(probability, gamma, alpha):
    """arXiv:1708.02002, eq. 5."""
    return -alpha * (1 - probability) ** gamma * probability.log()


def sigmoid_reference(logits, target, weight, gamma, alpha):
    total = []
    for row, t in zip(logits, target.tolist()):
        p = row.sigmoid()
        terms = [
            equation(p[c], gamma, alpha) if c == t else equation(1 - p[c], gamma, 1 - alpha) for c in range(len(row))
        ]
        total.append(torch.stack(terms) * (weight[t] if t < len(weight) else 1))
    return torch.stack(total)


@pytest.mark.parametrize("case", range(3))
@pytest.mark.parametrize(("op", "expected"), [(softmax_focal_loss, SOFTMAX), (sigmoid_focal_loss, SIGMOID)])
@pytest.mark.parametrize(("dtype", "rtol"), [(torch.float16, 1e-2), (torch.float32, 1e-5), (torch.float64, 1e-5)])
def test_published_values(device, dtype, rtol, op, expected, case):
    logits = torch.tensor(LOGITS[case], dtype=dtype, device=device, requires_grad=True)
    loss = op(logits, torch.tensor(TARGETS[case], device=device), 2.0, 0.25, None, "mean")
    loss.backward()
    np.testing.assert_allclose(loss.item(), expected[case][0], rtol=rtol)
    np.testing.assert_allclose(logits.grad.float().cpu(), expected[case][1], rtol=rtol, atol=1e-6)


@pytest.mark.parametrize(("gamma", "alpha"), [(2.0, 0.25), (0.0, 0.5), (1.5, 0.9)])
@pytest.mark.parametrize("weighted", [False, True])
def test_sigmoid_form_equals_the_equation(device, gamma, alpha, weighted):
    generator = torch.Generator().manual_seed(0)
    logits = (3 * torch.randn(6, 4, generator=generator, dtype=torch.float64)).to(device).requires_grad_()
    target = torch.tensor([0, 3, 4, 1, 2, 4], device=device)  # 4 = background
    weight = torch.tensor([0.5, 2, 1, 3], dtype=torch.float64, device=device) if weighted else None
    expected = sigmoid_reference(logits, target, weight if weighted else torch.ones(4, device=device), gamma, alpha)
    loss = sigmoid_focal_loss(logits, target, gamma, alpha, weight, "none")
    torch.testing.assert_close(loss, expected, rtol=1e-9, atol=1e-12)
    (grad,) = torch.autograd.grad(loss.sum(), logits)
    torch.testing.assert_close(grad, torch.autograd.grad(expected.sum(), logits)[0], rtol=1e-9, atol=1e-12)
    assert torch.autograd.gradcheck(SigmoidFocalLoss(gamma, alpha, weight), (logits, target))


@pytest.mark.parametrize("gamma", [2.0, 1.0, 0.5, 0.0])
def test_softmax_form_equals_the_equation(device, gamma):
    generator = torch.Generator().manual_seed(1)
    logits = torch.randn(5, 3, generator=generator, dtype=torch.float64).to(device).requires_grad_()
    target = torch.tensor([0, 2, 1, 1, 0], device=device)
    weight = torch.tensor([0.5, 2, 3], dtype=torch.float64, device=device)
    p = logits.softmax(1).gather(1, target[:, None])[:, 0]
    loss = softmax_focal_loss(logits, target, gamma, 0.25, weight, "none")
    torch.testing.assert_close(loss, equation(p, gamma, 0.25) * weight[target], rtol=1e-9, atol=1e-12)
    assert torch.autograd.gradcheck(SoftmaxFocalLoss(gamma, 0.25, weight), (logits, target))


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float32])
def test_confident_mistakes_have_their_true_finite_loss(device, dtype):
    logits = torch.tensor([[60.0, -60.0]], dtype=dtype, device=device, requires_grad=True)
    loss = sigmoid_focal_loss(logits, torch.tensor([1], device=device), 2.0, 0.25, None, "none")
    torch.testing.assert_close(loss.float().cpu(), torch.tensor([[0.75 * 60, 0.25 * 60]]))
    loss.sum().backward()
    torch.testing.assert_close(logits.grad.float().cpu(), torch.tensor([[0.75, -0.25]]))


def test_certain_softmax_has_finite_gradient(device):
    logits = torch.tensor([[90.0, -90.0]], device=device, requires_grad=True)
    for label, slope in ((0, 0.0), (1, 0.25)):
        loss = softmax_focal_loss(logits, torch.tensor([label], device=device), 0.5, 0.25)
        (grad,) = torch.autograd.grad(loss, logits)
        assert loss.isfinite()
        torch.testing.assert_close(grad.cpu(), torch.tensor([[slope, -slope]]), atol=1e-6, rtol=0)
