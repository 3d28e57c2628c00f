"""Write a checkpoint for other libraries: as a model folder of Transformers or timm, or as an ONNX file.

`source.py` reads the checkpoint, `huggingface.py` with `mae.py`, `timm_model.py` and `onnx_model.py` write one kind of
folder each, `preprocessing.py` and `card.py` say how images are prepared and where the weights come from, and
`folder.py` lets a folder appear whole or not at all. Each writer reads back what it has written, and compares features.
"""
