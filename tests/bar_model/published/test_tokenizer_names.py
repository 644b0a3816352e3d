import pytest
import torch

from bar_model.errors import BadInput
from bar_model.presets import TOKENIZERS
from bar_model.published.tokenizer_names import (
    export_tokenizer,
    import_tokenizer,
    is_tokenizer,
    published_tokenizer_shapes,
    siglip_as_published,
)
from bar_model.tokenizer.tokenizer import Tokenizer
from tests.harness.published import UPSTREAM

PUBLISHED = {"bar-fsq-16": "bar_fsq_16bits", "bar-fsq-10-512": "bar_fsq_10bits_res512"}


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
