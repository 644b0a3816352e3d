"""How a unit of work becomes one whole file, once: units, the manifest, the quarantine, and their way through Ray Data.

What the work is stands in the rooms above: `codes`, `samples`, `evaluation`. Begin with `unit.py`, then `stage.py`;
`stage.py` decides what is done.
"""
