"""The tokenizer BAR-FSQ: images to bits and back, and the losses that train it.

The frozen networks of the losses are arguments here; `pipeline/pretrained/` loads them. Begin with `tokenizer.py`, then
`quantizer.py`, the step from features to bits.
"""
