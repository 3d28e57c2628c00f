"""`compile_loss`: every method is one graph, compiled once, and equals eager; a model keeps its names."""

import pytest
import torch
import torch._dynamo
import torch._inductor.config
from compile_toys import MAE, MEASURED, METHODS, build, raw_batch, step, train_in_two_processes
from torch._dynamo.testing import CompileCounterWithBackend
from torch._dynamo.utils import counters

from mimtransfer.training.compilation import compiled_parts
from pretrain.masking.bank import MapBank

# Of these, forward and backward are lowered to torch's basic operators; of the others the graph runs as it is.
LOWERED = ("MAE", "BEiT of blocks", "MaPeT", "MFM")


@pytest.fixture(autouse=True)
def nothing_compiled_before():
    torch._dynamo.reset()
    counters.clear()


def twins(config, backend):
    """Return one model eager, one compiled, and the counter of its graphs."""
    counter = CompileCounterWithBackend(backend)
    return build(config), build(config, compile_loss=counter), counter


def check_steps(eager, compiled, seeds):
    for seed in seeds:
        expected, got = step(eager, seed), step(compiled, seed)
        torch.testing.assert_close(got, expected, rtol=1e-5, atol=1e-6)


@pytest.mark.parametrize("name", METHODS)
def test_each_method_is_one_graph_that_other_batches_keep(name):
    eager, compiled, counter = twins(METHODS[name], "aot_eager" if name in LOWERED else "eager")
    assert len(compiled_parts(compiled)) == 1 and list(compiled.state_dict()) == list(eager.state_dict())
    check_steps(eager, compiled, [0])
    with torch._dynamo.config.patch(error_on_recompile=True):
        check_steps(eager, compiled, [1, 2])
    assert counter.frame_count == 1 and counters["stats"]["unique_graphs"] == 1 and not counters["graph_break"]
    called = {getattr(node.target, "__name__", "") for graph in counter.graphs for node in graph.graph.nodes}
    assert "layer_norm" in called and "interpolate" not in called  # positions fit, and timm resamples when compiled


@pytest.mark.parametrize("name", MEASURED)
def test_maps_bring_one_more_graph(name):
    eager, compiled, counter = twins(MEASURED[name], "eager")  # graphs are those of any backend
    check_steps(eager, compiled, [0, 1])
    assert counter.frame_count == 1
    maps = torch.rand(2, 4, 4, generator=torch.Generator().manual_seed(3)).half()
    eager.strategy.bank = compiled.strategy.bank = MapBank(maps)
    same_counts = name == "semantic"  # 3 of 4 patches masked before and after: not even one
    with torch._dynamo.config.patch(error_on_recompile=same_counts):
        check_steps(eager, compiled, [2])
    with torch._dynamo.config.patch(error_on_recompile=True):
        check_steps(eager, compiled, [3, 4])
    assert counter.frame_count == 2 - same_counts and not counters["graph_break"]


def test_two_processes_split_the_graph_at_the_buckets_of_ddp(tmp_path):
    """1.2 MB of MLP in each of two blocks, buckets of 1 MB: three graphs, so gradients travel while others are made."""
    for (eager, compiled), num_graphs, breaks in (ranks := train_in_two_processes(tmp_path)):
        assert num_graphs == 3 and not breaks
        torch.testing.assert_close(compiled, eager, rtol=1e-5, atol=1e-6)
    (_, (first, weights)), (_, (second, same)) = (weights for weights, *_ in ranks)
    assert torch.equal(weights, same) and not torch.equal(first, second)


@torch.no_grad()
def test_inductor_compiles_mae_on_a_cpu():
    """The forward pass of the smallest MAE: seven kernels, a second of g++ each. Looking for vectors takes longer."""
    smallest = dict(MAE, decoder=dict(embed_dim=32, depth=0, num_heads=2), norm_pix_loss=False)
    eager, compiled = build(smallest), build(smallest, compile_loss=True)
    with torch._inductor.config.patch({"cpp.vec_isa_ok": False, "compile_threads": 1}):
        for seed in range(2):
            data = eager.data_preprocessor(raw_batch(seed), True)
            torch.testing.assert_close(compiled(**data)["loss"], eager(**data)["loss"], rtol=1e-5, atol=0)
    assert counters["inductor"] and not counters["graph_break"]
    assert compiled_parts(compiled) == ["MAE.loss: inductor"]
