"""Compare this project with golden outputs of the published model:  python tests/golden/check.py FILE…

The files hold outputs on weights and inputs that are functions of their names (`weights.py`), so any size can be
checked. Prints one line for each tensor. The exit code is 1 if a tensor differs by more than 5e-5, if a bit differs, or
if a tensor was not checked.
"""

import argparse
import dataclasses
import json
import re
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import torch
from safetensors import safe_open
from torch import Tensor

from bar_model.bits import CodeShape, merge_patches
from bar_model.engine.engine import Engine
from bar_model.generator.bar import Bar, BarConfig, TrainingDraw
from bar_model.generator.sampling import Sampling
from bar_model.generator.transformer import TransformerConfig
from bar_model.heads.head import BitMask
from bar_model.heads.make_head import HeadConfig
from bar_model.heads.masked_bit import MaskedBitHead
from bar_model.noise import NoiseTape
from bar_model.presets import bar_fsq
from bar_model.published.checkpoint import import_published
from bar_model.published.generator_names import published_constants, published_generator_shapes
from bar_model.published.tokenizer_names import published_tokenizer_shapes
from bar_model.tokenizer.quantizer import THRESHOLD
from bar_model.tokenizer.tokenizer import Tokenizer

sys.path.insert(0, str(Path(__file__).parent))
import weights

TOLERANCE = 5e-5
FROZEN = re.compile(r"encoder\.(frozen_|siglip\.(encoder|post_layernorm|head)\.)")

Fill = Callable[[str, tuple[int, ...]], Tensor]


def fill(name: str, shape: tuple[int, ...]) -> Tensor:
    return torch.from_numpy(weights.fill(name, shape))


class Golden:
    """A golden file, and the result of the check of each of its tensors."""

    def __init__(self, file: Path) -> None:
        with safe_open(file, "pt") as opened:
            self.metadata: dict[str, str] = opened.metadata()
            self.tensors: dict[str, Tensor] = {key: opened.get_tensor(key) for key in opened.keys()}  # noqa: SIM118  (no dictionary)
        self.lines: dict[str, str] = {}
        self.passed = True

    def __contains__(self, name: str) -> bool:
        return name in self.tensors

    def input(self, name: str) -> Tensor:
        self._line(name, True, "input")
        return self.tensors[name]

    def compare(self, name: str, ours: Tensor) -> None:
        golden = self.tensors[name]
        if ours.shape != golden.shape:
            return self._line(name, False, f"shape {tuple(ours.shape)} instead of {tuple(golden.shape)}")
        difference = (ours.double() - golden.double()).abs().max().item()
        return self._line(name, difference <= TOLERANCE, f"largest difference {difference:.1e}")

    def compare_bits(self, name: str, ours: Tensor, *, undecided: Tensor | None = None) -> None:
        """Compare bits; `undecided` marks those that may differ."""
        differ = ours != self.tensors[name.partition(" ")[0]].bool()
        allowed = torch.zeros_like(differ) if undecided is None else undecided
        text = f"{differ.sum().item()} of {differ.numel()} bits differ"
        self._line(name, not (differ & ~allowed).any().item(), text)

    def report(self, file: Path) -> bool:
        for name in self.tensors.keys() - self.lines.keys():
            self._line(name, False, "not checked")
        for name in sorted(self.lines):
            print(f"{file.stem:20} {name:36} {self.lines[name]}")
        return self.passed

    def _line(self, name: str, passed: bool, text: str) -> None:
        self.passed &= passed
        self.lines[name] = text if passed else f"{text}  FAILED"


def check(file: Path, fill: Fill = fill) -> bool:
    """Print a line for each tensor of the file, and return whether all agree.

    `fill` gives the weights of a published name.
    """
    golden = Golden(file)
    with torch.no_grad():
        if "images" in golden.metadata:
            check_tokenizer(golden, fill)
        else:
            check_generator(golden, fill)
    return golden.report(file)


def check_generator(golden: Golden, fill: Fill) -> None:
    metadata = {key: json.loads(value) for key, value in golden.metadata.items()}
    bar = filled_bar(bar_config(metadata), fill)
    config = bar.config
    labels, order = golden.input("labels"), golden.input("random_order")
    bits = golden.input("bits").bool().unflatten(1, (config.codes.num_tokens, config.codes.bits))
    check_training(golden, bar, bits, labels, order, metadata.get("positions"))
    if "generate.noise_bits" in golden:
        check_sampling(golden, bar, labels)


def filled_bar(config: BarConfig, fill: Fill = fill) -> Bar:
    constants = published_constants(config)
    state = constants | {
        n: fill(n, shape) for n, shape in published_generator_shapes(config).items() if n not in constants
    }
    bar = import_published(state, config).eval()
    assert isinstance(bar, Bar)
    return bar


def golden_bar(name: str) -> Bar:
    """The generator of a golden file."""
    metadata = Golden(Path(__file__).parent / f"{name}.safetensors").metadata
    return filled_bar(bar_config({key: json.loads(value) for key, value in metadata.items()}))


