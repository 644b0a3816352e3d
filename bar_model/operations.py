"""The operations of a generator and of a tokenizer (docs/method.md, section 8).

Each weight of a linear layer that a slot or token passes counts as two operations; attention is added. Work that an
implementation saves still counts. Work that is done twice counts once. The frozen networks of losses do not count.
"""

from torch import nn

from bar_model.generator.bar import Bar
from bar_model.tokenizer.tokenizer import TokenizerConfig


def sequence_operations(bar: Bar, *, steps: int = 1) -> int:
    """Operations of one sequence through the transformer, and of each of its tokens `steps` times through the head."""
    transformer, num_tokens = bar.transformer, bar.transformer.num_tokens
    slots, earlier = transformer.config.prefix + num_tokens - 1, earlier_slots(bar)
    ends = linear_weights(transformer.bit_embedding) + linear_weights(transformer.context)
    attention = 4 * transformer.config.width * transformer.config.depth * earlier
    linears = slots * linear_weights(transformer.blocks) + num_tokens * (ends + steps * linear_weights(bar.head))
    return 2 * linears + attention


def training_operations(bar: Bar) -> int:
    """Operations of one row in training: the forward pass, and the backward pass with twice as many."""
    return 3 * sequence_operations(bar)


def encoding_operations(config: TokenizerConfig) -> int:
    """Operations of one image into bits."""
    encoder, tokens = config.encoder, config.codes.num_tokens
    ends = 2 * tokens * encoder.width * (3 * config.patch**2 + config.bits)
    return _tower_operations(encoder.width, encoder.depth, encoder.mlp_width, slots=tokens) + ends


def decoding_operations(config: TokenizerConfig) -> int:
    """Operations of one image from its bits."""
    width, tokens = config.decoder.width, config.codes.num_tokens
    ends = 2 * tokens * width * (config.bits + 3 * config.patch**2) + 2 * 81 * config.image_size**2
    return _tower_operations(width, config.decoder.depth, 4 * width, slots=tokens + 1) + ends


def reconstruction_operations(config: TokenizerConfig) -> int:
    """Operations of the forward pass of one image in training, with the features of the semantic loss."""
    semantic, features = config.decoder.semantic, 0
    if semantic is not None:
        width, hidden = config.decoder.width, semantic.hidden_width
        features = 2 * config.codes.num_tokens * hidden * (width + hidden + config.encoder.width)
    return encoding_operations(config) + decoding_operations(config) + features


def earlier_slots(bar: Bar) -> int:
    """The number of slots before each slot, summed over the sequence."""
    slots = bar.transformer.config.prefix + bar.transformer.num_tokens - 1
    return slots * (slots - 1) // 2


def linear_weights(module: nn.Module) -> int:
    """The number of weights of all linear layers of a module, without biases."""
    return sum(part.weight.numel() for part in module.modules() if isinstance(part, nn.Linear))


def _tower_operations(width: int, depth: int, mlp_width: int, *, slots: int) -> int:
    """Operations of the blocks of a vision transformer, in which every slot attends to all."""
    return depth * (4 * slots * width * (2 * width + mlp_width) + 4 * width * slots**2)
