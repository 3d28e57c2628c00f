"""The records of the report: where each number comes from, and the config of each protocol."""
import os
from html import escape
from pathlib import Path
from typing import Any
from urllib.parse import quote

from mimtransfer.results.curves import curves_of
from mimtransfer.results.metrics import PRIMARY, title_of
from mimtransfer.results.pretrainings import pretraining_run
from mimtransfer.results.protocol_check import Run
from mimtransfer.results.report.charts import Line, line_chart
from mimtransfer.results.report.numbers import anchor, protocol_anchor


def record_part(run: Run, label: str, row: int, pretrainings: dict[str, Run], folder: Path) -> str:
    """Return one record, folded.

    Args:
        label, row: of its row, with the number for the colour of the curve.
        pretrainings: run id -> run of those with a part of their own.
        folder: where the report will lie; links to files are relative to it.
    """
    record, protocol, log = run.record, run.record["protocol"], run.record["files"]["log"]
    metrics = record["metrics"]
    main = ", ".join(f"{title_of(name)} {metrics[name]['value']:.{2 if name in PRIMARY else 4}f}"
                     for name in (*PRIMARY, "loss") if name in metrics)
    every = ", ".join(f"{title_of(name)} {metric['value']:g}" for name, metric in metrics.items())
    lines = {
        "record": _file(run.path, folder),
        "scores": escape(every) or "none",
        "run": f"{record['run_id']}, {record['mode']}, seed {record['seed']}, {record['started_at']} to "
               f"{record['finished_at']}",
        "protocol": f'<a href="#{protocol_anchor(protocol["fingerprint"])}">{escape(protocol["name"])}</a>, '
                    f"fingerprint <code>{protocol['fingerprint']}</code>",
        "data": escape(str(record["dataset"])) + "".join(
            f"<br>{escape(name)} <code>{digest}</code>" for name, digest in record["data_fingerprint"].items()
        ),
        "started from": _init(record["init"], pretrainings.get(pretraining_run(record))),
        "checkpoint": _digested(run, record["files"]["checkpoint"], folder),
        "config": _digested(run, record["files"]["config"], folder),
        "log": _file(Path(run.path).parent / log, folder) if log else "not recorded",
        "code": _code(record["git"]),
        "command": f"<code>{escape(record['command'])}</code>",
        "versions": escape(", ".join(f"{name} {version}" for name, version in record["versions"].items())),
        "cost": _cost(record["cost"]),
        "evaluated": escape(f"on {record['evaluated']['on']} after {record['evaluated']['iter']} iterations"),
    }
    listed = "".join(f"<dt>{name}</dt><dd>{text}</dd>" for name, text in lines.items())
    charts = "".join(
        f"<figure>{line_chart([Line(label, row, points)], 'iterations')}"
        f"<figcaption>{escape(title_of(name))}</figcaption></figure>"
        for name, points in curves_of(record, Path(run.path).parent).items()
        if len(points) > 1
    )
    return (f'<details class="record" id="{anchor(run)}"><summary><b>{escape(label)}</b>, '
            f"{escape(record['task'])}, {escape(protocol['name'])}, seed {record['seed']}"
            f'<span class="soft"> {escape(main)}</span></summary><dl>{listed}</dl><div class="charts">{charts}</div>'
            "</details>")


def protocol_part(name: str, fingerprint: str, config: dict[str, Any]) -> str:
    """Return a protocol's flattened config, folded."""
    lines = "\n".join(f"{key} = {value!r}" for key, value in config.items())
    about = f"fingerprint {fingerprint[:12]}, {len(config)} keys"
    return (f'<details id="{protocol_anchor(fingerprint)}"><summary><b>{escape(name)}</b> '
            f'<span class="soft">{about}</span></summary><pre>{escape(lines)}</pre></details>')


def _init(init: dict[str, Any], pretraining: Run | None) -> str:
    if init["kind"] != "checkpoint":
        return escape(init["kind"]) + " initialisation" * (init["kind"] == "random")
    text = f"<code>{escape(str(init['path']))}</code><br>sha256 <code>{init['sha256']}</code>"
    if init["matched"] is not None:
        text += f"<br>{init['matched']} tensors matched, {init['missing']} missing, {init['unexpected']} unexpected"
    origin = init["pretraining"] or {}
    if pretraining is not None:
        text += f'<br>of the run <a href="#{anchor(pretraining)}">{escape(pretraining.record["run_id"])}</a>'
    elif origin.get("run_id"):
        text += f"<br>of the run {escape(origin['run_id'])}, whose record is not here"
    return text


def _digested(run: Run, file: dict[str, str] | None, folder: Path) -> str:
    if file is None:
        return "not recorded"
    return f"{_file(Path(run.path).parent / file['path'], folder)}<br>sha256 <code>{file['sha256']}</code>"


def _file(path: str | Path, folder: Path) -> str:
    """Return a link where there is such a file, else its name."""
    relative = Path(os.path.relpath(path, folder)).as_posix()
    if not Path(path).is_file():
        return f"<code>{escape(relative)}</code> (not here)"
    return f'<a href="{quote(relative)}"><code>{escape(relative)}</code></a>'


def _code(git: dict[str, Any] | None) -> str:
    if git is None:
        return "not in a checkout"
    return f"commit <code>{git['commit']}</code>" + (", with changes that were not committed" if git["dirty"] else "")


def _cost(cost: dict[str, Any]) -> str:
    parts = []
    if cost["images_per_s"] is not None:
        parts.append(f"{cost['images_per_s']:.4g} images/s")
    if cost["wall_s"] is not None:
        parts.append(f"{cost['wall_s']:.0f} s")
    if cost["peak_memory_bytes"] is not None:
        parts.append(f"peak {cost['peak_memory_bytes'] / 1e9:.3g} GB")
    parts.append(f"{cost['processes']} x {cost['device']}, batch {cost['effective_batch']}")
    return escape(", ".join(parts))
