"""The frequency loss against whole spectra in float64, its gradients, its averages."""
import pytest
import torch
from full_spectrum import loss as full_loss
from full_spectrum import masks
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from mimtransfer.errors import UserError
from pretrain.corruptions.frequency import low_frequencies
from pretrain.methods.frequency_loss import FrequencyLoss

SIZES = [(8, 8), (7, 7), (6, 9), (9, 6), (1, 4), (5, 2)]


def pair(height: int, width: int, batch: int = 2, dtype: torch.dtype = torch.float64) -> tuple:
    generator = torch.Generator().manual_seed(0)
    return torch.randn(2, batch, 3, height, width, generator=generator, dtype=dtype).unbind(0)


def half(height: int, width: int, radius: float, low_pass: list[bool]) -> torch.Tensor:
    disc = low_frequencies(height, width, radius)
    return torch.stack([disc if low else ~disc for low in low_pass])


@settings(max_examples=25, deadline=None)
@given(height=st.integers(2, 13), width=st.integers(2, 13), gamma=st.sampled_from([0.5, 1.0, 2.0]), data=st.data())
def test_equals_the_loss_of_whole_spectra(height, width, gamma, data):
    prediction, target = pair(height, width)
    low_pass = torch.tensor(data.draw(st.sampled_from([[True, True], [False, False], [True, False]])))
    radius = data.draw(st.floats(1, min(height, width) / 2))
    kept = half(height, width, radius, low_pass)
    assume(not kept.all())  # of 3 x 3 pixels a disc may hold every bin
    loss = FrequencyLoss(gamma)(prediction, target, kept)
    expected = full_loss(prediction, target, masks(height, width, radius, low_pass), gamma)
    assert loss.item() == pytest.approx(expected.item(), rel=1e-12)
    for bins, given_bins in (("all", kept), ("masked", None)):
        loss = FrequencyLoss(gamma, bins)(prediction, target, given_bins)
        assert loss.item() == pytest.approx(full_loss(prediction, target, None, gamma).item(), rel=1e-12)


def test_gamma_2_on_all_bins_is_the_mean_squared_error():
    # Parseval: an orthonormal transform keeps the sum of squares.
    for size in SIZES:
        prediction, target = pair(*size)
        loss = FrequencyLoss(gamma=2)(prediction, target, None)
        assert loss.item() == pytest.approx((prediction - target).square().mean().item(), rel=1e-9)


@pytest.mark.parametrize(
    "options",
    [dict(), dict(normalise="sample", gamma=0.5), dict(bins="all", focal_gamma=1.0), dict(bins="all", patch_factor=2),
     dict(average_spectrum=True)],
    ids=str,
)
@pytest.mark.parametrize("dtype", [torch.float64, torch.bfloat16])
def test_zero_level_is_the_loss_of_zeros(options, dtype):
    """The one hand-made case below says what the loss of zeros is."""
    _, target = pair(16, 12, dtype=torch.float64)
    target, kept = target.to(dtype), half(16, 12, 4, [True, False])
    criterion = FrequencyLoss(**options)
    level = criterion.zero_level(target.clone().requires_grad_(), kept)
    assert not level.requires_grad and level.dtype == torch.promote_types(dtype, torch.float32)
    assert level.item() == pytest.approx(criterion(torch.zeros_like(target), target, kept).item(), rel=1e-6)


def test_zero_level_of_masked_bins_is_their_mean_magnitude():
    _, target = pair(16, 12)
    kept = half(16, 12, 4, [True, False])
    spectrum = torch.fft.fft2(target, norm="ortho").abs()  # whole, in float64
    disc = (torch.fft.fftfreq(16) * 16)[:, None] ** 2 + (torch.fft.fftfreq(12) * 12) ** 2 < 16
    counted = torch.cat([spectrum[0][:, ~disc].flatten(), spectrum[1][:, disc].flatten()])
    assert FrequencyLoss().zero_level(target, kept).item() == pytest.approx(counted.mean().item(), rel=1e-9)


@pytest.mark.parametrize("normalise", ["batch", "sample"])
def test_perfect_restoration_and_kept_frequencies_cost_nothing(normalise):
    prediction, target = pair(16, 12)
    kept = half(16, 12, 4, [True, False])
    criterion = FrequencyLoss(normalise=normalise)
    assert criterion(target, target, kept).item() == pytest.approx(1e-6, rel=1e-9)  # sqrt(1e-12)
    spectrum = torch.where(kept[:, None], torch.fft.rfft2(prediction), torch.fft.rfft2(target))
    other = torch.fft.irfft2(spectrum, s=(16, 12))
    assert (other - target).abs().max() > 0.1
    assert criterion(other, target, kept).item() == pytest.approx(1e-6, rel=1e-6)
    assert FrequencyLoss(bins="all")(other, target, kept) > 0.1


