import dataclasses
import json
from pathlib import Path

import pytest
import torch

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
    _edit(config, kind="vae")
    refused("is no model's configuration")
    other = dataclasses.asdict(tiny_config(bits=8))
    _edit(config, config=other)
    refused("does not fit config.json: .*size mismatch")
    _edit(config, config=other | {"colour": "blue"})
    refused(r"config.json.colour: no such field of BarConfig")
    weights.write_bytes(whole_weights[:-10])
    refused("damaged")
    weights.unlink()
    refused("holds no model.safetensors")
    with pytest.raises(BadInput, match="no such file or folder"):
        bar_model.load(tmp_path / "nothing")


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
