"""Code shards, made and read: `tokenize.py` encodes images on Ray Data, `folder.py` reads what it leaves.

The tokenizer itself is in `bar_model/tokenizer`, the training on codes in `training`. Begin with `shard.py`, the format
of a file; `plan.py` decides which image is in which shard.
"""
