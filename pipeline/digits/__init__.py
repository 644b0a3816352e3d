"""The handwritten digits of scikit-learn: a small data set on which the whole pipeline runs in minutes.

`data.py` writes them as an image folder; `evaluate_digits.py` judges drawn digits, by what `protocol.py` measures.
Nothing of the pipeline for ImageNet depends on this room.
"""
