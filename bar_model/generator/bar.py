"""BAR: the transformer joined with a head, its training loss, and drawing (docs/method.md, sections 3 to 5)."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Annotated, NamedTuple

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor, nn

from bar_model.bits import CodeShape, merge_patches, split_patches
from bar_model.errors import BadInput
from bar_model.generator.sampling import Request, Sampling, draw, random_order, raster_order
from bar_model.generator.transformer import Transformer, TransformerConfig
from bar_model.heads.head import BitMask, KnownBits, Loss
from bar_model.heads.make_head import HeadConfig, make_head
from bar_model.layers import initialize
from bar_model.noise import CounterNoise, SamplingNoise, Stream, normal, uniforms
from bar_model.ranges import Range, Size, check_ranges


@dataclass(frozen=True, kw_only=True)
class BarConfig:
    """The configuration of a generator.

    `codes` is the shape of the tokenizer's codes. `patch` × `patch` of its tokens form one token of the generator.
    `sampling` holds the settings that `generate` uses by default.
    """

    codes: CodeShape
    num_classes: Annotated[int, Range(least=1, most=2**24)]
    transformer: TransformerConfig
    sampling: Sampling
    patch: Size = 1
    head: HeadConfig = HeadConfig()

    def __post_init__(self) -> None:
        check_ranges(self)
        if self.codes.grid % self.patch:
            raise BadInput(f"patch {self.patch}: must divide the grid of {self.codes.grid} tokens a side")

    @property
    def grid(self) -> int:
        """Generator tokens along a side of the image."""
        return self.codes.grid // self.patch

    @property
    def token_bits(self) -> int:
        """Bits of a generator token."""
        return self.codes.bits * self.patch**2


class TrainingDraw(NamedTuple):
    """The random choices for each row of a training batch: its order, whether its class is dropped, its masks."""

    order: Int64[Tensor, "batch tokens"]
    dropped: Bool[Tensor, " batch"]
    masked: BitMask


class Bar(nn.Module):
    """A generator of codes. Labels are 0 … num_classes − 1; `dropped_class` stands for no class."""

    def __init__(self, config: BarConfig) -> None:
        super().__init__()
        self.config = config
        self.head = make_head(config.head, bits=config.token_bits)
        self.head.check_allocation(config.sampling.allocation)
        self.transformer = Transformer(
            config.transformer,
            grid=config.grid,
            bits=config.token_bits,
            num_classes=config.num_classes,
            context_width=config.head.width,
        )
        initialize(self)

    @property
    def dropped_class(self) -> int:
        """The label that stands for no class; guidance draws with it, too."""
        return self.config.num_classes

    def training_draw(
        self,
        rows: Int64[Tensor, " batch"],
        epochs: Int64[Tensor, " batch"],
        *,
        seed: int,
        order_randomness: float,
        class_dropout: float,
    ) -> TrainingDraw:
        """Order, class dropout and masks of some rows, as functions of (seed, epoch, row).

        They do not depend on the batch, so a training draws the same on any number of workers. `order_randomness` is
        the probability of a random order instead of the raster order (docs/method.md, section 5).
        """
        num_tokens, device = self.transformer.num_tokens, rows.device
        zero = torch.zeros((), dtype=torch.int64, device=device)
        tokens = torch.arange(num_tokens, device=device)
        bits = torch.arange(self.head.bits, device=device)
        row = uniforms(seed, Stream.TRAINING_ROW, rows, epochs, zero, zero)
        order = uniforms(seed, Stream.TRAINING_ORDER, rows[:, None], epochs[:, None], zero, tokens).a.argsort(dim=-1)
        is_random = (row.a < order_randomness)[:, None]
        ratio = normal(uniforms(seed, Stream.TRAINING_MASK_RATIO, rows[:, None], epochs[:, None], tokens, zero))
        each_bit = (rows[:, None, None], epochs[:, None, None], tokens[:, None], bits)
        return TrainingDraw(
            order=torch.where(is_random, order, tokens),
            dropped=row.b < class_dropout,
            masked=self.head.training_mask(ratio, uniforms(seed, Stream.TRAINING_MASK, *each_bit).a),
        )

    def contexts(
        self,
        bits: Bool[Tensor, "batch tokens bits"],
        labels: Int64[Tensor, " batch"],
        order: Int64[Tensor, "batch generator_tokens"],
    ) -> Float[Tensor, "batch generator_tokens width"]:
        """The context of each generator token, given all tokens before it; in generation order."""
        return self.transformer(_in_order(merge_patches(bits, self.config.patch), order), labels, order)

    def loss(
        self, bits: Bool[Tensor, "batch tokens bits"], labels: Int64[Tensor, " batch"], chance: TrainingDraw
    ) -> Loss:
        """The training loss of these images for the given random choices; the targets are the clean bits."""
        tokens = _in_order(merge_patches(bits, self.config.patch), chance.order)
        classes = torch.where(chance.dropped, self.dropped_class, labels)
        contexts = self.transformer(tokens, classes, chance.order)
        masked = BitMask(chance.masked.mask.flatten(0, 1), chance.masked.ratio.flatten())
        return self.head.loss(contexts.flatten(0, 1), tokens.flatten(0, 1), masked)

    def generate(
        self,
        labels: Int64[Tensor, " batch"] | Sequence[int],
        *,
        seed: int = 0,
        images: Int64[Tensor, " batch"] | None = None,
        sampling: Sampling | None = None,
        known: KnownBits | None = None,
        noise: SamplingNoise | None = None,
    ) -> Bool[Tensor, "batch tokens bits"]:
        """Draw the codes of one image for each label; the label `dropped_class` draws without a class.

        An image depends on the seed and its index in `images` (0, 1, … by default), not on its batch. `known` fixes
        bits, in raster order. `noise` replaces the noise that follows from seed and index.

        Raises:
            BadInput: a label out of range, or an allocation that does not sum to the bits of a token.
        """
        step_by_step = partial(draw, self.transformer, self.head)
        return self.generate_by(
            step_by_step, labels, seed=seed, images=images, sampling=sampling, known=known, noise=noise
        )

    def generate_by(
        self,
        draw: Callable[[Request], Bool[Tensor, "batch tokens bits"]],
        labels: Int64[Tensor, " batch"] | Sequence[int],
        *,
        seed: int,
        images: Int64[Tensor, " batch"] | None,
        sampling: Sampling | None,
        known: KnownBits | None,
        noise: SamplingNoise | None,
    ) -> Bool[Tensor, "batch tokens bits"]:
        """Draw as `generate` does, with another sampler: `draw` turns a request into tokens in raster order.

        Raises:
            BadInput: a label out of range, or an allocation that does not sum to the bits of a token.
        """
        sampling = sampling or self.config.sampling
        self.head.check_allocation(sampling.allocation)
        labels = torch.as_tensor(labels, device=self.transformer.class_token.device)
        self._check_labels(labels)
        if images is None:
            images = torch.arange(len(labels), device=labels.device)
        if sampling.order == "random":
            order = random_order(seed, images, self.transformer.num_tokens)
        else:
            order = raster_order(len(labels), self.transformer.num_tokens, labels.device)
        if known is not None:
            known = KnownBits(*(merge_patches(part, self.config.patch) for part in known))
        request = Request(
            classes=labels,
            dropped_class=self.dropped_class,
            order=order,
            sampling=sampling,
            noise=noise or CounterNoise(seed, images),
            known=known,
        )
        return split_patches(draw(request), self.config.patch)

    def _check_labels(self, labels: Int64[Tensor, " batch"]) -> None:
        wrong = labels[(labels < 0) | (labels > self.dropped_class)]
        if len(wrong):
            raise BadInput(f"label {wrong[0].item()}: must be between 0 and {self.config.num_classes - 1}")


def _in_order(
    tokens: Bool[Tensor, "batch tokens bits"], order: Int64[Tensor, "batch tokens"]
) -> Bool[Tensor, "batch tokens bits"]:
    return tokens.gather(1, order[..., None].expand_as(tokens))
