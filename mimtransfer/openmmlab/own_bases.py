"""`_base_ = 'mimtransfer::detection/...'` in a config that lies anywhere.

mmengine knows the names of OpenMMLab's libraries only, asks `pkg_resources` where a library lies, which is wrong for a
checkout that is installed editable, and builds all that such a base names in the scope of the library; our configs set
a scope of their own, mmdet or mmseg. So our names are found here, and all others by mmengine as before.

`import mimtransfer` calls `install()`: mmengine's module is changed when it is imported. mmdet's and mmseg's own tools
read such a config after `import mimtransfer`, too.
"""
from typing import Any

from mimtransfer.openmmlab.on_import import change_on_import
from mimtransfer.shipped.configs import PREFIX, find_config

MODULE = "mmengine.config.config"


def install() -> None:
    """Change mmengine's module as soon as it is imported, or now if it was."""
    change_on_import(MODULE, find_our_bases)


def find_our_bases(module: Any) -> None:
    """Let `Config._get_cfg_path` find names that begin with `mimtransfer::`, once."""
    before = module.Config._get_cfg_path
    if getattr(before, "finds_ours", False):
        return

    def get_cfg_path(cfg_path: str, filename: str) -> tuple[str, str | None]:
        if cfg_path.startswith(PREFIX):
            return find_config(cfg_path, what=f"config {filename!r}: its base"), None
        return before(cfg_path, filename)

    get_cfg_path.finds_ours = True  # type: ignore[attr-defined]
    module.Config._get_cfg_path = staticmethod(get_cfg_path)