def check_training(
    golden: Golden, bar: Bar, bits: Tensor, labels: Tensor, order: Tensor, positions: list[int] | None
) -> None:
    raster = torch.arange(order.shape[1]).expand_as(order)
    places = raster[0] if positions is None else torch.tensor(positions)
    dropped = torch.full_like(labels, bar.dropped_class)
    contexts = bar.contexts(bits, labels, raster)
    golden.compare("raster.latents", contexts[:, places])
    golden.compare("raster.latents_unconditional", bar.contexts(bits, dropped, raster)[:, places])
    golden.compare("random.latents", bar.contexts(bits, labels, order)[:, places])

    masked = BitMask(
        golden.input("head.mask").bool().unflatten(0, raster.shape),
        golden.input("head.mask_ratio").unflatten(0, raster.shape),
    )
    assert isinstance(bar.head, MaskedBitHead)
    tokens = merge_patches(bits, bar.config.patch)
    logits = bar.head(contexts.flatten(0, 1), tokens.flatten(0, 1), BitMask(*(part.flatten(0, 1) for part in masked)))
    golden.compare("head.logits", logits.unflatten(0, raster.shape)[:, places])
    nothing_dropped = torch.zeros_like(labels, dtype=torch.bool)
    loss = bar.loss(bits, labels, TrainingDraw(raster, nothing_dropped, masked))
    golden.compare("loss", loss.total / loss.weight)


def check_sampling(golden: Golden, bar: Bar, labels: Tensor) -> None:
    confidence = golden.input("generate.noise_confidence")
    # The last step, which decides every bit, needs none.
    confidence = torch.cat((confidence, torch.zeros_like(confidence[:, :1])), dim=1)
    tape = NoiseTape(golden.input("generate.noise_bits"), confidence)
    noisy = bar.config.sampling
    greedy = dataclasses.replace(noisy, temperature=0.0)
    unguided = dataclasses.replace(greedy, guidance_scale=1.0)
    for name, sampler in (("", bar), (" (engine)", Engine(bar, dtype=torch.float32))):
        golden.compare_bits(f"generate.greedy_cfg{name}", sampler.generate(labels, sampling=greedy).flatten(1))
        golden.compare_bits(f"generate.greedy_nocfg{name}", sampler.generate(labels, sampling=unguided).flatten(1))
        golden.compare_bits(
            f"generate.noisy_cfg{name}", sampler.generate(labels, sampling=noisy, noise=tape).flatten(1)
        )


def bar_config(metadata: dict[str, Any]) -> BarConfig:
    return BarConfig(
        codes=CodeShape(grid=round(metadata["tokens"] ** 0.5), bits=metadata["bits"]),
        patch=metadata["patch_size"],
        num_classes=metadata["classes"],
        transformer=TransformerConfig(
            width=metadata["hidden"],
            depth=metadata["depth"],
            heads=metadata["heads"],
            class_repeats=metadata["class_repeats"],
        ),
        head=HeadConfig(width=metadata["head_width"], depth=metadata["head_layers"]),
        sampling=Sampling(
            guidance_scale=metadata["guidance_scale"],
            temperature=metadata["temperature"],
            allocation=tuple(metadata["allocation"]),
        ),
    )


def check_tokenizer(golden: Golden, fill: Fill) -> None:
    size = int(golden.metadata["size"])
    names = json.loads(golden.metadata["images"])
    images = torch.stack([torch.from_numpy(weights.image(name, size)) for name in names])
    bits = golden.tensors["bits"].bool()
    shapes = published_tokenizer_shapes(bar_fsq(bits=bits.shape[-1], image_size=size))
    # SigLIP 2's own stack is part of the file but of no output: it takes neither time nor memory here.
    absent = torch.zeros(())
    state = {name: absent.expand(shape) if FROZEN.match(name) else fill(name, shape) for name, shape in shapes.items()}
    tokenizer = import_published(state).eval()
    assert isinstance(tokenizer, Tokenizer)

    features = tokenizer.encoder(images)
    golden.compare("features", features[:, :: every(golden.metadata["features"])])
    pre_quantised = tokenizer.quantizer.pre_quantise(features)
    golden.compare("pre_quantised", pre_quantised)
    undecided = (golden.tensors["pre_quantised"] - THRESHOLD).abs() <= TOLERANCE
    golden.compare_bits("bits", tokenizer.encode(images), undecided=undecided)
    step = every(golden.metadata["reconstruction"])
    golden.compare("reconstruction", tokenizer.decode(bits)[..., ::step, ::step])


def every(text: str) -> int:
    """The number in "every 37th token"; 1 if nothing is left out."""
    found = re.search(r"every (\d+)", text)
    return int(found[1]) if found else 1


def main(arguments: Sequence[str] | None = None) -> int:
    """Run the command and return its exit code."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("files", nargs="+", type=Path, metavar="FILE", help="a golden .safetensors file")
    results = [check(file) for file in parser.parse_args(arguments).files]
    return 0 if all(results) else 1


if __name__ == "__main__":
    sys.exit(main())
