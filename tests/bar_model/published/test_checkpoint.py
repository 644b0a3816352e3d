"""Published files: recognised by keys and shapes, read as what they are, and never unpickled."""

import pickle
from collections.abc import Callable
from pathlib import Path

import pytest
import torch
from safetensors.torch import save_file

import bar_model
from bar_model.checkpoint import fingerprint
from bar_model.errors import BadInput
from bar_model.generator.bar import Bar
from bar_model.presets import GENERATORS, bar_fsq
from bar_model.published.checkpoint import export_published, import_published, write_published
from bar_model.published.generator_names import published_constants, published_generator_shapes
from bar_model.published.tokenizer_names import import_tokenizer, published_tokenizer_shapes
from bar_model.tokenizer.tokenizer import Tokenizer
from tests.harness.published import UPSTREAM, empty_state
from tests.harness.tiny import make_bar, tiny_config

GENERATOR_FILES = {
    "bar_b": "bar-b",
    "bar_b_patch2": "bar-b-patch2",
    "bar_b_patch4": "bar-b-patch4",
    "bar_l": "bar-l",
    "bar_l_res512": "bar-l-512",
}
TOKENIZER_FILES = {"bar_fsq_16bits": (16, 256), "bar_fsq_10bits_res512": (10, 512)}


def test_every_published_file_is_known() -> None:
    assert UPSTREAM.keys() == GENERATOR_FILES.keys() | TOKENIZER_FILES.keys()


@pytest.mark.parametrize(("file", "preset"), GENERATOR_FILES.items())
def test_generators_are_recognised_by_every_key_and_shape(file: str, preset: str) -> None:
    config = GENERATORS[preset]()
    shapes = published_generator_shapes(config)
    assert list(shapes) == list(UPSTREAM[file])
    assert {key: list(shape) for key, shape in shapes.items()} == UPSTREAM[file]
    bar = import_published(empty_state(shapes) | published_constants(config))
    assert isinstance(bar, Bar)
    assert bar.config == config


@pytest.mark.parametrize(("file", "bits", "size"), [(file, *kind) for file, kind in TOKENIZER_FILES.items()])
def test_tokenizers_are_recognised_by_every_key_and_shape(file: str, bits: int, size: int) -> None:
    shapes = {key: tuple(shape) for key, shape in UPSTREAM[file].items()}
    assert list(published_tokenizer_shapes(bar_fsq(bits=bits, image_size=size)).items()) == list(shapes.items())
    tokenizer = import_published(empty_state(shapes))
    assert isinstance(tokenizer, Tokenizer)
    assert tokenizer.config == bar_fsq(bits=bits, image_size=size)


@pytest.mark.parametrize("patch", [1, 2])
def test_a_generator_goes_out_and_in_bit_for_bit(patch: int, tmp_path: Path) -> None:
    bar = make_bar(tiny_config(patch=patch))
    write_published(bar, tmp_path / "bar.bin")
    assert [file.name for file in tmp_path.iterdir()] == ["bar.bin"]
    state = torch.load(tmp_path / "bar.bin", weights_only=True)
    again = import_published(state, bar.config)
    assert isinstance(again, Bar)
    assert fingerprint(again) == fingerprint(bar)
    exported = export_published(again)
    assert list(exported) == list(state)
    assert all(torch.equal(exported[key], state[key]) for key in state)


def test_a_file_is_loaded_by_its_path(tmp_path: Path) -> None:
    bar = Bar(GENERATORS["digits"]())
    torch.save(export_published(bar), tmp_path / "digits.bin")
    loaded = bar_model.load(tmp_path / "digits.bin")
    assert isinstance(loaded, Bar)
    assert fingerprint(loaded) == fingerprint(bar)


@pytest.mark.parametrize(
    ("written", "dtype"),
    [
        (lambda state, file: torch.save(state, file), torch.bfloat16),
        (lambda state, file: torch.save(state, file, _use_new_zipfile_serialization=False), torch.float32),
        (lambda state, file: save_file({name: each.contiguous() for name, each in state.items()}, file), torch.float16),
    ],
    ids=["archive", "before PyTorch 1.6", "safetensors"],
)
def test_a_file_is_read_as_what_it_is(
    tmp_path: Path, written: Callable[[dict[str, torch.Tensor], Path], None], dtype: torch.dtype
) -> None:
    bar = Bar(GENERATORS["digits"]()).to(dtype)
    written({name: each.to(dtype) for name, each in export_published(bar).items()}, tmp_path / "digits.bin")
    assert fingerprint(bar_model.load(tmp_path / "digits.bin")) == fingerprint(bar.float())


