"""Frozen networks that others have trained, from the libraries that define them and from weights that are checked.

Begin with `weights.py`. `inception.py` and `dinov2.py` see images for evaluations, `tokenizer_losses.py` for the
tokenizer's losses. Our own models are loaded by `bar_model.checkpoint`.
"""
