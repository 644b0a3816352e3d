"""Damaged files of every kind that comes from outside, through the doors by which jobs read them.

`door.py` says what a door is; `pictures.py`, `sources.py`, `shards.py`, `documents.py` and `models.py` are the doors.
`damage.py` spoils bytes, texts and JSON, `structures.py` containers whose checksums are repaired. `run.py` runs it all.
"""
