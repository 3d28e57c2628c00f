"""What MFM's encoder is given instead of the image. One corruption, one file: a module put here is registered."""
import importlib
import pkgutil

for _module in pkgutil.iter_modules(__path__):
    importlib.import_module(f"{__name__}.{_module.name}")
