"""What the arithmetic of a generator costs (method.md, section 8).

Two operations for each weight of a linear layer that a slot or token passes, and attention beside them. Work that is
saved still counts, work that is done twice does not.
"""

from torch import nn

from bar_model.bar import Bar


def sequence_operations(bar: Bar, *, steps: int = 1) -> int:
    """Of one sequence through the transformer, and of each of its tokens `steps` times through the head."""
    transformer, num_tokens = bar.transformer, bar.transformer.num_tokens
    slots, earlier = transformer.config.prefix + num_tokens - 1, earlier_slots(bar)
    ends = linear_weights(transformer.bit_embedding) + linear_weights(transformer.context)
    attention = 4 * transformer.config.width * transformer.config.depth * earlier
    linears = slots * linear_weights(transformer.blocks) + num_tokens * (ends + steps * linear_weights(bar.head))
    return 2 * linears + attention


def training_operations(bar: Bar) -> int:
    """Of a row in training: forward and, twice as much, backward."""
    return 3 * sequence_operations(bar)


def earlier_slots(bar: Bar) -> int:
    """Slots before each slot, summed over the sequence."""
    slots = bar.transformer.config.prefix + bar.transformer.num_tokens - 1
    return slots * (slots - 1) // 2


def linear_weights(module: nn.Module) -> int:
    """Weights of all linear layers below, without biases."""
    return sum(part.weight.numel() for part in module.modules() if isinstance(part, nn.Linear))
