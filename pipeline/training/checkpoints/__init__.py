"""What a training leaves to go on from: states in folders, written by each rank, and Ray Train's list of them.

Begin with `state.py`, the format of a checkpoint. `saver.py` writes them in a worker; the driver decides in
`listing.py` which are kept. A finished model is no checkpoint: see `training/output.py`.
"""
