"""Where images come from (folders, Parquet, tars, lists of URLs), and how their bytes become pixels and back.

What is made of images stands above: codes in `codes`, features in `evaluation`. Begin with `source.py`, the interface
of all sources; `open_source.py` chooses one by its URL, `codec.py` decodes.
"""
