"""Drawing images with a generator and a tokenizer, and the drawn images.

Begin with `sample.py`, the stage; `worker.py` draws, `shard.py` and `folder.py` are what is written and read again.
Judging samples is not here (`evaluation`), nor is the sampling step itself (`bar_model.engine`).
"""
