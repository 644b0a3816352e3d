"""What networks see in images, stored in shards beside a manifest: `folder.py` writes and reads them.

The networks are in `pretrained`, the stage that runs them in `evaluation/extract.py`, the distances in `metrics`.
"""
