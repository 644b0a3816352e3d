"""The published generators' state dicts, in and out (method.md, section 7)."""

import re
from collections.abc import Mapping

import torch
from torch import Tensor

from bar_model.bar import Bar, BarConfig
from bar_model.errors import BadInput
from bar_model.renaming import Renaming
from bar_model.rotary import Rotation, axial_rotation

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
_ROTATIONS = re.compile(r"blocks\.\d+\.attn\.rope\.freqs_(cos|sin)")


def import_generator(published: Mapping[str, Tensor], config: BarConfig) -> dict[str, Tensor]:
    """Our state dict from a published one; its rotary tables are checked against ours and dropped.

    Raises:
        BadInput: a rotary table that is not the one that this configuration computes.
    """
    rotations = _rotation(config)._asdict()
    ours: dict[str, Tensor] = {}
    for key, tensor in published.items():
        if constant := _ROTATIONS.fullmatch(key):
            expected = rotations[constant[1]]
            if tensor.shape != expected.shape or not torch.allclose(tensor.float(), expected, atol=1e-6):
                raise BadInput(f"{key}: not the rotary table of a grid of {config.grid} tokens a side")
        else:
            name = _RENAMING.ours(key) or key
            ours[name] = tensor.squeeze(0) if key in _LEADING_AXIS else tensor
    return ours


def export_generator(ours: Mapping[str, Tensor], config: BarConfig) -> dict[str, Tensor]:
    """The published state dict of ours, in its order, with the rotary tables of every block."""
    cos, sin = _rotation(config)
    published: dict[str, Tensor] = {}
    names = {_RENAMING.theirs(key) or key: key for key in ours}
    for key in _RENAMING.in_their_order(names):
        tensor = ours[names[key]]
        published[key] = tensor.unsqueeze(0) if key in _LEADING_AXIS else tensor
        if key.endswith("attn.proj.bias"):
            rope = key.removesuffix("proj.bias") + "rope.freqs_"
            published[rope + "cos"], published[rope + "sin"] = cos, sin
    return published


def published_name(ours: str) -> str:
    """What the published code calls a parameter of ours; our own name where it has none (the baseline heads)."""
    return _RENAMING.theirs(ours) or ours


def published_shapes(config: BarConfig) -> dict[str, tuple[int, ...]]:
    """Every key of the published state dict of this configuration, and its shape."""
    with torch.device("meta"):
        ours = Bar(config).state_dict()
    return {key: tuple(tensor.shape) for key, tensor in export_generator(ours, config).items()}


def _rotation(config: BarConfig) -> Rotation:
    transformer = config.transformer
    return axial_rotation(config.grid, transformer.width // transformer.heads, prefix=transformer.prefix)
