"""The generator: a causal transformer over tokens, joined with a head, its training loss and its plain sampler.

The plain sampler defines what is drawn; `engine/` draws the same faster. Begin with `bar.py`, then `transformer.py`
for training and `sampling.py` for drawing.
"""
