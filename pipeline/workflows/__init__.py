"""Jobs that are made of several stages: the quickstart, the reproduction of published figures, and sweeps.

Begin with `stages.py`, which runs one stage after another. What a stage does is not here, but in its own room.
"""
