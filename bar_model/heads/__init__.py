"""From the context of a token to its bits: the masked bit modelling head, and the two that the paper compares with it.

Contexts are made by `generator/`, which also decides the order of tokens and the guidance. Begin with `head.py`, the
interface, then `masked_bit.py`, the paper's idea.
"""
