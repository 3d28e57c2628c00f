"""Registries of the project: children of mmengine's in the scope `mimtransfer`, and two of our own.

`locations` are imported by mmengine at the first lookup, so importing this file costs neither torch nor timm. They name only modules
that need no mmdet or mmseg: `type='mimtransfer.TimmViT'` in an mmdet config finds its class here, and pretraining stays light.
"""
from mmengine.registry import DATA_SAMPLERS as _DATA_SAMPLERS
from mmengine.registry import DATASETS as _DATASETS
from mmengine.registry import HOOKS as _HOOKS
from mmengine.registry import METRICS as _METRICS
from mmengine.registry import MODELS as _MODELS
from mmengine.registry import OPTIM_WRAPPER_CONSTRUCTORS as _OPTIM_WRAPPER_CONSTRUCTORS
from mmengine.registry import OPTIM_WRAPPERS as _OPTIM_WRAPPERS
from mmengine.registry import TRANSFORMS as _TRANSFORMS
from mmengine.registry import Registry

_SCOPE = "mimtransfer"


def _child(parent: Registry, locations: list[str]) -> Registry:
    return Registry(parent.name, parent=parent, scope=_SCOPE, locations=locations)


MODELS = _child(_MODELS, ["mimtransfer.backbones"])
DATASETS = _child(_DATASETS, [])
DATA_SAMPLERS = _child(_DATA_SAMPLERS, [])
TRANSFORMS = _child(_TRANSFORMS, [])
HOOKS = _child(_HOOKS, ["mimtransfer.results.hook"])
METRICS = _child(_METRICS, [])
OPTIM_WRAPPERS = _child(_OPTIM_WRAPPERS, ["mimtransfer.bf16"])
OPTIM_WRAPPER_CONSTRUCTORS = _child(_OPTIM_WRAPPER_CONSTRUCTORS, ["mimtransfer.layer_decay"])

# No parent: no other library has these.
MASKINGS = Registry("masking strategy", scope=_SCOPE, locations=["pretrain.masking"])
TOKENIZERS = Registry("tokenizer", scope=_SCOPE, locations=["pretrain.tokenizers"])
