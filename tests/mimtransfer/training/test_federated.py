"""The federated loss of LVIS: which classes count, and what they cost."""
import pytest
import torch
import torch.nn.functional as F

from mimtransfer.errors import UserError
from mimtransfer.training.losses import FederatedLoss


def test_costs_are_those_of_the_kept_classes():
    torch.manual_seed(0)
    loss = FederatedLoss(num_classes=6, num_kept=4, image_counts=(9, 1, 4, 16, 25, 1))
    logits, label = torch.randn(5, 7), torch.tensor([0, 3, 6, 6, 3])  # 6 is background
    torch.manual_seed(1)
    kept = loss.kept(label)
    assert kept[[0, 3]].all() and kept.sum() == 3  # classes 0, 3, the background, and one drawn
    torch.manual_seed(1)
    got = loss(logits, label)
    target = torch.zeros(5, 6)
    target[[0, 1, 4], [0, 3, 3]] = 1
    each = F.binary_cross_entropy_with_logits(logits[:, :6].double(), target.double(), reduction="none")
    assert got.item() == pytest.approx(each[:, kept].sum().item() / 5, rel=1e-5)


def test_enough_classes_are_all_that_count():
    loss = FederatedLoss(num_classes=6, num_kept=2, image_counts=(1,) * 6)
    assert loss.kept(torch.tensor([5, 1, 4])).tolist() == [False, True, False, False, True, True]


def test_negatives_are_drawn_by_the_root_of_their_counts():
    torch.manual_seed(0)
    loss = FederatedLoss(num_classes=4, num_kept=2, image_counts=(100, 1, 16, 25))
    drawn = torch.stack([loss.kept(torch.tensor([0])) for _ in range(4000)]).float().mean(0)
    assert drawn[0] == 1
    torch.testing.assert_close(drawn[1:], torch.tensor([0.1, 0.4, 0.5]), atol=0.03, rtol=0)


def test_lvis_has_its_counts_and_other_data_need_theirs():
    assert FederatedLoss().chance.shape == (1203,) and (FederatedLoss().chance > 0).all()
    with pytest.raises(UserError, match="got 1203 image counts for num_classes=5"):
        FederatedLoss(num_classes=5)


def test_background_has_no_probability():
    loss = FederatedLoss()
    scores = loss.get_activation(torch.zeros(2, 1204))
    assert scores[:, :-1].unique().tolist() == [0.5] and scores[:, -1].tolist() == [0, 0]
    logits = torch.eye(3, 1204)
    assert loss.get_accuracy(logits, torch.tensor([0, 2, 1203]))["acc_classes"] == 50
