"""The config that mmengine writes into a training checkpoint, read without running code.

`meta['cfg']` is a Python file as text. mmengine would execute it; a checkpoint of a stranger should not be executed, so
only plain values are read here: literals and calls of `dict`. In particular `custom_imports` is not followed.
"""
import ast
from os import PathLike

from mmengine.config import Config

from mimtransfer.checkpoints.safe_load import read_checkpoint
from mimtransfer.errors import UserError


def config_in_checkpoint(path: str | PathLike) -> Config:
    """Return the config of the run that wrote a checkpoint.

    Raises:
        UserError: the file is no checkpoint, or it holds no config, or one with other than plain values.
    """
    meta = read_checkpoint(path).get("meta")
    text = meta.get("cfg") if isinstance(meta, dict) else None
    if not isinstance(text, str):
        raise UserError(f"checkpoint {str(path)!r} holds no config; give the one it was trained with (--config)")
    try:
        return Config(read_values(text))
    except (ValueError, SyntaxError, TypeError) as error:
        raise UserError(f"checkpoint {str(path)!r}: its config holds more than plain values; give the one it was "
                        "trained with (--config)") from error


def read_values(text: str) -> dict:
    """Read `name = value` lines as mmengine's `Config.pretty_text` writes them.

    Raises:
        ValueError, SyntaxError, TypeError: the text is something else.
    """
    values = {}
    for statement in _Plain().visit(ast.parse(text)).body:
        if not (isinstance(statement, ast.Assign) and isinstance(statement.targets[0], ast.Name)):
            raise ValueError(f"line {statement.lineno} is no name = value")
        values[statement.targets[0].id] = ast.literal_eval(statement.value)
    return values


class _Plain(ast.NodeTransformer):
    """Turn `dict(a=1)`, `dict({'a b': 1})`, `inf` and `nan` into literals; `ast.literal_eval` refuses the rest."""

    def visit_Call(self, node: ast.Call) -> ast.AST:
        self.generic_visit(node)
        if not isinstance(node.func, ast.Name) or node.func.id != "dict":
            return node
        if node.args:
            return node.args[0]
        names: list[ast.expr | None] = [ast.Constant(keyword.arg) for keyword in node.keywords]
        return ast.Dict(keys=names, values=[keyword.value for keyword in node.keywords])

    def visit_Name(self, node: ast.Name) -> ast.AST:
        if isinstance(node.ctx, ast.Load) and node.id in ("inf", "nan"):
            return ast.Constant(float(node.id))
        return node
