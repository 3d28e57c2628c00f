"""What frozen features are worth: weighted k-NN and linear probes.

    features.py      one vector for each image; features of a labelled memory, read once in a Runner
    knn.py           -> votes of the nearest neighbours
    patches.py       segmentation by patch tokens: neighbours, logistic regression
    linear_sweep.py  -> linear probes of many settings at once, and the loop that chooses one
    depth.py         patch tokens -> metres: the head of a linear depth probe
    spread.py        -> RankMe and contrast: how far features spread, without labels
"""
