import dataclasses

import pytest
import torch
from torch import nn

from bar_model.errors import BadInput
from bar_model.tokenizer.decoder import Decoder, DecoderBlock, SemanticConfig
from tests.harness.tiny import TINY_DECODER


def test_decoder_block_is_a_pre_norm_transformer_layer() -> None:
    ours = DecoderBlock(16, 4)
    torchs = nn.TransformerEncoderLayer(16, 4, 64, dropout=0, activation="gelu", batch_first=True, norm_first=True)
    names = {
        "norm1": "norm_attention",
        "norm2": "norm_mlp",
        "self_attn.in_proj_": "qkv.",
        "self_attn.out_proj": "attention_out",
        "linear1": "mlp.0",
        "linear2": "mlp.2",
    }
    state = torchs.state_dict()
    for theirs, our_name in names.items():
        state = {key.replace(theirs, our_name): tensor for key, tensor in state.items()}
    ours.load_state_dict(state)
    x = torch.randn(2, 5, 16)
    torch.testing.assert_close(ours(x), torchs(x))


def test_pixels_of_a_token_are_laid_out_by_row_column_and_channel() -> None:
    decoder = Decoder(TINY_DECODER, grid=2, patch=3, feature_width=24)
    for parameter in (*decoder.pixels.parameters(), *decoder.smoothing.parameters()):
        nn.init.zeros_(parameter)
    decoder.pixels.get_parameter("bias").data = torch.arange(27.0)
    for channel in range(3):
        decoder.smoothing.weight.data[channel, channel, 1, 1] = 1
    images = decoder(torch.randn(1, 4, 16), semantics=False).images
    assert images[0, 1, 2 * 3 - 1, 3 + 0] == (3 * 2 + 0) * 3 + 1  # the third row, first column and second channel
    assert torch.equal(images[..., :3, :3], images[..., 3:, 3:])


def test_semantic_features_are_read_after_their_block_and_only_on_request() -> None:
    decoder = Decoder(TINY_DECODER, grid=2, patch=3, feature_width=24)
    tokens = torch.randn(1, 4, 16)
    predicted = decoder(tokens, semantics=True).semantics
    nn.init.zeros_(decoder.blocks[2].get_parameter("mlp.2.weight"))
    assert torch.equal(decoder(tokens, semantics=True).semantics, predicted)
    nn.init.ones_(decoder.blocks[1].get_parameter("mlp.2.weight"))
    assert not torch.equal(decoder(tokens, semantics=True).semantics, predicted)
    assert decoder(tokens, semantics=False).semantics is None


def test_semantic_features_of_no_block_are_refused() -> None:
    with pytest.raises(BadInput, match="no such block"):
        dataclasses.replace(TINY_DECODER, semantic=SemanticConfig(after_block=3, hidden_width=8))
