"""Models on disk: what is saved comes back, and what can't be used is named in one line."""

import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from safetensors.torch import load_file, save_file
from torch import Tensor

import bar_model
from bar_model import checkpoint
from bar_model.checkpoint import fingerprint, load_bar, load_tokenizer, save
from bar_model.errors import BadInput
from bar_model.generator.bar import Bar
from bar_model.tokenizer.tokenizer import Tokenizer
from tests.harness.tiny import TINY_TOKENIZER, make_bar, random_bits, tiny_config


def test_a_saved_model_comes_back(tmp_path: Path) -> None:
    bar = make_bar(tiny_config())
    save(bar, tmp_path / "model")
    loaded = bar_model.load(tmp_path / "model")
    assert isinstance(loaded, Bar)
    assert loaded.config == bar.config
    assert not loaded.training
    assert fingerprint(loaded) == fingerprint(bar)
    labels = torch.arange(5)
    assert torch.equal(loaded.generate(labels), bar.generate(labels))
    assert sorted(file.name for file in tmp_path.rglob("*")) == ["config.json", "model", "model.safetensors"]


def test_a_fingerprint_is_that_of_the_weights() -> None:
    bar = make_bar(tiny_config())
    before = fingerprint(bar)
    with torch.no_grad():
        bar.transformer.norm.weight[3] += 1e-6
    assert fingerprint(bar) != before


def test_nothing_is_left_of_an_interrupted_save(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(checkpoint, "save_file", interrupted)
    with pytest.raises(KeyboardInterrupt):
        save(make_bar(tiny_config()), tmp_path / "model")
    assert list(tmp_path.iterdir()) == []


def test_a_model_is_never_overwritten(tmp_path: Path) -> None:
    save(make_bar(tiny_config()), tmp_path / "model")
    with pytest.raises(BadInput, match="is there already"):
        save(make_bar(tiny_config()), tmp_path / "model")


def test_each_kind_is_loaded_by_its_name(tmp_path: Path) -> None:
    save(make_bar(tiny_config()), tmp_path / "model")
    assert isinstance(load_bar(tmp_path / "model"), Bar)
    with pytest.raises(BadInput, match="holds a generator; give a tokenizer"):
        load_tokenizer(tmp_path / "model")


def _edit(file: Path, **changes: object) -> None:
    file.write_text(json.dumps(json.loads(file.read_text()) | changes))


def test_damaged_folders_are_refused_in_one_line(tmp_path: Path) -> None:
    folder = tmp_path / "model"
    save(make_bar(tiny_config()), folder)
    config, weights = folder / "config.json", folder / "model.safetensors"
    whole_config, whole_weights = config.read_text(), weights.read_bytes()

    def refused(match: str) -> None:
        with pytest.raises(BadInput, match=match) as caught:
            bar_model.load(folder)
        assert "\n" not in str(caught.value)
        config.write_text(whole_config)
        weights.write_bytes(whole_weights)

    config.write_text("{")
    refused("is no model's configuration")
    _edit(config, format=2)
    refused("format 2, but this version reads 1")
    for kind in ("vae", None, ["bar"]):
        _edit(config, kind=kind)
        refused("kind .* is none of bar, tokenizer")
    for text in ("", "5", "[1]", "null", '{"format": 1}', "[" * 10_000, "9" * 5000):
        config.write_text(text)
        refused("is no model's configuration")
    config.write_bytes(b"\xff\xfe\x00")
    refused("is no model's configuration")
    _edit(config, config=5)
    refused("config.json: 5 should be an object")
    _edit(config, config=dataclasses.asdict(tiny_config()) | {"num_classes": 0})
    refused(r"config\.json: num_classes 0: must be at least 1")
    _edit(config, kind="tokenizer")
    refused("no such field of TokenizerConfig")
    other = dataclasses.asdict(tiny_config(bits=8))
    _edit(config, config=other)
    refused(r"does not fit config.json: .*unexpected|does not fit config.json: .*of another shape")
    _edit(config, config=other | {"colour": "blue"})
    refused(r"config.json.colour: no such field of BarConfig")
    for damaged in (whole_weights[:-10], whole_weights[:5], b""):
        weights.write_bytes(damaged)
        refused("damaged")
    torch.save({"weight": torch.zeros(3)}, weights)
    refused("is a PyTorch file: store it by safetensors")
    weights.unlink()
    refused("holds no model.safetensors")
    with pytest.raises(BadInput, match="no such file or folder"):
        bar_model.load(tmp_path / "nothing")


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float64], ids=str)
def test_weights_of_other_precisions_work_as_their_values_in_float32(tmp_path: Path, dtype: torch.dtype) -> None:
    bar, tokenizer = make_bar(tiny_config()), Tokenizer(TINY_TOKENIZER).eval()
    for name, model in (("bar", bar), ("tokenizer", tokenizer)):
        save(model.to(dtype), tmp_path / name)
        save(model.float(), tmp_path / f"{name}-float32")
        assert checkpoint.fingerprint_of(tmp_path / name) == checkpoint.fingerprint_of(tmp_path / f"{name}-float32")
    labels, images = torch.arange(5), torch.rand(2, 3, 16, 16)
    drawn = [load_bar(tmp_path / name).generate(labels) for name in ("bar", "bar-float32")]
    assert torch.equal(*drawn)
    again = load_tokenizer(tmp_path / "tokenizer")
    assert torch.equal(again.encode(images), tokenizer.encode(images))
    assert torch.equal(again.decode(again.encode(images)), tokenizer.decode(tokenizer.encode(images)))
    assert fingerprint(again) == checkpoint.fingerprint_of(tmp_path / "tokenizer")


@pytest.mark.parametrize(
    ("change", "told"),
    [
        (lambda tensor: tensor.fill_(float("nan")), "transformer.norm.weight holds NaN or infinity"),
        (lambda tensor: tensor.fill_(float("inf")), "transformer.norm.weight holds NaN or infinity"),
        (lambda tensor: tensor.int(), "transformer.norm.weight is int32, but weights are"),
        (lambda tensor: tensor[:-1], r"1 of another shape: transformer.norm.weight \(\d+,\) instead of"),
        (lambda tensor: None, "1 missing: transformer.norm.weight"),
    ],
)
def test_weights_that_compute_nothing_are_named(tmp_path: Path, change: Callable[[Tensor], Any], told: str) -> None:
    save(make_bar(tiny_config()), tmp_path / "model")
    file = tmp_path / "model" / "model.safetensors"
    state = load_file(file)
    changed = change(state.pop("transformer.norm.weight"))
    save_file(state if changed is None else {**state, "transformer.norm.weight": changed}, file)
    with pytest.raises(BadInput, match=told):
        bar_model.load(tmp_path / "model")


def test_a_tokenizer_that_only_decodes_has_no_encoder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    tokenizer = Tokenizer(TINY_TOKENIZER).eval()
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
