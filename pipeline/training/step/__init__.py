"""A training step in PyTorch alone, without Ray and MLflow: rows in, weights changed, sums of losses out.

Begin with `trainee.py`, a model in training; `batches.py` says which rows a step has. Losses are in `bar_model`, the
learners that use this room in `training/learners`.
"""
