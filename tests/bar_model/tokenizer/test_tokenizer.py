import dataclasses
import json
from pathlib import Path

import pytest
import torch
from torch import nn

from bar_model import checkpoint
from bar_model.bits import CodeShape
from bar_model.errors import BadInput
from bar_model.presets import TOKENIZERS
from bar_model.published.tokenizer_names import (
    export_tokenizer,
    import_tokenizer,
    is_tokenizer,
    published_tokenizer_shapes,
    siglip_as_published,
)
from bar_model.tokenizer.decoder import Decoder, DecoderBlock, DecoderConfig, SemanticConfig
from bar_model.tokenizer.encoder import Encoder, EncoderConfig
from bar_model.tokenizer.tokenizer import Tokenizer, TokenizerConfig
from tests.harness.tiny import random_bits

ENCODER = EncoderConfig(width=24, depth=2, heads=2, mlp_width=40, position_grid=4, frozen_embeddings=False)
DECODER = DecoderConfig(width=16, depth=3, heads=2, semantic=SemanticConfig(after_block=1, hidden_width=20))
TINY = TokenizerConfig(image_size=16, patch=4, bits=5, encoder=ENCODER, decoder=DECODER, balanced_start=True)

UPSTREAM = json.loads((Path(__file__).parents[2] / "golden" / "upstream_keys.json").read_text())
PUBLISHED = {"bar-fsq-16": "bar_fsq_16bits", "bar-fsq-10-512": "bar_fsq_10bits_res512"}


def test_encoding_and_decoding_are_the_halves_of_the_forward_pass() -> None:
    tokenizer = Tokenizer(TINY)
    images = torch.rand(3, 3, 16, 16) * 2 - 1
    output = tokenizer(images)
    bits = tokenizer.encode(images)
    assert torch.equal(bits, output.bits)
    assert bits.shape == (3, 16, 5)
    assert not bits.all()
    assert bits.any()
    torch.testing.assert_close(tokenizer.decode(bits), output.reconstruction)
    assert output.semantics.shape == (3, 16, ENCODER.width)


def test_whoever_only_decodes_loads_no_encoder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tokenizer = Tokenizer(TINY).eval()
    checkpoint.save(tokenizer, tmp_path / "tokenizer")
    bits = random_bits(2, 16, 5)
    # transformers, which has the encoder's layers, takes seconds to import.
    monkeypatch.setattr("bar_model.tokenizer.encoder.vision_tower", None)
    decoder = checkpoint.load_tokenizer(tmp_path / "tokenizer", decode_only=True)
    assert torch.equal(decoder.decode(bits), tokenizer.decode(bits))
    assert checkpoint.fingerprint_of(tmp_path / "tokenizer") == checkpoint.fingerprint(tokenizer)
    with pytest.raises(BadInput, match="load it whole"):
        decoder.encode(torch.zeros(2, 3, 16, 16))
    with pytest.raises(ValueError, match="fingerprint_of"):
        checkpoint.fingerprint(decoder)


@pytest.mark.parametrize(("bits", "image_size", "patch"), [(1, 8, 4), (7, 12, 4), (256, 16, 8)])
def test_any_bits_and_any_grid(bits: int, image_size: int, patch: int) -> None:
    config = dataclasses.replace(TINY, bits=bits, image_size=image_size, patch=patch)
    tokenizer = Tokenizer(config)
    grid = image_size // patch
    assert config.codes == CodeShape(grid=grid, bits=bits)
    images = torch.rand(2, 3, image_size, image_size)
    codes = tokenizer.encode(images)
    assert codes.shape == (2, grid**2, bits)
    assert tokenizer.decode(codes).shape == images.shape


def test_five_seeded_steps_of_the_digits_tokenizer() -> None:
    """A change of these numbers is a change of the model or its gradients."""
    tokenizer = Tokenizer(TOKENIZERS["digits"]())
    generator = torch.Generator().manual_seed(3)
    with torch.no_grad():  # The tower's own initialisation is another in every version of transformers.
        for parameter in tokenizer.parameters():
            parameter.normal_(0, 0.1, generator=generator)
    optimizer = torch.optim.AdamW(tokenizer.parameters(), lr=2e-3, weight_decay=0)
    pixels = torch.linspace(-1, 1, 32)
    images = torch.stack([(pixels[:, None] * pixels * turn).cos() for turn in range(8)])[:, None].expand(-1, 3, -1, -1)
    losses = []
    for _ in range(5):
        loss = (tokenizer(images).reconstruction - images).square().mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses == pytest.approx([0.724822, 0.705848, 0.691570, 0.677177, 0.661023], rel=1e-4)


def test_gradients_reach_every_parameter_through_the_rounding() -> None:
    tokenizer = Tokenizer(TINY)
    output = tokenizer(torch.rand(2, 3, 16, 16))
    (output.reconstruction.square().mean() + output.semantics.square().mean()).backward()
    assert [name for name, parameter in tokenizer.named_parameters() if parameter.grad is None] == []


def test_frozen_embeddings_are_not_trained() -> None:
    config = dataclasses.replace(TINY, encoder=dataclasses.replace(ENCODER, frozen_embeddings=True))
    frozen = {name for name, parameter in Tokenizer(config).named_parameters() if not parameter.requires_grad}
    embeddings = "encoder.tower.embeddings"
    assert frozen == {
        f"{embeddings}.patch_embedding.weight",
        f"{embeddings}.patch_embedding.bias",
        f"{embeddings}.position_embedding.weight",
    }