def test_a_flipped_bit_is_noticed(tmp_path: Path) -> None:
    file = tmp_path / "digits.bin"
    torch.save(export_published(Bar(GENERATORS["digits"]())), file)
    data = bytearray(file.read_bytes())
    data[len(data) // 2] ^= 1
    file.write_bytes(data)
    with pytest.raises(BadInput, match=r"digits.bin: is damaged \(.* is not what its checksum says\)"):
        bar_model.load(file)


@pytest.mark.parametrize(
    ("content", "told"),
    [
        ({}, "other than named tensors"),
        ({1: torch.zeros(1)}, "other than named tensors"),
        ({"model": {"cls_token": torch.zeros(1)}, "step": 5}, "holds tensors within model: store the right one"),
        ({"head.out.weight": torch.zeros(1)}, r"holds no parameter of a published .* \(but head.out.weight, …\)"),
        ({"cls_token": torch.zeros(1, dtype=torch.int64)}, "cls_token is int64, but weights are"),
        ({"cls_token": torch.full((1,), float("nan"))}, "cls_token holds NaN or infinity"),
        ({"quantize.in_proj.bias": torch.zeros(()), "decoder.positional_embedding": torch.zeros(())}, "no parameter"),
        ({"quantize.in_proj.bias": torch.zeros(999), "decoder.positional_embedding": torch.zeros(2)}, "bits 999: must"),
    ],
)
def test_what_is_no_published_checkpoint_is_one_line(tmp_path: Path, content: object, told: str) -> None:
    torch.save(content, tmp_path / "other.bin")
    with pytest.raises(BadInput, match=rf"other\.bin: .*{told}") as caught:
        bar_model.load(tmp_path / "other.bin")
    assert "\n" not in str(caught.value)


def test_a_tokenizer_goes_out_with_the_siglip_that_came_in() -> None:
    shapes = {key: tuple(shape) for key, shape in UPSTREAM["bar_fsq_16bits"].items()}
    state = empty_state(shapes)
    tokenizer = import_published(state)
    assert isinstance(tokenizer, Tokenizer)
    exported = export_published(tokenizer, import_tokenizer(state).frozen)
    assert list(exported) == list(state)
    # No value is copied or computed on the way, so nothing can have changed.
    assert all(exported[key].data_ptr() == state[key].data_ptr() for key in state)
    with pytest.raises(BadInput, match="holds SigLIP 2 too"):
        export_published(tokenizer)
    with pytest.raises(BadInput, match=r"does not fit the published format.*missing: encoder"):
        export_published(tokenizer, {})


def test_what_does_not_fit_is_named() -> None:
    config = GENERATORS["bar-b"]()
    state = empty_state(published_generator_shapes(config)) | published_constants(config)
    del state["norm.weight"]
    state["blocks.3.norm1.weight"] = torch.zeros(7)
    state["blocks.24.norm1.weight"] = torch.zeros(768)
    message = (
        r"does not fit bar-b.*1 missing: norm.weight.*1 unexpected: blocks.24.norm1.weight.*"
        r"blocks.3.norm1.weight \(7,\) instead of \(768,\)"
    )
    with pytest.raises(BadInput, match=message):
        import_published(state)


class _Trap:
    def __reduce__(self) -> tuple[object, ...]:
        return (Path("/nowhere/trap").write_text, ("sprung",))


def test_nothing_is_unpickled(tmp_path: Path) -> None:
    torch.save({"cls_token": torch.zeros(1), "trap": _Trap()}, tmp_path / "trap.bin")
    with pytest.raises(BadInput, match="is no PyTorch state dict"):
        bar_model.load(tmp_path / "trap.bin")
    (tmp_path / "plain.bin").write_bytes(pickle.dumps({"trap": _Trap()}))
    with pytest.raises(BadInput, match="is no PyTorch file, or only a part of one"):
        bar_model.load(tmp_path / "plain.bin")
    torch.save([1, 2], tmp_path / "list.bin")
    with pytest.raises(BadInput, match="other than named tensors"):
        bar_model.load(tmp_path / "list.bin")
