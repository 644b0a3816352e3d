import pytest

from bar_model.errors import BadInput
from bar_model.published.checkpoint import export_published, import_published
from bar_model.published.generator_names import published_constants, published_name
from tests.harness.tiny import make_bar, tiny_config


def test_a_foreign_rotary_table_is_refused() -> None:
    bar = make_bar(tiny_config())
    state = export_published(bar)
    state["blocks.1.attn.rope.freqs_sin"] = state["blocks.1.attn.rope.freqs_sin"] + 1e-3
    with pytest.raises(BadInput, match=r"blocks.1.attn.rope.freqs_sin: not the rotary table"):
        import_published(state, bar.config)


def test_every_parameter_has_its_published_name() -> None:
    bar = make_bar(tiny_config())
    published = export_published(bar)
    assert {published_name(name) for name, _ in bar.named_parameters()} == published.keys() - published_constants(
        bar.config
    ).keys()


def test_the_rotary_tables_stand_once_in_each_block() -> None:
    constants = published_constants(tiny_config())
    assert sorted(constants) == [f"blocks.{n}.attn.rope.freqs_{part}" for n in range(2) for part in ("cos", "sin")]
    # Prefix and image positions; the prefix is not rotated.
    assert all(table.shape == (1 + 3 + 16, 8) for table in constants.values())
    assert constants["blocks.0.attn.rope.freqs_cos"][:4].eq(1).all()
    assert constants["blocks.0.attn.rope.freqs_sin"][:4].eq(0).all()
