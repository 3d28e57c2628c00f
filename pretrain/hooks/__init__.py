"""When things happen: hooks of mmengine's Runner. Models and strategies hold no epoch."""
import importlib
import pkgutil

for _module in pkgutil.iter_modules(__path__):
    importlib.import_module(f"{__name__}.{_module.name}")
