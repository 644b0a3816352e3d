"""Judging samples and tokenizers by the literature's figures.

Begin with `evaluate_samples.py` or `evaluate_tokenizer.py`; `fid_protocol.py` says what is measured and how. The
formulas are in `metrics`, the networks in `pretrained` and `features`, reports in `reports`; digits have `digits`.
"""
