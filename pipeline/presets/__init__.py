"""The jobs' configurations by name: what each is for, what it takes, and what it reaches.

A file a kind of job, so that a job imports no other's; a preset is a function whose docstring is a promise. Models' presets
are bar_model/presets.py; those of the jobs that are made of other jobs stand beside them in workflows/. To begin: training.py.
"""
