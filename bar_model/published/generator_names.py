"""The state dicts of the published generators, imported and exported (docs/method.md, section 7)."""

from collections.abc import Mapping

import torch
from torch import Tensor

from bar_model.errors import BadInput
from bar_model.generator.bar import Bar, BarConfig
from bar_model.generator.rotary import axial_rotation
from bar_model.published.renaming import Renaming
from bar_model.published.state_dict import Shapes, tensor_shapes

# Published name → ours, in the published order; "*" is a block's number, and a name stands for its weight and bias.
_NAMES = {
    "cls_token": "transformer.class_token",
    "pos_embed": "transformer.position_embedding.weight",
    "target_aware_pos_embed": "transformer.target_embedding.weight",
    "timesteps_embeddings": "transformer.slot_embedding.weight",
    "blocks.*.norm1": "transformer.blocks.*.attention_norm",
    "blocks.*.attn.qkv": "transformer.blocks.*.attention.qkv",
    "blocks.*.attn.q_norm": "transformer.blocks.*.attention.query_norm",
    "blocks.*.attn.k_norm": "transformer.blocks.*.attention.key_norm",
    "blocks.*.attn.proj": "transformer.blocks.*.attention.out",
    # Constants, which are no parameters here; they stand in the table for their place in the order.
    "blocks.*.attn.rope.freqs_cos": "transformer.cos",
    "blocks.*.attn.rope.freqs_sin": "transformer.sin",
    "blocks.*.norm2": "transformer.blocks.*.feed_forward_norm",
    "blocks.*.mlp.w12": "transformer.blocks.*.feed_forward.gate_value",
    "blocks.*.mlp.w3": "transformer.blocks.*.feed_forward.out",
    "blocks.*.adaLN_modulation.1": "transformer.blocks.*.modulation.linear",
    "norm": "transformer.norm",
    "lm_head.input_embed": "head.bit_embedding.table",
    "lm_head.input_proj": "head.bit_embedding.merge",
    "lm_head.ln_pre": "head.bit_norm",
    "lm_head.transformer.*.in_ln": "head.blocks.*.norm",
    "lm_head.transformer.*.mlp.w12": "head.blocks.*.feed_forward.gate_value",
    "lm_head.transformer.*.mlp.w3": "head.blocks.*.feed_forward.out",
    "lm_head.transformer.*.adaLN_modulation.1": "head.blocks.*.modulation.linear",
    "lm_head.output_embed": "head.out",
    "lm_head.t_embedder.W": "head.ratio_embedding.frequencies",
    "lm_head.t_embedder.mlp.0": "head.ratio_embedding.hidden",
    "lm_head.t_embedder.mlp.2": "head.ratio_embedding.out",
    "lm_head.adaln_before_head.norm_final": "head.norm",
    "lm_head.adaln_before_head.adaLN_modulation.1": "head.modulation.linear",
    "latent_condition_proj": "transformer.context",
    "embeddings": "transformer.class_embedding",
    "input_embeddings": "transformer.bit_embedding.table",
    "input_merge": "transformer.bit_embedding.merge",
}
# These four have an axis of length one in front.
_LEADING_AXIS = ("cls_token", "pos_embed", "target_aware_pos_embed", "timesteps_embeddings")
_RENAMING = Renaming(_NAMES)


def import_generator(published: Mapping[str, Tensor], config: BarConfig) -> dict[str, Tensor]:
    """Our state dict from a published one; its rotary tables are compared with ours and left out.

    Raises:
        BadInput: a rotary table differs from the one of this configuration.
    """
    constants = published_constants(config)
    ours: dict[str, Tensor] = {}
    for key, tensor in published.items():
        if key in constants:
            if not _is_table(tensor, constants[key]):
                raise BadInput(f"{key}: not the rotary table of a grid of {config.grid} tokens a side")
        else:
            name = _RENAMING.ours(key) or key
            ours[name] = tensor.squeeze(0) if key in _LEADING_AXIS else tensor
    return ours


def export_generator(ours: Mapping[str, Tensor], config: BarConfig) -> dict[str, Tensor]:
    """The published state dict from ours, in the published order, with the rotary tables of every block."""
    published = published_constants(config)
    for key, tensor in ours.items():
        name = _RENAMING.theirs(key) or key
        published[name] = tensor.unsqueeze(0) if name in _LEADING_AXIS else tensor
    return {name: published[name] for name in _RENAMING.in_their_order(published)}


def published_constants(config: BarConfig) -> dict[str, Tensor]:
    """The rotary tables that a published state dict holds, once for each block."""
    transformer = config.transformer
    table = axial_rotation(config.grid, transformer.width // transformer.heads, prefix=transformer.prefix)
    blocks = range(transformer.depth)
    return {f"blocks.{n}.attn.rope.freqs_{part}": table._asdict()[part] for n in blocks for part in ("cos", "sin")}


def published_name(ours: str) -> str:
    """The published name of our parameter; our own name if it has none, as in the baseline heads."""
    return _RENAMING.theirs(ours) or ours


def published_generator_shapes(config: BarConfig) -> Shapes:
    """Every key of the published state dict of this configuration, and its shape."""
    with torch.device("meta"):
        ours = Bar(config).state_dict()
    return tensor_shapes(export_generator(ours, config))


def _is_table(found: Tensor, expected: Tensor) -> bool:
    """Whether a rotary table is the expected one, also if it was stored in 16 bits."""
    stored = (expected.to(kind).float() for kind in (torch.float32, torch.bfloat16, torch.float16))
    return found.shape == expected.shape and any(torch.allclose(found.float(), each, atol=1e-6) for each in stored)
