"""Registries of the project: children of mmengine's in the scope `mimtransfer`, and four of our own.

`locations` are imported by mmengine at the first lookup, so importing this file costs neither torch nor timm. They
name only modules that need no mmdet or mmseg: `type='mimtransfer.TimmViT'` in an mmdet config finds its class here, and
pretraining stays light.
"""
from mmengine import registry as _mmengine
from mmengine.registry import Registry

_SCOPE = "mimtransfer"


def _child(parent: Registry, *locations: str) -> Registry:
    return Registry(parent.name, parent=parent, scope=_SCOPE, locations=list(locations))


MODELS = _child(_mmengine.MODELS, "mimtransfer.backbones", "mimtransfer.evaluation", "mimtransfer.training.losses")
DATASETS = _child(_mmengine.DATASETS, "mimtransfer.datasets.classification", "mimtransfer.datasets.published",
                  "mimtransfer.datasets.label_subset", "mimtransfer.datasets.depth")
DATA_SAMPLERS = _child(_mmengine.DATA_SAMPLERS, "mimtransfer.datasets.sampler")
TRANSFORMS = _child(_mmengine.TRANSFORMS, "mimtransfer.datasets.bands", "mimtransfer.datasets.depth")
HOOKS = _child(
    _mmengine.HOOKS, "mimtransfer.results.record_hook", "mimtransfer.training.hooks",
    "mimtransfer.training.finite_loss", "mimtransfer.training.checkpointing", "mimtransfer.training.exact_resume",
    "mimtransfer.training.schedule_hook", "mimtransfer.training.deferred_log", "mimtransfer.checks.recipe",
    "mimtransfer.results.progress",
)
METRICS = _child(_mmengine.METRICS, "mimtransfer.evaluation")
LOOPS = _child(_mmengine.LOOPS, "mimtransfer.evaluation")
OPTIMIZERS = _child(_mmengine.OPTIMIZERS, "mimtransfer.training.optimizers")
OPTIM_WRAPPERS = _child(_mmengine.OPTIM_WRAPPERS, "mimtransfer.training.optimizers")
OPTIM_WRAPPER_CONSTRUCTORS = _child(_mmengine.OPTIM_WRAPPER_CONSTRUCTORS, "mimtransfer.training.layer_decay")
STRATEGIES = _child(_mmengine.STRATEGIES, "mimtransfer.training.fsdp")
FUNCTIONS = _child(_mmengine.FUNCTIONS, "mimtransfer.datasets.collate")

VISBACKENDS = _child(_mmengine.VISBACKENDS, "mimtransfer.results.trackers")

# We register nothing here, but mmengine warns at each lookup from a scope without its own.
VISUALIZERS = _child(_mmengine.VISUALIZERS)
PARAM_SCHEDULERS = _child(_mmengine.PARAM_SCHEDULERS)
LOG_PROCESSORS = _child(_mmengine.LOG_PROCESSORS)
MODEL_WRAPPERS = _child(_mmengine.MODEL_WRAPPERS)
WEIGHT_INITIALIZERS = _child(_mmengine.WEIGHT_INITIALIZERS)

# No parent: no other library has these.
MASKINGS = Registry("masking strategy", scope=_SCOPE, locations=["pretrain.masking"])
CORRUPTIONS = Registry("corruption", scope=_SCOPE, locations=["pretrain.corruptions"])
TOKENIZERS = Registry("tokenizer", scope=_SCOPE, locations=["pretrain.tokenizers"])
PATCH_FEATURES = Registry("patch features", scope=_SCOPE, locations=["pretrain.tokenizers.features"])
