"""The jobs' configurations by name: what each is for, what it takes, and what it reaches.

A file a kind of job, so that a job imports no other's. A preset is a function whose docstring is a promise. Models have
theirs in bar_model/presets.py, jobs that are made of other jobs in workflows/. Begin with training.py.
"""
