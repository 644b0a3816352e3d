"""The tokenizer's encoder: the vision tower of SigLIP 2 (NaFlex) without pooling head (docs/method.md, section 2)."""

from dataclasses import dataclass
from typing import Annotated

import torch
from einops import rearrange
from jaxtyping import Float
from torch import Tensor, nn

from bar_model.errors import BadInput
from bar_model.ranges import Depth, Range, Size, check_ranges


@dataclass(frozen=True, kw_only=True)
class EncoderConfig:
    """The size of a SigLIP 2 vision tower.

    It has `position_grid`² learned positions, which are resized to the grid of the image.
    """

    width: Size
    depth: Depth
    heads: Size
    mlp_width: Size
    position_grid: Annotated[int, Range(least=1, most=2**12)]
    frozen_embeddings: bool
    """True to keep SigLIP 2's own embeddings, which the semantic target shares; False to train from scratch."""

    def __post_init__(self) -> None:
        check_ranges(self)
        if self.width % self.heads:
            raise BadInput(f"encoder of width {self.width}: not divisible by its {self.heads} heads")


class Encoder(nn.Module):
    """Turns images in [-1, 1] into one feature vector for each patch, in raster order."""

    def __init__(self, config: EncoderConfig, *, grid: int, patch: int) -> None:
        super().__init__()
        self.patch = patch
        self.grid = grid
        self.tower = vision_tower(config, patch=patch, pooling_head=False)
        self.tower.get_submodule("embeddings").requires_grad_(not config.frozen_embeddings)

    def forward(self, images: Float[Tensor, "batch 3 height width"]) -> Float[Tensor, "batch tokens features"]:
        """The features after the tower's last LayerNorm."""
        pattern = "b c (row pr) (column pc) -> b (row column) (pr pc c)"
        patches = rearrange(images, pattern, pr=self.patch, pc=self.patch)
        # One shape for the whole batch: with one shape for each image, the tower would resize its positions each time.
        shape = torch.tensor([[self.grid, self.grid]])
        return self.tower(pixel_values=patches, pixel_attention_mask=None, spatial_shapes=shape).last_hidden_state


def vision_tower(config: EncoderConfig, *, patch: int, pooling_head: bool) -> nn.Module:
    """The tower as `transformers` implements it.

    Published files also hold the pooling head, which nothing here computes with.
    """
    # Imported here because it takes seconds, and the --help of a command does not need it.
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