def test_patches_are_flattened_by_row_column_and_channel() -> None:
    encoder = Encoder(ENCODER, grid=4, patch=4)
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
    encoder = Encoder(ENCODER, grid=6, patch=4)
    images = torch.rand(2, 3, 24, 24)
    patches = images.unfold(2, 4, 4).unfold(3, 4, 4).permute(0, 2, 3, 4, 5, 1).flatten(3).flatten(1, 2)
    each = encoder.tower(
        pixel_values=patches,
        pixel_attention_mask=torch.ones(2, 36),
        spatial_shapes=torch.tensor([[6, 6], [6, 6]]),
    )
    torch.testing.assert_close(encoder(images), each.last_hidden_state)


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
    decoder = Decoder(DECODER, grid=2, patch=3, feature_width=24)
    for parameter in (*decoder.pixels.parameters(), *decoder.smoothing.parameters()):
        nn.init.zeros_(parameter)
    decoder.pixels.get_parameter("bias").data = torch.arange(27.0)
    for channel in range(3):
        decoder.smoothing.weight.data[channel, channel, 1, 1] = 1
    images = decoder(torch.randn(1, 4, 16), semantics=False).images
    assert images[0, 1, 2 * 3 - 1, 3 + 0] == (3 * 2 + 0) * 3 + 1  # the third row, first column and second channel
    assert torch.equal(images[..., :3, :3], images[..., 3:, 3:])


def test_semantic_features_are_read_after_their_block_and_only_on_request() -> None:
    decoder = Decoder(DECODER, grid=2, patch=3, feature_width=24)
    tokens = torch.randn(1, 4, 16)
    predicted = decoder(tokens, semantics=True).semantics
    nn.init.zeros_(decoder.blocks[2].get_parameter("mlp.2.weight"))
    assert torch.equal(decoder(tokens, semantics=True).semantics, predicted)
    nn.init.ones_(decoder.blocks[1].get_parameter("mlp.2.weight"))
    assert not torch.equal(decoder(tokens, semantics=True).semantics, predicted)
    assert decoder(tokens, semantics=False).semantics is None


@pytest.mark.parametrize("change", [{"image_size": 18}, {"bits": 0}, {"bits": 257}])
def test_impossible_sizes_are_refused(change: dict[str, int]) -> None:
    with pytest.raises(BadInput):
        dataclasses.replace(TINY, **change)


def test_semantic_features_of_no_block_are_refused() -> None:
    with pytest.raises(BadInput, match="no such block"):
        dataclasses.replace(DECODER, semantic=SemanticConfig(after_block=3, hidden_width=8))


def test_other_images_and_bits_are_refused() -> None:
    tokenizer = Tokenizer(TINY)
    with pytest.raises(BadInput, match=r"\(batch, 3, 16, 16\)"):
        tokenizer.encode(torch.zeros(1, 3, 32, 32))
    with pytest.raises(BadInput, match=r"\(batch, 16, 5\)"):
        tokenizer.decode(torch.zeros(1, 16, 4, dtype=torch.bool))


@pytest.mark.parametrize(("preset", "published"), PUBLISHED.items())
def test_published_keys_and_shapes_in_the_published_order(preset: str, published: str) -> None:
    shapes = published_tokenizer_shapes(TOKENIZERS[preset]())
    assert list(shapes.items()) == [(key, tuple(shape)) for key, shape in UPSTREAM[published].items()]


@pytest.mark.parametrize(("preset", "published"), PUBLISHED.items())
def test_published_checkpoints_go_in_and_out_unchanged(preset: str, published: str) -> None:
    state = meta_state(published)
    assert is_tokenizer(state)
    config, weights, frozen = import_tokenizer(state)
    assert config == TOKENIZERS[preset]()
    with torch.device("meta"):
        tokenizer = Tokenizer(config)
    tokenizer.load_state_dict(weights)
    back = export_tokenizer(weights, frozen)
    assert list(back) == list(state)
    assert all(back[key] is tensor for key, tensor in state.items())


def test_frozen_part_is_siglip_under_both_names() -> None:
    tower = {"embeddings.x": torch.zeros(1), "encoder.x": torch.ones(1), "head.x": torch.ones(1)}
    frozen = siglip_as_published(tower)
    assert list(frozen) == ["encoder.siglip.encoder.x", "encoder.siglip.head.x", "encoder.frozen_encoder.x"]
    assert frozen["encoder.siglip.encoder.x"] is frozen["encoder.frozen_encoder.x"]


def test_what_is_missing_unexpected_or_misshapen_is_named() -> None:
    state = meta_state("bar_fsq_16bits")
    del state["decoder.ln_post.weight"]
    state["stranger"] = torch.empty(1, device="meta")
    state["quantize.in_proj.weight"] = torch.empty(16, 7, device="meta")
    with pytest.raises(BadInput) as refused:
        import_tokenizer(state)
    for part in ("1 missing: decoder.ln_post.weight", "1 unexpected: stranger", "quantize.in_proj.weight (16, 7)"):
        assert part in str(refused.value)


def meta_state(published: str) -> dict[str, torch.Tensor]:
    return {key: torch.empty(shape, device="meta") for key, shape in UPSTREAM[published].items()}
