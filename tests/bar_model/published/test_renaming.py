from bar_model.published.renaming import Renaming

TABLE = {"token": "first", "layers.*.a": "blocks.*.one", "layers.*.mlp.0": "blocks.*.two", "mlp.2": "out"}


def test_names_go_both_ways() -> None:
    renaming = Renaming(TABLE)
    pairs = {
        "token": "first",
        "layers.3.a.weight": "blocks.3.one.weight",
        "layers.12.mlp.0.bias": "blocks.12.two.bias",
        "mlp.2.weight": "out.weight",
    }
    for theirs, ours in pairs.items():
        assert renaming.ours(theirs) == ours
        assert renaming.theirs(ours) == theirs
    assert renaming.ours("layers.3.b.weight") is None
    assert renaming.theirs("token") is None


def test_their_order_goes_block_by_block() -> None:
    ordered = [
        "token",
        "layers.0.a.weight",
        "layers.0.mlp.0.weight",
        "layers.2.a.weight",
        "layers.10.a.weight",
        "mlp.2.bias",
    ]
    assert Renaming(TABLE).in_their_order(reversed(ordered)) == ordered
