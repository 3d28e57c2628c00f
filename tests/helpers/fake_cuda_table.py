"""Write docs/fake-cuda.md: which steps run on a fake CUDA device, and what makes the host wait there.

    OMP_NUM_THREADS=1 python tests/helpers/fake_cuda_table.py        # about two minutes
"""
import logging
import os
import sys
import tempfile
import warnings
from collections import Counter
from importlib.metadata import version
from pathlib import Path

sys.path[:0] = [str(Path(__file__).parent), str(Path(__file__).parents[2])]

import mmcv  # noqa: E402
from fake_steps import classify, pretrain_step, pretraining_kinds  # noqa: E402
from fake_transfer import transfer_step  # noqa: E402

PAGE = Path(__file__).resolve().parents[2] / "docs/fake-cuda.md"
CLASSIFIERS = ("finetune_mae_vit-base_100e_in1k", "finetune_mfm_resnet50_100e_in1k",
               "finetune_simmim_swin-base_100e_in1k", "linear_mae_vit-base_90e_in1k", "knn_vit-base_in1k",
               "linear-sweep_vit-base_in1k")
TRANSFER = (
    "detection/faster-rcnn_vit-tiny_bccd", "detection/mask-rcnn_vit-demo_scenes",
    "detection/mask-rcnn_vitdet_vit-base_100e_coco", "detection/cascade-mask-rcnn_vitdet_vit-base_100e_lvis",
    "detection/retinanet_vitdet_vit-base_100e_coco", "detection/dino_vitdet_vit-base_12e_coco",
    "detection/mask2former_vitdet_vit-base_50e_coco", "segmentation/upernet_vit-demo_scenes",
    "segmentation/upernet_vit-base_160k_ade20k-512x512", "segmentation/fpn_vit-base_80k_ade20k-512x512",
    "segmentation/linear_vit-base_40k_ade20k-512x512", "segmentation/mask2former_vit-base_160k_ade20k-512x512",
)
INTRODUCTION = f"""# On a fake CUDA device

Written by `tests/helpers/fake_cuda_table.py`, with torch {version("torch")}, mmengine {version("mmengine")}, mmcv
{mmcv.__version__}, mmdet {version("mmdet")} and mmseg {version("mmsegmentation")}.

Fake tensors have a device, a shape and a type, and no numbers, so no GPU is needed. They prove that no devices are
mixed, that gradients and optimizer find everything on the device, and that the host reads nothing and copies nothing
that it would have to wait for. They prove neither kernels nor numbers. `make test` runs the first table whole.
"""


def verdict(waited: int) -> str:
    return "ok" if not waited else f"waits {waited} times"


def attempt(call, *args):
    """Return what a call returns, or the error in a line."""
    with tempfile.TemporaryDirectory() as folder:  # files of tokenizers are written where configs look for them
        here = os.getcwd()
        os.chdir(folder)
        try:
            return call(*args), ""
        except Exception as error:
            return None, f"{type(error).__name__}: {' '.join(str(error).split())[:90]}"
        finally:
            os.chdir(here)


def table(heads, rows):
    lines = ["| " + " | ".join(row) + " |" for row in [heads, *rows]]
    return [lines[0], "|" + "---|" * len(heads), *lines[1:]]


def main() -> None:
    """Run all, write the page."""
    warnings.filterwarnings("ignore")
    logging.disable(logging.ERROR)
    os.environ.setdefault("OMP_NUM_THREADS", "1")
    rows = []
    for (method, drawn, tokenizer, encoder), leaf in pretraining_kinds().items():
        waited, error = attempt(pretrain_step, leaf, False)
        cells = [error] * 2 if error else [verdict(waited["fp32"]), verdict(waited["bf16"])]
        measured = "" if error or "measure" not in waited else verdict(waited["measure"])
        rows.append([method, drawn, tokenizer, encoder, Path(leaf).stem, *cells, measured])
    lines = [INTRODUCTION, "## Pretraining", "",
             "One step of each kind of config: preprocessor, maps and stored ids, strategy, loss, gradients,\n"
             "optimizer. What is independent of each other is not combined: tokenizers are tried with BEiT,\n"
             "corruptions with plain ViTs.", "",
             *table(["method", "strategy or corruption", "tokenizer", "encoder", "config", "fp32", "bf16", "measuring"],
                    rows)]
    rows = []
    for name in CLASSIFIERS:
        waited, error = attempt(classify, f"classification/{name}.py", False)
        cells = [error] * 3 if error else [verdict(waited[part]) if part in waited else ""
                                           for part in ("fp32", "bf16", "predict")]
        rows.append([name, *cells])
    lines += ["", "## Classification", "", *table(["config", "fp32", "bf16", "prediction"], rows)]
    rows, places = [], Counter()
    for name in TRANSFER:
        waits, error = attempt(transfer_step, f"{name}.py")
        rows.append([name, error or "ok", "" if error else str(sum(waits.values()))])
        for key in waits or ():
            places[key] = max(places[key], waits[key])
    lines += ["", "## Detection and segmentation", "",
              "One step in bf16. mmdet and mmseg read numbers and shapes from the device; here they are made up,\n"
              "which not all of their code bears: a step of DINO or Mask2Former ends where made-up shapes\n"
              "contradict each other.", "", *table(["config", "step", "times the host waits"], rows), "",
              "Where the host waits, by the code that asks; most in one step of any of these configs. In ours it is\n"
              "NMS, of which nobody knows before how many boxes it keeps.",
              "", *table(["place", "what", "times"],
                         sorted([where, what, str(times)] for (what, where), times in places.items()))]
    PAGE.write_text("\n".join(lines) + "\n")


if __name__ == "__main__":
    main()
