"""Counter-based noise: every number is a function of (seed, stream, counters), never of a batch, a rank or a device.

An ordinary generator has a state, so its numbers depend on all that was drawn before. Here an image keeps its noise
when it is drawn in another batch, by another worker or a second time, and a row of training keeps its mask when the
number of workers changes.

The generator is Philox4x32-10 (Salmon et al., "Parallel random numbers: as easy as 1, 2, 3", SC 2011), written with
64-bit integer tensors, so that it runs on any device and inside a captured graph.
"""

from enum import IntEnum
from typing import NamedTuple, Protocol, runtime_checkable

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from bar_model.errors import BadInput

_MULTIPLIERS = (0xD2511F53, 0xCD9E8D57)
_WEYL = (0x9E3779B9, 0xBB67AE85)
_WORD = 0xFFFFFFFF
# A token and its step share one counter: token · 4096 + step.
_MAX_STEPS = 1 << 12


class Stream(IntEnum):
    """The uses of the numbers. The streams of one seed are independent of each other."""

    SAMPLING = 0
    SAMPLING_ORDER = 1
    TRAINING_ORDER = 2
    TRAINING_MASK_RATIO = 3
    TRAINING_MASK = 4
    TRAINING_ROW = 5


class Uniforms(NamedTuple):
    """Four independent float32 uniforms for each counter: multiples of 2^-24 in [0, 1)."""

    a: Float[Tensor, "*shape"]
    b: Float[Tensor, "*shape"]
    c: Float[Tensor, "*shape"]
    d: Float[Tensor, "*shape"]


class StepNoise(NamedTuple):
    """The uniforms of one unmasking step or of several.

    `values` decide what each element becomes: two for a bit, of which a codebook entry uses the first. `confidence`
    decides which elements are kept.
    """

    values: Float[Tensor, "*batch elements 2"]
    confidence: Float[Tensor, "*batch elements"]


@runtime_checkable
class SamplingNoise(Protocol):
    """The noise of a batch of images that are drawn."""

    def draw(self, token: int, step: int, num_elements: int) -> StepNoise:
        """The noise of `num_elements` bits (or codebook entries) of the token at unmasking step `step`."""
        ...

    def tape(self, tokens: range, num_steps: int, num_elements: int) -> "NoiseTape":
        """The noise of several tokens at once; on the tape the first of them is token 0."""
        ...

    def of_rows(self, rows: Int64[Tensor, " some"]) -> "SamplingNoise":
        """The noise of some images of the batch, chosen by their row."""
        ...


class NoiseTape:
    """Noise that is already in memory, token by token."""

    def __init__(
        self,
        values: Float[Tensor, "tokens steps batch elements 2"],
        confidence: Float[Tensor, "tokens steps batch elements"],
    ) -> None:
        self.values = values
        self.confidence = confidence

    def draw(self, token: int, step: int, num_elements: int) -> StepNoise:
        """The noise of the token at unmasking step `step`."""
        return StepNoise(self.values[token, step], self.confidence[token, step])

    def tape(self, tokens: range, num_steps: int, num_elements: int) -> "NoiseTape":
        """The part of the tape that holds these tokens and their first `num_steps` steps."""
        some = slice(tokens.start, tokens.stop)
        return NoiseTape(self.values[some, :num_steps], self.confidence[some, :num_steps])

    def of_rows(self, rows: Int64[Tensor, " some"]) -> "NoiseTape":
        """The tape of some images of the batch."""
        return NoiseTape(self.values[:, :, rows], self.confidence[:, :, rows])


class CounterNoise:
    """Sampling noise as a function of (seed, image index, token, step, element).

    `images` are the indices of the images, one for each row of the batch.
    """

    def __init__(self, seed: int, images: Int64[Tensor, " batch"]) -> None:
        self._seed = seed
        self._images = images[:, None]

    def of_rows(self, rows: Int64[Tensor, " some"]) -> "CounterNoise":
        """The noise of some images of the batch."""
        return CounterNoise(self._seed, self._images[rows, 0])

    def draw(self, token: int, step: int, num_elements: int) -> StepNoise:
        """The noise of `num_elements` elements of the token at unmasking step `step`."""
        return self._at(torch.tensor(token * _MAX_STEPS + step, device=self._images.device), num_elements)

    def tape(self, tokens: range, num_steps: int, num_elements: int) -> NoiseTape:
        """The noise of these tokens, computed at once."""
        device = self._images.device
        token = torch.arange(tokens.start, tokens.stop, device=device)
        positions = token[:, None] * _MAX_STEPS + torch.arange(num_steps, device=device)
        return NoiseTape(*self._at(positions[..., None, None], num_elements))

    def _at(self, positions: Int64[Tensor, "..."], num_elements: int) -> StepNoise:
        elements = torch.arange(num_elements, device=self._images.device)
        # An index has 64 bits and a counter 32, so an index takes two of the four counters.
        counters = (self._images & _WORD, self._images >> 32, positions, elements)
        a, b, confidence, _ = uniforms(self._seed, Stream.SAMPLING, *counters)
        return StepNoise(torch.stack((a, b), dim=-1), confidence)


def uniforms(seed: int, stream: Stream, *counters: Int64[Tensor, "..."]) -> Uniforms:
    """The uniforms of four counters, each below 2^32, which are broadcast against each other.

    Raises:
        BadInput: the seed is not a 32-bit number.
    """
    if not 0 <= seed <= _WORD:
        raise BadInput(f"seed {seed}: must be between 0 and {_WORD}")
    # Of 32 bits the upper 24 are used: that is what a float32 holds exactly, so that 1.0 is never reached.
    words = torch.broadcast_tensors(*counters)
    return Uniforms(*((word >> 8).float() * 2.0**-24 for word in _philox(words, (seed, int(stream)))))


def gumbel(uniform: Float[Tensor, "*shape"]) -> Float[Tensor, "*shape"]:
    """Standard Gumbel noise −log(−log(v)) of float32 uniforms (docs/method.md, section 4).

    A uniform can be 0, whose logarithm is not finite. Both logarithms are clamped as in the published sampler.
    """
    exponential = -uniform.clamp(min=1e-20).log()
    return -exponential.clamp(min=1e-20).log()


def normal(uniform: Uniforms) -> Float[Tensor, "*shape"]:
    """Standard normal noise from the first two uniforms (Box–Muller)."""
    # A uniform can be 0 but never 1, hence the logarithm of 1 − u.
    radius = torch.sqrt(-2.0 * torch.log1p(-uniform.a))
    return radius * torch.cos(2.0 * torch.pi * uniform.b)


def _philox(counter: tuple[Tensor, ...], key: tuple[int, int]) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Four random words of 32 bits for each counter, in int64 tensors."""
    c0, c1, c2, c3 = counter
    k0, k1 = key
    for _ in range(10):
        high0, low0 = _multiply(c0, _MULTIPLIERS[0])
        high1, low1 = _multiply(c2, _MULTIPLIERS[1])
        c0, c1, c2, c3 = high1 ^ c1 ^ k0, low1, high0 ^ c3 ^ k1, low0
        k0, k1 = (k0 + _WEYL[0]) & _WORD, (k1 + _WEYL[1]) & _WORD
    return c0, c1, c2, c3


def _multiply(word: Tensor, constant: int) -> tuple[Tensor, Tensor]:
    """The high and low 32 bits of a product of two 32-bit words; int64 wraps, and the mask removes the sign."""
    product = word * constant
    return (product >> 32) & _WORD, product & _WORD
