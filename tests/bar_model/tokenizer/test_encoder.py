import dataclasses

import torch

from bar_model.tokenizer.encoder import Encoder
from bar_model.tokenizer.tokenizer import Tokenizer
from tests.harness.tiny import TINY_ENCODER, TINY_TOKENIZER


def test_frozen_embeddings_are_not_trained() -> None:
    config = dataclasses.replace(TINY_TOKENIZER, encoder=dataclasses.replace(TINY_ENCODER, frozen_embeddings=True))
    frozen = {name for name, parameter in Tokenizer(config).named_parameters() if not parameter.requires_grad}
    embeddings = "encoder.tower.embeddings"
    assert frozen == {
        f"{embeddings}.patch_embedding.weight",
        f"{embeddings}.patch_embedding.bias",
        f"{embeddings}.position_embedding.weight",
    }


def test_patches_are_flattened_by_row_column_and_channel() -> None:
    encoder = Encoder(TINY_ENCODER, grid=4, patch=4)
    images = torch.rand(1, 3, 16, 16)
    seen = []
    encoder.tower.get_submodule("embeddings").register_forward_pre_hook(
        lambda _, args, kwargs: seen.append((*args, *kwargs.values())[0]), with_kwargs=True
    )
    encoder(images)
    token = 4 * 2 + 3
    expected = [images[0, c, 2 * 4 + y, 3 * 4 + x] for y in range(4) for x in range(4) for c in range(3)]
    assert torch.equal(seen[0][0, token], torch.stack(expected))


def test_positions_resized_once_are_those_resized_for_each_image() -> None:
    encoder = Encoder(TINY_ENCODER, grid=6, patch=4)
    images = torch.rand(2, 3, 24, 24)
    patches = images.unfold(2, 4, 4).unfold(3, 4, 4).permute(0, 2, 3, 4, 5, 1).flatten(3).flatten(1, 2)
    each = encoder.tower(
        pixel_values=patches,
        pixel_attention_mask=torch.ones(2, 36),
        spatial_shapes=torch.tensor([[6, 6], [6, 6]]),
    )
    torch.testing.assert_close(encoder(images), each.last_hidden_state)
