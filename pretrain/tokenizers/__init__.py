"""Which discrete token a patch is. One tokenizer, one file: a module put here is registered without an edit elsewhere.
"""
import importlib
import pkgutil

for _module in pkgutil.iter_modules(__path__):
    importlib.import_module(f"{__name__}.{_module.name}")
