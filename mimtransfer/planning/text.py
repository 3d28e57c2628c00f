"""A plan in words."""
from __future__ import annotations

from mimtransfer.planning.plan import CONTEXT, FRAGMENTS, GIB, Plan


def describe(plan: Plan) -> str:
    """Return the lines of a plan."""
    gpu, memory = plan.gpu, plan.cost.memory
    precision = "bf16 autocast" if plan.amp else "float32 as TF32"
    peak = gpu.bf16 if plan.amp else gpu.tf32
    rows = {**memory, **({"DDP buckets": plan.buckets} if plan.buckets else {})}
    total = sum(rows.values())
    gib = {name: size / GIB for name, size in rows.items()}
    fits = "fits" if total <= plan.usable else "DOES NOT FIT"
    accumulated = f" x {plan.accumulation} accumulated" if plan.accumulation > 1 else ""
    lines = [
        f"{plan.config}: {plan.kind}, images of {plan.size[0]} x {plan.size[1]}, {precision}",
        f"{plan.gpus} x {gpu.name}: {gpu.memory:g} GiB, {peak:g} TFLOP/s ({gpu.source})",
        "",
        f"step         {plan.images_of_step} images = {plan.batch} x {plan.gpus} GPUs{accumulated}",
        f"memory       {total / GIB + CONTEXT / GIB:.1f} GiB of {gpu.memory:g} a GPU, {fits}; the most is in the "
        f"{plan.cost.moment} pass",
        *(f"  {name:16} {size:7.2f} GiB{_no_gradients(plan) if name == 'gradients' else ''}"
          for name, size in gib.items()),
        f"  {'CUDA, workspaces':16} {CONTEXT / GIB:7.2f} GiB  (assumed; {FRAGMENTS:.0%} of the rest is for fragments)",
        f"largest      {plan.largest} images a GPU without accumulation" + _checked(plan),
        f"operations   {plan.cost.flops / plan.batch / 1e9:,.1f} GFLOP an image, forward and backward",
        f"images/s     {_round(plan.rate)} at {plan.mfu:.0%} of the peak (an assumption; --mfu X sets yours): "
        f"{_round(plan.rate / plan.gpus)} a GPU",
        f"length       {plan.length.told}" + (f" = {plan.length.images:,.0f} images" if plan.length.images else ""),
        f"hours        {_hours(plan)}",
        f"data         {_round(plan.rate / plan.gpus)} images/s a GPU, {_round(plan.rate / plan.loaders)} a core "
        f"({plan.loaders_told})",
        *(f"note         {note}" for note in plan.notes),
    ]
    return "\n".join(lines)


def _checked(plan: Plan) -> str:
    if not plan.checked:
        return ""
    return f" (line through two batches, {plan.checked_error:+.1%} at {plan.checked})"


def _no_gradients(plan: Plan) -> str:
    """Say why there are none, which would look like a mistake."""
    if plan.cost.moment not in ("preprocessing", "forward") or plan.cost.memory["gradients"]:
        return ""
    return f"  (none yet in the {plan.cost.moment} pass; they come in the backward pass, when activations go)"


def _hours(plan: Plan) -> str:
    if plan.seconds is None:
        return "unknown"
    hours = plan.seconds / 3600
    return f"{_round(hours)} ({_round(hours * plan.gpus)} GPU hours) of training, evaluations not counted"


def _round(value: float) -> str:
    return f"{value:,.0f}" if value >= 100 else f"{value:.3g}"
