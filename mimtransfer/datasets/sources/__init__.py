"""Where stored images come from: folders, lists, tar shards, zip files, parquet, Hugging Face data sets.

    base.py    what every source offers: images by number, as bytes, with names and perhaps classes
    files.py   a folder at any depth, or a list of paths
    paths.py   which files those are, in an order that every machine agrees on
    archives.py  tar shards (also in WebDataset's layout) and zip files
    tar_index.py  the places of images in tar shards, kept
    arrow.py   parquet files and data sets of Hugging Face `datasets`
    recognise.py  which of them a path means
    locate.py  which files a path, a pattern or a URL names
    remote.py  files behind a URL, fetched into a cache

`ImageSource` of pretraining and `LabelledImageSource` of classification read any of them.
"""
