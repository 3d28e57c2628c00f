"""What the pretrainings of a table's rows cost: images a second, device-hours, peak memory."""
from mimtransfer.results.cells import Cell, Row
from mimtransfer.results.pretrainings import identity, pretraining_run
from mimtransfer.results.protocol_check import Run

SPEED, HOURS, MEMORY = "images_per_s", "device_hours", "peak_memory_gb"


def cost_titles(rows: list[Row], on_gpus: bool) -> dict[str, str]:
    """Return name -> heading of the costs that any row has."""
    hours = "GPU-hours" if on_gpus else "device-hours"
    titles = {SPEED: "pretrain images/s", HOURS: f"pretrain {hours}", MEMORY: "pretrain peak GB"}
    return {name: title for name, title in titles.items() if any(name in row.costs for row in rows)}


def add_costs(
    rows: dict[str, Row], names: dict[tuple[str, str], str], shown: list[Run], runs: list[Run], notes: list[str]
) -> dict[str, str]:
    """Join what each pretraining cost: from its own record, else from what its checkpoint carried.

    Args:
        rows: by label; their `costs` are filled.
        names: (label, identity) -> label of the row.
        shown: runs whose pretrainings are rows.
        runs: all, among them the pretrainings' own.

    Returns:
        name -> heading of the columns. Hours are those of all processes together, whatever they did meanwhile: also
        pictures, checkpoints and measuring.
    """
    own = {run.record["run_id"]: run for run in runs if run.record["kind"] == "pretrain"}
    seen, machines, types = set(), set(), set()
    for run in sorted(shown, key=lambda run: (run.record["seed"] is None, run.record["seed"])):
        name, code = names[run.record["label"], identity(run.record)], pretraining_run(run.record)
        if code is None or (name, code) in seen:
            continue
        cost = own[code].record["cost"] if code in own else _carried(run)
        found = _costs(cost)
        if not found:
            continue
        seen.add((name, code))
        machines.add(f"{cost.get('processes')} x {cost.get('device')}")
        types.add(cost.get("device_type"))
        for key, value in found.items():
            cell = rows[name].costs.setdefault(key, Cell())
            cell.values.append(value)
            cell.runs.append(own.get(code, run))
    if len(machines) > 1:
        notes.append(f"Costs of pretraining were measured on different machines: {'; '.join(sorted(machines))}.")
    return cost_titles(list(rows.values()), types == {"cuda"})


def _carried(run: Run) -> dict:
    """Return the costs that a checkpoint's signature has, in the form of a record's."""
    signed = run.record["init"].get("pretraining") or {}
    spent = signed.get("cost") or {}
    return {**signed, "wall_s": spent.get("wall_s"), "peak_memory_bytes": spent.get("peak_memory_bytes")}


def _costs(cost: dict) -> dict[str, float]:
    found = {}
    if cost.get("images_per_s") is not None:
        found[SPEED] = cost["images_per_s"]
    if cost.get("wall_s") is not None:
        found[HOURS] = cost["wall_s"] * (cost.get("processes") or 1) / 3600
    if cost.get("peak_memory_bytes") is not None:
        found[MEMORY] = cost["peak_memory_bytes"] / 1e9
    return found
