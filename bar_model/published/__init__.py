"""The authors' released checkpoints, read and written: their keys and shapes, and what they are called here.

Our own model folders are read by `bar_model/checkpoint.py`. Begin with `checkpoint.py`, then `generator_names.py`.
"""
