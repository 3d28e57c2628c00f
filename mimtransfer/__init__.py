"""mimtransfer: from masked image modelling to COCO and ADE20K transfer tables, in one codebase."""

__version__ = "0.1.0"
