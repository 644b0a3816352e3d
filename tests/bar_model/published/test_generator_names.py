import pytest

from bar_model.errors import BadInput
from bar_model.published.checkpoint import export_published, import_published
from tests.harness.tiny import make_bar, tiny_config


def test_a_foreign_rotary_table_is_refused() -> None:
    bar = make_bar(tiny_config())
    state = export_published(bar)
    state["blocks.1.attn.rope.freqs_sin"] = state["blocks.1.attn.rope.freqs_sin"] + 1e-3
    with pytest.raises(BadInput, match=r"blocks.1.attn.rope.freqs_sin: not the rotary table"):
        import_published(state, bar.config)
