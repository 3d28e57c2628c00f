"""All that a cell's result is a function of, its fingerprint, and what changed since."""
from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from mimtransfer.results.fingerprint import differences, protocol_config
from mimtransfer.suites.code_inputs import code_inputs
from mimtransfer.suites.data_inputs import data_inputs, path_digest
from mimtransfer.suites.resolved import resolve
from mimtransfer.suites.stat_cache import StatCache
from mimtransfer.suites.suite import Cell


class Inputs:
    """Inputs of the cells of one suite.

    Args:
        root: of the checkout whose code runs.
        cache: what was read before.
    """

    def __init__(self, root: Path, cache: StatCache) -> None:
        self.root, self.cache = root, cache
        self._code: dict[str, dict[str, str]] = {}

    def config(self, cell: Cell) -> dict[str, Any]:
        """Return a cell's resolved config."""
        return resolve(cell.config, cell.options, self.cache)

    def tool(self, cell: Cell) -> str:
        """Return the name of the tool that runs a cell."""
        if cell.tool is not None:
            return cell.tool
        return "test" if cell.of is not None or self.config(cell).get("train_cfg") is None else "train"

    def of(self, cell: Cell, made: Mapping[str, Mapping[str, str]]) -> dict[str, Any]:
        """Return what a cell's result is a function of.

        Args:
            made: cell that this one needs -> what it made.

        Returns:
            `run`, `config` (the protocol, without paths), `data`, `code` and `inputs`, each a flat dictionary.
        """
        config, tool = self.config(cell), self.tool(cell)
        evaluated = "test" if tool == "test" else "val"
        inputs = {f"{name} {key}": value for name, one in made.items() for key, value in one.items()}
        if cell.start is not None and cell.start not in made:
            inputs["checkpoint"] = path_digest(cell.start, self.cache)
        flat = protocol_config(config, evaluated, cell.gpus)
        if tool == "fit_tokenizer":  # a config of its own kind, without model and schedule
            flat = {key: config[key] for key in ("features", "kmeans", "train_dataloader", "view") if key in config}
            flat = {"config": json.dumps(flat, sort_keys=True)}
        return {
            "run": {"tool": tool, "seed": cell.seed, "amp": cell.amp},
            "config": flat,
            "data": data_inputs(config, evaluated, self.cache),
            "code": self._code_of(tool, cell, config),
            "inputs": inputs,
        }

    def _code_of(self, tool: str, cell: Cell, config: Mapping) -> dict[str, str]:
        key = f"{tool} {cell.config} {cell.options}"
        if key not in self._code:
            self._code[key] = code_inputs(self.root, tool, config, self.cache)
        return self._code[key]


def digest(parts: Mapping[str, Any]) -> str:
    """Return the fingerprint of a cell's inputs."""
    return hashlib.sha256(json.dumps(parts, sort_keys=True).encode()).hexdigest()


def changes(before: Mapping[str, Any], now: Mapping[str, Any]) -> list[str]:
    """Say what differs, e.g. `["config optim_wrapper.optimizer.lr: 0.1 -> 0.2", "code pretrain/masking/amt.py"]`."""
    said = []
    for part in now:
        for key, (old, new) in differences(before.get(part) or {}, now[part]).items():
            if part == "inputs":
                said.append(f"{key.split()[0]} was made again" if "checkpoint" not in key else "the checkpoint's file")
            elif part in ("run", "config"):
                said.append(f"{part} {key}: {old} -> {new}")
            else:
                said.append(f"{part} {key}")
    return list(dict.fromkeys(said))
