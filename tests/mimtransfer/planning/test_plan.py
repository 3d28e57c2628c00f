"""From the costs of a few batches to a plan; and what of a config it reads."""
import pytest
from mmengine.config import Config
from shipped_configs import load

from mimtransfer.errors import UserError
from mimtransfer.planning.gpus import GPUS, find_gpu, peak_flops
from mimtransfer.planning.plan import GIB, Search, make_plan, usable
from mimtransfer.planning.schedule import length_of
from mimtransfer.planning.step import Cost, Task
from mimtransfer.planning.tasks import num_classes, training_size
from mimtransfer.planning.text import describe


def cost(batch, accumulating=False, fixed=100, each=7, bend=20):
    """Below `bend` images the gradients outweigh activations."""
    before = fixed + 60 * accumulating + max(each * batch, each * bend // 2 + each * batch // 2)
    memory = {"weights": fixed, "gradients": 60 * accumulating, "optimizer state": 0,
              "activations": before - fixed - 60 * accumulating, "other": 0}
    return Cost(10 * batch, memory, "backward", before, fixed + 90)


@pytest.mark.parametrize("room", [10, 189, 190, 197, 250, 400, 1000, 5555, 100_000])
@pytest.mark.parametrize("multiple", [1, 2])
def test_largest_batch_that_fits(room, multiple):
    fits = [n for n in range(0, 15_000, multiple) if n and cost(n).peak <= room]
    assert Search(cost, room, 2, 64, multiple).largest(False) == max(fits, default=0)


def test_few_steps_are_run():
    ran = []
    search = Search(lambda *key: ran.append(key) or cost(*key), 5555, 8, 4096)
    assert search.largest(False) == 779
    assert len(ran) <= 4 and max(ran)[0] < 4 * 779
    assert search.checked == 779 and search.error == pytest.approx(0, abs=1e-3)


def test_beyond_what_is_run_the_line_is_believed():
    search = Search(lambda n, kept: cost(n, kept) if n <= 64 else pytest.fail("too large"), 100_000, 2, 64)
    assert search.run(5000, True).peak == cost(5000, True).peak
    assert search.run(5000, True).memory == cost(5000, True).memory and search.run(5000, True).flops == 50_000


def config(**keys):
    loader = dict(batch_size=8, num_workers=4, dataset=dict(type="X", root="data/imagenet/train"))
    base = dict(model=dict(type="Y"), train_dataloader=loader, train_cfg=dict(max_epochs=3),
                optim_wrapper=dict(optimizer=dict(type="SGD", lr=1)))
    return Config({**base, **keys})


class Fixed:
    """A fake step of known cost: 1 GiB a GPU, and 1 GiB for each image."""

    trained_bytes = 2**28

    def __init__(self, cfg, task, amp):
        self.fake = type("Fake", (), dict(invented={}))

    def run(self, batch, accumulating):
        return Cost(10**12 * batch, dict.fromkeys(("weights", "optimizer state"), GIB // 2) |
                    {"gradients": 2**28 * accumulating, "activations": batch * GIB}, "forward",
                    GIB + 2**28 * accumulating + batch * GIB, GIB)


@pytest.fixture
def plan(monkeypatch):
    monkeypatch.setattr("mimtransfer.planning.plan.FakeStep", Fixed)

    def make(cfg=None, gpu=GPUS["a100-40"], **keys):
        cfg = cfg or config()
        return make_plan("c.py", cfg, cfg, Task(None, None, (224, 224)), gpu, **keys)

    return make


def test_the_recipe_as_it_is(plan):
    made = plan(gpus=8)
    assert (made.batch, made.accumulation, made.images_of_step) == (8, 1, 64)
    # 38.4 GiB for tensors of which 6 % are left, 1 for weights, a quarter for the buckets of DDP: 34.8 images
    assert usable(made.gpu) == pytest.approx(38.4 * 0.94 * GIB) and made.largest == 34
    assert made.rate == pytest.approx(8 * 312e12 * 0.3 / 1e12)  # 30 % of the peak, 1 TFLOP an image
    assert made.seconds == pytest.approx(3 * 1281167 / made.rate)
    assert (made.loaders, plan(gpus=8, cores=96).loaders) == (32, 96)
    assert plan(gpus=8, amp=False).rate == made.rate / 2 and plan(gpus=8, mfu=0.6).rate == 2 * made.rate


def test_what_does_not_fit_is_accumulated(plan):
    made = plan(gpus=8, global_batch=4096)
    # 512 a GPU in the fewest parts that divide it: 32, since with gradients that are kept 34 fit.
    assert (made.batch, made.accumulation, made.images_of_step) == (32, 16, 4096)
    assert plan(gpus=1, global_batch=39).batch == 13 and plan(gpus=1).buckets == 0
    with pytest.raises(UserError, match="3 GPUs do not divide it; give a multiple of 3"):
        plan(gpus=3, global_batch=64)
    with pytest.raises(UserError, match="do not fit into 2 GiB"):
        plan(gpu=find_gpu(None, 2, 100), gpus=8)


def test_recomputing_is_named_where_the_backbone_can_and_does_not(plan):
    small = find_gpu(None, 2, 100)
    for part, keys, told in (
            ("backbone", {}, r"a larger GPU, or model\.backbone\.grad_checkpointing=True$"),
            ("encoder", {}, r"a larger GPU, or model\.encoder\.grad_checkpointing=True$"),
            ("backbone", dict(grad_checkpointing=True), "a larger GPU$")):
        cfg = config(model={"type": "Y", part: dict(type="mimtransfer.TimmViT", **keys)})
        with pytest.raises(UserError, match=told):
            plan(cfg, gpu=small, gpus=8)


def test_gradients_that_are_not_there_yet_are_explained(plan):
    (line,) = (line for line in describe(plan(gpus=8)).splitlines() if "gradients" in line)
    assert "0.00 GiB  (none yet in the forward pass;" in line
    (line,) = (line for line in describe(plan(gpus=8, global_batch=4096)).splitlines() if "gradients" in line)
    assert line.endswith("0.25 GiB")


def test_buckets_are_views_where_the_config_says_so(plan):
    assert plan(gpus=2).buckets == 2**28
    assert plan(config(model_wrapper_cfg=dict(type="DDP", gradient_as_bucket_view=True)), gpus=2).buckets == 0


def test_known_gpus():
    with pytest.raises(UserError, match=r"--gpu h10: unknown; did you mean 'h100'.*known: h100, h200, a100-40"):
        find_gpu("h10", None, None)
    with pytest.raises(UserError, match="give both"):
        find_gpu(None, 24, None)
    assert find_gpu(None, None, None) == GPUS["h100"] and find_gpu("l40s", 40, None).memory == 40
    assert find_gpu(None, 32, 125)[1:4] == (32, 125, 62.5)


@pytest.mark.parametrize("name, precision, tflops, expected", [
    ("NVIDIA H100 80GB HBM3", "bf16", None, 989.4e12), ("NVIDIA H100 PCIe", "bf16", None, 756e12),
    ("NVIDIA A100-SXM4-40GB", "fp32", None, 156e12), ("NVIDIA GeForce RTX 4090", "bf16", None, 165.2e12),
    ("NVIDIA L40S", "bf16", None, 362.05e12), ("NVIDIA L4", "bf16", None, 121e12), ("Tesla T4", "bf16", None, None),
    ("NVIDIA GH200 480GB", "bf16", None, 989.4e12), ("NVIDIA H200 NVL", "bf16", None, 835.5e12),
    ("NVIDIA RTX A1000 Laptop GPU", "bf16", None, None), ("NVIDIA RTX A4000", "bf16", None, None),
    ("NVIDIA GeForce RTX 4090 Laptop GPU", "bf16", None, None), ("NVIDIA GeForce RTX 3090 Ti", "bf16", None, None),
    ("NVIDIA GB200", "bf16", None, None),
    ("Some CPU", "bf16", None, None), ("Some CPU", "fp32", 100.0, 50e12),
])  # fmt: skip
def test_peaks_are_those_of_the_makers(name, precision, tflops, expected):
    assert peak_flops(name, precision, tflops) == expected


def test_length_of_a_run():
    """Iterations of the recipe's batch where the schedule follows the batch of the run, else of the run's own."""
    loop = dict(train_cfg=dict(max_iters=100))
    scaled = config(**loop, auto_scale_iters=True, auto_scale_lr=dict(enable=True, base_batch_size=64))
    assert length_of(scaled, scaled, 4096, 2).images == 6400
    assert length_of(config(**loop), config(**loop), 512, 2).images == 25_600
    assert length_of(config(), config(), 64, 1).images == 3 * 1281167
    assert length_of(config(), config(), 64, 1, 50).images == 150
    part = config(train_dataloader=dict(batch_size=1, dataset=dict(root="data/imagenet/train", fraction=0.1)))
    assert length_of(part, part, 64, 1).images is None and "--images N" in length_of(part, part, 64, 1).told


@pytest.mark.parametrize("leaf, size, classes", [
    ("detection/mask-rcnn_vitdet_vit-large_100e_coco.py", (1024, 1024), 80),
    ("detection/dino_vitdet_vit-base_12e_coco.py", (800, 1333), 80),
    ("segmentation/upernet_vit-base_80k_cityscapes-512x1024.py", (512, 1024), 19),
])
def test_size_of_a_training_image(leaf, size, classes):
    cfg = load(leaf)
    assert (training_size(cfg), num_classes(cfg)) == (size, classes)
