"""A copy of a tokenizer's decoder that decodes fast."""

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from bar_model.engine.inference_copy import best_dtype, inference_copy
from bar_model.tokenizer.tokenizer import Tokenizer


class FastDecoder:
    """Decodes with a copy of a tokenizer's decoder; later changes of the decoder do not reach the copy."""

    def __init__(self, tokenizer: Tokenizer, *, dtype: torch.dtype | None = None) -> None:
        """Copy the decoder; `dtype` is the type of its weights, by default bfloat16 if the device computes in it."""
        self.device = tokenizer.decoder.class_token.device
        self.dtype = best_dtype(self.device) if dtype is None else dtype
        self._tokenizer = tokenizer
        self._decoder, self._autocast = inference_copy(tokenizer.decoder, self.dtype, self.device)

    def decode(self, bits: Bool[Tensor, "batch tokens bits"]) -> Float[Tensor, "batch 3 height width"]:
        """The images that `Tokenizer.decode` gives, up to rounding.

        Raises:
            BadInput: the bits have another shape.
        """
        with self._autocast:
            return self._tokenizer.decode_by(self._decoder, bits).float()
