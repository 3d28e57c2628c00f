"""Checkpoints of this and other codebases: read safely, recognised, loaded whole or refused, converted.

    safe_load.py        files -> tensors, running nothing that they carry (safe_pickle.py: TorchScript, numpy pickles;
                        limits.py: how large, how deep and of what a file may be)
    formats.py          whose checkpoint is it: source keys -> timm's keys (names.py: the tables, read both ways)
    resample.py         positions and patch projections at another size
    load.py             load_backbone: all of that, with a report
    convert.py          the encoder as timm, detectron2 or Hugging Face name it
    recorded_config.py  the config that a training checkpoint carries; the only way to build what a file names

Nothing is imported here.
"""
