"""Numbers from arrays: distances between sets of features, scores of one set, and differences of pixels.

Begin with `frechet.py`. The networks that features come from are in `pretrained`, the protocols that name a
measurement in `evaluation`.
"""
