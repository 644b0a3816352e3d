"""Command lines: `python jobs/train.py PRESET --option value`, made from configurations and presets by tyro.

A job is a function of one configuration; `job.run` parses, checks the paths, carries out and exits. What the jobs do
lives elsewhere. Begin with `job.py`; `options.py` turns words into a configuration, `config_file.py` reads and prints
configurations as YAML.
"""
