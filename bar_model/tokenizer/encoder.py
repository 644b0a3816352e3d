"""The tokenizer's encoder: the vision tower of SigLIP 2 (NaFlex), as transformers has it, without its pooling head."""

from dataclasses import dataclass

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from bar_model.errors import BadInput


@dataclass(frozen=True, kw_only=True)
class EncoderConfig:
    """A SigLIP 2 vision tower; its `position_grid`² learned positions are resized to the image's own grid."""

    width: int
    depth: int
    heads: int
    mlp_width: int
    position_grid: int
    frozen_embeddings: bool
    """True where SigLIP 2's own embeddings are kept, which the semantic target shares; False from scratch."""

    def __post_init__(self) -> None:
        if self.width % self.heads:
            raise BadInput(f"encoder of width {self.width}: not divisible by its {self.heads} heads")


class Encoder(nn.Module):
    """Images in [-1, 1] -> one feature vector a patch, in raster order, after the tower's last LayerNorm."""

    def __init__(self, config: EncoderConfig, *, grid: int, patch: int) -> None:
        super().__init__()
        self.patch = patch
        self.grid = grid
        self.tower = vision_tower(config, patch=patch, pooling_head=False)
        self.tower.get_submodule("embeddings").requires_grad_(not config.frozen_embeddings)

    def forward(self, images: Float[Tensor, "batch 3 height width"]) -> Float[Tensor, "batch tokens features"]:
        pattern = "b c (row pr) (column pc) -> b (row column) (pr pc c)"
        patches = rearrange(images, pattern, pr=self.patch, pc=self.patch)
        # One shape for the whole batch: given one an image, the tower would resize its positions once an image.
        shape = torch.tensor([[self.grid, self.grid]])
        return self.tower(pixel_values=patches, pixel_attention_mask=None, spatial_shapes=shape).last_hidden_state


def vision_tower(config: EncoderConfig, *, patch: int, pooling_head: bool) -> nn.Module:
    """transformers' own class; SigLIP 2 has a pooling head, which nothing here uses."""
    # Imported here since it takes seconds, and a command's --help needs none of it.
    from transformers import Siglip2VisionConfig, Siglip2VisionModel

    return Siglip2VisionModel(
        Siglip2VisionConfig(
            hidden_size=config.width,
            num_hidden_layers=config.depth,
            num_attention_heads=config.heads,
            intermediate_size=config.mlp_width,
            num_patches=config.position_grid**2,
            patch_size=patch,
            vision_use_head=pooling_head,
        )
    )
