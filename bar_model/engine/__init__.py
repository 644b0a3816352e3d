"""Fast drawing: the same tokens as the plain sampler of `generator/`, from fixed memory, packed weights, CUDA graphs.

No model is defined here and nothing is trained. Begin with `engine.py`; `canvas.py` holds the work of one token.
"""
