"""Where configs, tools and pages of docs lie: `.mim` in the package, as OpenMMLab's libraries have it.

In a checkout `.mim` holds links to the folders at the top, which setuptools follows; in a wheel it holds the files.
"""
from pathlib import Path

PACKAGE = Path(__file__).resolve().parents[1]
CODE = PACKAGE.parent  # the folder that both packages lie in


def shipped(name: str) -> Path:
    """Return the folder of the `configs`, `tools` or `docs`, without links: that of the checkout where there is one."""
    return (PACKAGE / ".mim" / name).resolve()
