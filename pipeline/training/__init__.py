"""Both trainings on Ray Train: `train_generator.py` and `train_tokenizer.py` read and check the input, `fit.py` trains.

Begin with `fit.py` (the driver), then `worker.py` and `loop.py` (a worker). What is learned is in `learners/`, the
arithmetic of a step in `step/`, what it leaves to go on from in `checkpoints/`. The models are in `bar_model`.
"""
