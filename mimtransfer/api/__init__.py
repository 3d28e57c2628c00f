"""The Python API: what the commands do, for notebooks and scripts (docs/api.md).

    backbone.py  load_backbone: a checkpoint as a torch module, wholly loaded or refused
    runs.py      pretrain, transfer: run a tool in a process of its own, return what it made
    tables.py    table: records as text or as a DataFrame

`from mimtransfer import load_backbone, pretrain, transfer, table` finds them; nothing is imported before.
"""
