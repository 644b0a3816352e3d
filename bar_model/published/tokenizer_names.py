"""The state dicts of the published tokenizers, imported and exported (docs/method.md, section 7).

A published file also holds SigLIP 2's own layers, under two names, and its unused pooling head. Our tokenizer has none
of these. Importing gives them back as they are, and exporting needs them again. For a tokenizer that was trained here,
`siglip_as_published` makes them from SigLIP 2's own weights.
"""

from collections.abc import Mapping
from typing import NamedTuple

import torch
from torch import Tensor

from bar_model.presets import bar_fsq
from bar_model.published.renaming import Renaming
from bar_model.published.state_dict import Shapes, require_shapes, tensor_shapes
from bar_model.tokenizer.encoder import vision_tower
from bar_model.tokenizer.tokenizer import Tokenizer, TokenizerConfig


def _stack(theirs: str, ours: str) -> dict[str, str]:
    attention = [f"self_attn.{part}" for part in ("k_proj", "v_proj", "q_proj", "out_proj")]
    parts = ["layer_norm1", *attention, "layer_norm2", "mlp.fc1", "mlp.fc2"]
    return {f"{theirs}.layers.*.{part}": f"{ours}.layers.*.{part}" for part in parts}


def _as_they_are(*names: str) -> dict[str, str]:
    return {name: name for name in names}


# Published name → ours, in the published order; "*" is a block's number, and a name stands for its weight and bias.
# SigLIP 2's own parameters keep their names.
_RENAMING = Renaming(
    {
        "decoder.class_embedding": "decoder.class_token",
        "decoder.positional_embedding": "decoder.positions",
        "decoder.ln_pre": "decoder.norm_in",
        "decoder.transformer.*.norm1": "decoder.blocks.*.norm_attention",
        "decoder.transformer.*.attn.qkv": "decoder.blocks.*.qkv",
        "decoder.transformer.*.attn.proj": "decoder.blocks.*.attention_out",
        "decoder.transformer.*.norm2": "decoder.blocks.*.norm_mlp",
        "decoder.transformer.*.mlp.fc1": "decoder.blocks.*.mlp.0",
        "decoder.transformer.*.mlp.fc2": "decoder.blocks.*.mlp.2",
        "decoder.ln_post": "decoder.norm_out",
        "decoder.ffn.0": "decoder.pixels",
        "decoder.conv_out": "decoder.smoothing",
        "decoder.clip_projector.0": "decoder.semantic_projector.0",
        "decoder.clip_projector.2": "decoder.semantic_projector.2",
        "decoder.clip_projector.4": "decoder.semantic_projector.4",
        "encoder.siglip.embeddings.patch_embedding": "encoder.tower.embeddings.patch_embedding",
        "encoder.siglip.embeddings.position_embedding": "encoder.tower.embeddings.position_embedding",
        **_stack("encoder.siglip.encoder", "encoder.siglip.encoder"),
        **_as_they_are(
            "encoder.siglip.post_layernorm",
            "encoder.siglip.head.probe",
            "encoder.siglip.head.attention.in_proj_weight",
            "encoder.siglip.head.attention.in_proj_bias",
            "encoder.siglip.head.attention.out_proj",
            "encoder.siglip.head.layernorm",
            "encoder.siglip.head.mlp.fc1",
            "encoder.siglip.head.mlp.fc2",
        ),
        **_stack("encoder.frozen_encoder", "encoder.frozen_encoder"),
        **_stack("encoder.trainable_encoder", "encoder.tower.encoder"),
        **_as_they_are("encoder.frozen_post_layernorm"),
        "encoder.trainable_post_layernorm": "encoder.tower.post_layernorm",
        "quantize.in_proj": "quantizer.project",
        "quantize.out_proj": "quantizer.embed",
    }
)
_BITS = "quantize.in_proj.bias"
_POSITIONS = "decoder.positional_embedding"


class PublishedTokenizer(NamedTuple):
    """A published file taken apart: the state dict of `Tokenizer(config)`, and SigLIP 2 under its published names."""

    config: TokenizerConfig
    weights: dict[str, Tensor]
    frozen: dict[str, Tensor]


def is_tokenizer(published: Mapping[str, Tensor]) -> bool:
    """Whether this state dict is that of a published tokenizer, complete or not."""
    return all(key in published and published[key].ndim for key in (_BITS, _POSITIONS))


def import_tokenizer(published: Mapping[str, Tensor]) -> PublishedTokenizer:
    """Divide a published state dict into that of our tokenizer and SigLIP 2.

    Raises:
        BadInput: a key is missing, unexpected or of another shape.
    """
    num_tokens = len(published[_POSITIONS]) - 1
    config = bar_fsq(bits=len(published[_BITS]), image_size=16 * round(num_tokens**0.5))
    require_shapes(
        tensor_shapes(published),
        published_tokenizer_shapes(config),
        f"bar_fsq of {config.bits} bits at {config.image_size} px, the nearest",
    )
    names = {key: _RENAMING.ours(key) or key for key in published}
    # Parameters that keep their published name are not part of our tokenizer.
    return PublishedTokenizer(
        config,
        weights={name: published[key] for key, name in names.items() if name != key},
        frozen={key: published[key] for key, name in names.items() if name == key},
    )


def export_tokenizer(weights: Mapping[str, Tensor], frozen: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The published state dict from our tokenizer's weights and SigLIP 2, in the published order."""
    published = {_RENAMING.theirs(name) or name: tensor for name, tensor in weights.items()} | dict(frozen)
    return {key: published[key] for key in _RENAMING.in_their_order(published)}


def siglip_as_published(tower: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The part of a published file beside our tokenizer, from the state dict of SigLIP 2's vision tower."""
    frozen = {f"encoder.siglip.{key}": tensor for key, tensor in tower.items() if not key.startswith("embeddings.")}
    again = {
        f"encoder.frozen_{key}": tensor for key, tensor in tower.items() if not key.startswith(("embeddings.", "head."))
    }
    return frozen | again


def published_tokenizer_shapes(config: TokenizerConfig) -> Shapes:
    """Every key of the published file of this configuration, and its shape."""
    with torch.device("meta"):
        ours = Tokenizer(config).state_dict()
        tower = vision_tower(config.encoder, patch=config.patch, pooling_head=True).state_dict()
    return tensor_shapes(export_tokenizer(ours, siglip_as_published(tower)))
