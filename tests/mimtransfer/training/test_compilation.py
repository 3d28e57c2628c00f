"""Compiled parts: what runs compiled and what eagerly, one line for what cannot be; models keep their names."""
import copy
import re

import pytest
import torch
import torch._dynamo
from compile_toys import ENCODER, MAE, build
from mmengine.config import Config
from mmengine.model import BaseModel, ExponentialMovingAverage
from torch import nn
from torch._dynamo.testing import CompileCounter, CompileCounterWithBackend

import mimtransfer.backbones  # noqa: F401
from mimtransfer.errors import UserError
from mimtransfer.evaluation.classifier import Classifier
from mimtransfer.registry import MODELS
from mimtransfer.training import compilation
from mimtransfer.training.compilation import check_compiler, compile_features, compile_part, compiled_parts

VITDET = dict(ENCODER, window_size=2, global_blocks=(1,), rel_pos="decomposed", rel_pos_size=32, drop_path_rate=0.0,
              model_kwargs=dict(embed_dim=48, depth=2, num_heads=3), final_norm=False)


class Detector(BaseModel):
    """What detectors and segmentors share."""

    def __init__(self):
        super().__init__()
        self.backbone = MODELS.build(VITDET)
        self.neck = MODELS.build(dict(type="SimpleFeaturePyramid", in_channels=48, out_channels=8))
        self.head = nn.Conv2d(8, 1, 1)

    def extract_feat(self, inputs):
        return self.neck(self.backbone(inputs))

    def forward(self, inputs, mode="loss"):
        scores = [self.head(map_).mean() for map_ in self.extract_feat(inputs)]
        return dict(loss=sum(score if score.item() > 0 else -score for score in scores))  # a head breaks the graph


@pytest.fixture(autouse=True)
def nothing_compiled_before():
    torch._dynamo.reset()
    torch._dynamo.utils.counters.clear()


def images(height=32, width=32, seed=0):
    return torch.randn(2, 3, height, width, generator=torch.Generator().manual_seed(seed))


def classifier(backbone, **kwargs):
    torch.manual_seed(0)
    return Classifier(backbone, num_classes=3, **kwargs).train()


MODELS_OF_TRANSFER = {
    "detector": Detector,
    "linear probe": lambda: classifier(ENCODER, pooling="class", freeze_backbone=True, norm="batch"),
    "classifier of a CNN": lambda: classifier(dict(type="TimmCNN", arch="resnet18", model_kwargs=dict(layers=(1, 1)))),
}


def grads_of(model, seed):
    model.zero_grad()
    labels = {} if isinstance(model, Detector) else dict(label=torch.tensor([0, 2]))
    loss = model(images(seed=seed), **labels, mode="loss")["loss"]
    loss.backward()
    return loss.detach(), torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])


@pytest.mark.parametrize("kind", MODELS_OF_TRANSFER)
def test_features_are_one_graph_and_equal_eager(kind):
    counter = CompileCounterWithBackend("aot_eager" if kind == "detector" else "eager")
    eager = MODELS_OF_TRANSFER[kind]().train()
    compiled = copy.deepcopy(eager)
    compile_features(compiled, counter)
    for seed in range(3):
        with torch._dynamo.config.patch(error_on_recompile=seed > 0):
            got = grads_of(compiled, seed)
        torch.testing.assert_close(got, grads_of(eager, seed), rtol=1e-4, atol=1e-6)
    assert counter.frame_count == 1 and not torch._dynamo.utils.counters["graph_break"]


def test_evaluation_is_eager_and_so_are_sizes_beyond_the_first(monkeypatch, caplog):
    monkeypatch.setattr(compilation, "MAX_SHAPES", 2)
    warned = []
    monkeypatch.setattr(compilation, "print_log", lambda line, **kwargs: warned.append(line))
    counter, model = CompileCounter(), classifier(ENCODER)
    compile_features(model, counter)
    model.eval()(images(48, 32))
    assert counter.frame_count == 0
    model.train()
    for width in (32, 40, 48, 56, 32, 48):
        model(images(32, width))
    assert counter.frame_count == 2 and len(warned) == 2 and "Classifier.features" in warned[1]
    model.eval()
    with torch.no_grad():
        assert model(images(32, 56)).shape == (2, 3)


def test_a_graph_that_breaks_is_one_line():
    model = build(MAE, compile_loss="eager")
    model.decoder.register_forward_hook(lambda module, args, output: output if output.sum() > 0 else -output)
    with pytest.raises(UserError, match=r"^--compile: MAE.loss: eager cannot be compiled with torch \S+: .*; t") as e:
        model.loss(images(), None if model.strategy is None else model.draw_layout(images(), None))
    assert "\n" not in str(e.value)


def test_a_mistake_of_the_user_is_told_as_without_compile():
    model = classifier(ENCODER)
    compile_features(model, "eager")
    with pytest.raises(UserError, match="channels"):
        model(torch.zeros(2, 4, 32, 32))


@pytest.mark.parametrize("cuda, triton, variable, says", [
    (False, True, "CXX", "install one (apt install g++), or name yours in CXX"),
    (True, True, "CC", "or name yours in CC"),
    (True, False, "CC", "pip install triton"),
])
def test_missing_compilers_are_one_line(cuda, triton, variable, says, monkeypatch):
    monkeypatch.setattr(compilation, "is_cuda_available", lambda: cuda)
    monkeypatch.setattr(compilation.importlib.util, "find_spec", lambda name: object() if triton else None)
    monkeypatch.setattr(compilation.shutil, "which", lambda name: None)
    monkeypatch.setenv(variable, "none-such")
    with pytest.raises(UserError, match=re.escape(says)):
        check_compiler(Config())
    monkeypatch.setattr(compilation.shutil, "which", lambda name: f"/bin/{name}")
    if triton:
        check_compiler(Config())


def test_a_sharded_backbone_is_refused():
    with pytest.raises(UserError, match="--compile with --fsdp"):
        check_compiler(Config(dict(strategy=dict(type="mimtransfer.BlockFSDPStrategy"))))


def test_names_copies_and_averages_know_nothing_of_it():
    plain, counter = classifier(ENCODER), CompileCounter()
    model = copy.deepcopy(plain)
    compile_features(model, counter)
    grads_of(model, 0)
    assert counter.frame_count == 1
    names = [name for name, _ in plain.named_parameters()]
    assert [name for name, _ in model.named_parameters()] == names
    assert list(model.state_dict()) == list(plain.state_dict())
    averaged = ExponentialMovingAverage(model, momentum=0.5)  # as EMAHook copies it
    assert [name for name, _ in averaged.module.named_parameters()] == names
    averaged.update_parameters(model)  # the first copies
    model.load_state_dict({name: value + 1 for name, value in model.state_dict().items()})
    averaged.update_parameters(model)
    assert not torch.equal(averaged.module(images()), model(images()))
    assert averaged.module.features.owner is averaged.module and model.features.owner is model


def test_a_part_is_named():
    model = classifier(ENCODER)
    assert compiled_parts(model) == []
    compile_part(model, model.backbone, "forward")
    compile_features(model, "aot_eager")
    assert compiled_parts(model) == ["Classifier.features: aot_eager", "TimmViT.forward: inductor"]
