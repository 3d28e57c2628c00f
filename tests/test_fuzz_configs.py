"""Mutated configs of all kinds of tasks: each is refused in one line or is harmless for a reason, none ends in a
traceback. `python tests/helpers/fuzz_configs.py` judges 500, with any seed.
"""
from fuzz_configs import LEAVES, run

COUNT = 66  # three for each config


def test_no_mutation_ends_in_a_traceback():
    verdicts = {"refused": [], "harmless": [], "traceback": []}
    for leaf, path, kind, new, verdict, text in run(COUNT, seed=1):
        verdicts[verdict].append(f"{leaf}: {kind} {path} -> {new!r}: {text}")
    assert not verdicts["traceback"]
    assert all("\n" not in line for line in verdicts["refused"])
    assert len(LEAVES) >= 20 and len(verdicts["refused"]) > COUNT // 2, verdicts["harmless"]
