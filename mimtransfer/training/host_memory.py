"""How a training on the CPU gets the memory of its tensors.

Gradients and activations are freed in each step and allocated again in the next. By default glibc gives large ones back
to the kernel, which hands out zeroed pages of 4 KiB anew: for a step of ViT-B at batch 4 some 100,000 page faults, 6 to
11 % of its time. Two settings end that, and no number changes:

- The command lines that train set `THP_MEM_ALLOC_ENABLE=1`, which torch reads with its first tensor: it asks for pages
  of 2 MiB for tensors of that size and more. Linux must have them at "madvise" or "always"
  (/sys/kernel/mm/transparent_hugepage/enabled). `THP_MEM_ALLOC_ENABLE=0` switches it off.
- `keep_freed_memory`: glibc keeps what is freed for the next step.

The process holds what its largest step took, and does not shrink between steps.
"""
import ctypes
import os
import sys

# Of glibc's malloc.h. 32 MiB is the most that M_MMAP_THRESHOLD may be; larger blocks still go back to the kernel.
_M_TRIM_THRESHOLD, _M_MMAP_THRESHOLD = -1, -3
_LARGEST = 32 * 1024 * 1024


def keep_freed_memory() -> bool:
    """Let glibc keep freed memory, unless the environment sets its malloc.

    Returns:
        Whether it does so: not with another libc, or where a variable `MALLOC_..._THRESHOLD_` is set.
    """
    if not sys.platform.startswith("linux") or {"MALLOC_TRIM_THRESHOLD_", "MALLOC_MMAP_THRESHOLD_"} & set(os.environ):
        return False
    mallopt = getattr(ctypes.CDLL(None), "mallopt", None)
    if mallopt is None:
        return False
    return bool(mallopt(_M_MMAP_THRESHOLD, _LARGEST) and mallopt(_M_TRIM_THRESHOLD, -1))
