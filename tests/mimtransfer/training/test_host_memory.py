"""Freed memory that stays with the process, seen by the pages that the kernel has to hand out."""
import subprocess
import sys

import pytest

# Blocks of 4 and 24 MiB, freed and taken again, as the tensors of a step are. Prints page faults of ten rounds.
PROGRAM = """
import ctypes, resource, sys
from mimtransfer.training import host_memory
if sys.argv[1] == "keep":
    print(host_memory.keep_freed_memory())
libc = ctypes.CDLL(None)
libc.malloc.restype = ctypes.c_void_p
def step():
    blocks = [(libc.malloc(ctypes.c_size_t(mib << 20)), mib << 20) for mib in (4, 24, 4, 24)]
    for block, size in blocks:
        ctypes.memset(block, 1, size)
    for block, _ in blocks:
        libc.free(ctypes.c_void_p(block))
for i in range(13):
    if i == 3:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_minflt
    step()
print(resource.getrusage(resource.RUSAGE_SELF).ru_minflt - before)
"""


def run(mode: str, **variables: str) -> list[str]:
    environment = {"PYTHONPATH": ":".join(sys.path), **variables}
    done = subprocess.run([sys.executable, "-c", PROGRAM, mode], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout.split()


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="glibc")
def test_a_step_takes_the_memory_of_the_one_before():
    kept, faults = run("keep")
    assert kept == "True" and int(faults) < 500
    assert int(run("leave")[0]) > 10 * 1000  # the machine's libc gives it back, so the test can see the difference


@pytest.mark.parametrize("name", ["MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_"])
def test_what_the_environment_says_stays(monkeypatch, name):
    from mimtransfer.training.host_memory import keep_freed_memory

    monkeypatch.setenv(name, "131072")
    assert keep_freed_memory() is False
