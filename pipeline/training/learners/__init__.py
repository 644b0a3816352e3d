"""What is learned: the generator and the tokenizer, each with its configuration, objectives and batches.

`learner.py` says what a learner is: begin there. How its steps are placed on workers and what is done between them is
the business of the files above this room; the arithmetic of a step is in `step/`.
"""
