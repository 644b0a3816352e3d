"""What networks see in images, stored in shards beside a manifest.

`shard.py` is the format of a file, `folder.py` reads a finished folder.

The networks are in `pretrained`, the stage that runs them in `evaluation/extract.py`, the distances in `metrics`.
"""
