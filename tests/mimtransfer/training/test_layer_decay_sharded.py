"""Layer-wise lr decay of a model that FSDP has sharded over two processes: the groups of the whole model."""
import torch
from forked_tool import run_ranks
from sharded_toy import Detector, groups, sharded_groups


def test_groups_of_a_sharded_model_are_those_of_the_whole(tmp_path):
    whole = Detector()
    expected = groups(whole)
    assert expected["backbone.blocks.1.fc.weight"] == (0.5, 0.1) and expected["backbone.blocks.0.fc.bias"] == (0.25, 0)
    assert run_ranks(sharded_groups, str(tmp_path / "store"), str(tmp_path)) == [0, 0]
    found = [torch.load(tmp_path / f"{rank}.pt") for rank in range(2)]
    assert found[0][0] == found[1][0] == expected
    total = sum(param.numel() for param in whole.parameters())
    assert max(pieces for _, pieces in found) < total  # each held a part


def test_a_wrapper_of_several_processes_changes_nothing():
    whole = Detector()
    wrapped = torch.nn.DataParallel(whole)  # has the model as `module`, like DistributedDataParallel
    found = {name.removeprefix("module."): group for name, group in groups(wrapped).items()}
    assert found == groups(whole)
