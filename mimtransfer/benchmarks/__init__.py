"""How fast, and in how much memory: what tools/benchmark*.py and tools/gpu_report.py share.

    timing.py          contenders in turns: seconds, memory, operations
    training_clock.py  seconds that training itself takes, over the processes of a run
    transfer_steps.py  steps of detectors and segmentors on made-up batches, the backbone of ViTDet
    peers.py           other code in the same run, from a checkout: official MAE, detectron2's ViT
    gpu_tests.py       tests/gpu in a process of its own
    report.py          rows of a report, as JSON and as Markdown

Nothing is imported here.
"""