def test_normalisation_by_sample_weighs_samples_alike():
    prediction, target = pair(16, 12)
    kept = half(16, 12, 4, [True, False])
    alone = [FrequencyLoss()(prediction[i : i + 1], target[i : i + 1], kept[i : i + 1]).item() for i in range(2)]
    masked = [(~masks(16, 12, 4, torch.tensor([low])).bool()).sum().item() for low in (True, False)]
    pooled = (alone[0] * masked[0] + alone[1] * masked[1]) / sum(masked)
    assert FrequencyLoss()(prediction, target, kept).item() == pytest.approx(pooled, rel=1e-12)
    by_sample = FrequencyLoss(normalise="sample")(prediction, target, kept).item()
    assert by_sample == pytest.approx(sum(alone) / 2, rel=1e-12)
    assert masked == [192 - 45, 45]


OPTIONS = [
    dict(), dict(gamma=0.5), dict(gamma=2.0, normalise="sample"), dict(bins="all", patch_factor=2),
    dict(average_spectrum=True),
]


@pytest.mark.parametrize("options", OPTIONS, ids=str)
def test_gradient(options):
    prediction, target = pair(6, 4)
    kept = half(6, 4, 2, [True, False])
    criterion = FrequencyLoss(**options)
    assert torch.autograd.gradcheck(lambda x: criterion(x, target, kept), prediction.requires_grad_())


def test_gradient_of_a_perfect_restoration_is_zero_and_not_nan():
    target = pair(6, 5)[0]
    for gamma in (0.5, 1.0, 2.0):
        prediction = target.clone().requires_grad_()
        FrequencyLoss(gamma, focal_gamma=1.0)(prediction, target, None).backward()
        assert (prediction.grad == 0).all()


@pytest.mark.parametrize("batch", [False, True])
@pytest.mark.parametrize("log", [False, True])
def test_focal_weights_grow_with_the_distance_and_have_no_gradient(log, batch):
    prediction, target = pair(5, 6)
    distance = torch.fft.fft2(prediction - target, norm="ortho").abs()
    weights = distance**1.5
    weights = (weights + 1).log() if log else weights
    weights = weights / (weights.max() if batch else weights.amax((2, 3), keepdim=True))
    criterion = FrequencyLoss(focal_gamma=1.5, focal_log=log, focal_batch=batch)
    prediction.requires_grad_()
    loss = criterion(prediction, target, None)
    assert loss.item() == pytest.approx((weights * distance).mean().item(), rel=1e-9)
    constant = (weights * torch.fft.fft2(prediction - target, norm="ortho").abs()).mean()
    expected, found = (torch.autograd.grad(value, prediction)[0] for value in (constant, loss))
    assert torch.allclose(found, expected, atol=1e-9)


def test_tiles_have_spectra_of_their_own():
    prediction, target = pair(8, 12)
    tiles = [[x[:, :, i : i + 4, j : j + 6] for x in (prediction, target)] for i in (0, 4) for j in (0, 6)]
    expected = sum(full_loss(*tile, None) for tile in tiles) / 4
    assert FrequencyLoss(patch_factor=2)(prediction, target, None).item() == pytest.approx(expected.item(), rel=1e-12)


def test_half_precision_is_compared_in_float32():
    prediction, target = pair(16, 12, dtype=torch.float32)
    kept = half(16, 12, 4, [True, False])
    with torch.autocast("cpu", dtype=torch.bfloat16):
        loss = FrequencyLoss()(prediction.bfloat16(), target, kept)
    assert loss.dtype == torch.float32
    assert loss.item() == pytest.approx(FrequencyLoss()(prediction.bfloat16().float(), target, kept).item(), rel=1e-6)


@pytest.mark.parametrize("options, message", [
    (dict(gamma=0), "got gamma=0; expected an exponent above 0"),
    (dict(bins="kept"), "got bins='kept'; expected 'masked' or 'all'"),
    (dict(normalise="pixel"), "got normalise='pixel'; expected 'batch' or 'sample'"),
    (dict(focal_log=True), "expected focal_gamma to be set"),
    (dict(patch_factor=0), "got patch_factor=0; expected 1 or more"),
    (dict(patch_factor=4, bins="all"), "got images of 6 x 8 pixels and patch_factor=4"),
    (dict(patch_factor=2), "expected patch_factor=1 or bins='all'"),
])
def test_mistakes_give_one_line(options, message):
    with pytest.raises(UserError, match=message):
        FrequencyLoss(**options)(*pair(6, 8), half(6, 8, 2, [True, False]))
