"""Images a second of the engine beside the published sampler, on the same weights, in one run on this machine.

    python benchmarks/engine.py bar-b-patch4 --published DIR --batch 4

DIR is a checkout of the published code. Tokens and decoding count, writing files does not; both warm up with one batch
and then take turns; the figures are medians. Weights are random: speed does not depend on them.
"""

import argparse
import platform
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import torch
from torch import Tensor

from bar_model.bar import Bar, BarConfig
from bar_model.engine import Engine, FastDecoder
from bar_model.presets import GENERATORS, TOKENIZERS
from bar_model.published import export_published
from bar_model.tokenizer import Tokenizer
from pipeline.images import from_model

TOKENIZER_OF = {"bar-l-512": "bar-fsq-10-512"}


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("preset", choices=[name for name in GENERATORS if name.startswith("bar")])
    parser.add_argument("--published", required=True, help="checkout of the published code")
    parser.add_argument("--batch", type=int, default=4)
    parser.add_argument("--published-batch", type=int, help="where another suits it better (default: the same)")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--dtype", choices=["float32", "bfloat16"], help="of the engine (default: its own choice)")
    parser.add_argument("--tokens-only", action="store_true", help="leave the decoding out")
    arguments = parser.parse_args()

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True  # As the published script.
    torch.manual_seed(0)
    config = GENERATORS[arguments.preset]()
    bar = Bar(config).eval().requires_grad_(False)
    model = TOKENIZERS[TOKENIZER_OF.get(arguments.preset, "bar-fsq-16")]()
    model = replace(model, encoder=replace(model.encoder, depth=1))  # Which draws nothing.
    tokenizer = Tokenizer(model).eval().requires_grad_(False)
    published = Published(arguments.published, bar, tokenizer, device)
    dtype = arguments.dtype and getattr(torch, arguments.dtype)
    engine, decoder = Engine(bar.to(device), dtype=dtype), FastDecoder(tokenizer.to(device), dtype=dtype)
    del bar

    def ours(batch: int) -> None:
        codes = engine.generate(torch.arange(batch, device=device) % config.num_classes)
        if not arguments.tokens_only:
            from_model(decoder.decode(codes))

    def theirs(batch: int) -> None:
        codes = published.generate(torch.arange(batch, device=device) % config.num_classes)
        if not arguments.tokens_only:
            published.decode(codes)

    their_batch = arguments.published_batch or arguments.batch
    timings = {"published": [], "ours": []}
    for turn in range(-1, arguments.repeats):
        for name, draw, batch in (("published", theirs, their_batch), ("ours", ours, arguments.batch)):
            seconds = timed(draw, batch, device) / batch
            if turn >= 0:
                timings[name].append(seconds)
            print(f"{name:9} {seconds:8.2f} s an image{'' if turn >= 0 else ' (warm-up)'}", flush=True)
    one, other = (statistics.median(timings[name]) for name in ("published", "ours"))
    place = torch.cuda.get_device_name() if device.type == "cuda" else f"{torch.get_num_threads()} threads"
    print(
        f"{arguments.preset}, batch {arguments.batch}, {engine.dtype}, {place}, {platform.processor() or 'CPU'}, "
        f"torch {torch.__version__}: published ÷ ours = {one / other:.2f}"
    )


def timed(draw: Callable[[int], None], batch: int, device: torch.device) -> float:
    began = time.perf_counter()
    with torch.inference_mode():
        draw(batch)
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - began


class Published:
    """The published generator and decoder, with these weights."""

    def __init__(self, folder: str, bar: Bar, tokenizer: Tokenizer, device: torch.device) -> None:
        sys.path.insert(0, folder)
        from modeling.generator import BAR  # pyright: ignore[reportMissingImports]
        from modeling.modules.blocks import SigLIP2Decoder  # pyright: ignore[reportMissingImports]

        config = published_config(bar.config, tokenizer.config.image_size)
        self._sampling = bar.config.sampling
        self._bits = bar.config.codes.bits
        self._generator = BAR(config)
        self._generator.load_state_dict(export_published(bar))
        self._generator.eval().requires_grad_(False).to(device)
        self._decoder = SigLIP2Decoder(config).eval().requires_grad_(False).to(device)
        self._project = tokenizer.quantizer.embed.to(device)

    def generate(self, labels: Tensor) -> Tensor:
        return self._generator.generate(
            condition=labels,
            guidance_scale=self._sampling.guidance_scale,
            randomize_temperature=self._sampling.temperature,
            tokens_allocation=list(self._sampling.allocation),
            kv_cache=True,
        )

    def decode(self, codes: Tensor) -> Tensor:
        values = codes.view(len(codes), -1, self._bits).float() * 2 - 1
        image, _ = self._decoder(self._project(values))
        return ((image + 1) / 2).clamp(0, 1).mul(255).permute(0, 2, 3, 1).to("cpu", torch.uint8)


class Settings(dict):
    """What the published code reads its settings from: attributes, and `get`."""

    def __getattr__(self, name: str) -> Any:
        return self[name]


def published_config(config: BarConfig, image_size: int) -> Settings:
    generator = Settings(
        hidden_size=config.transformer.width,
        num_hidden_layers=config.transformer.depth,
        num_attention_heads=config.transformer.heads,
        class_label_dropout=0.1,
        image_seq_len=config.codes.num_tokens,
        condition_num_classes=config.num_classes,
        target_codebook_size=2,
        use_checkpoint=False,
        repeat_class_condition=config.transformer.class_repeats,
        patch_size=config.patch,
        mbm_head=Settings(width=config.head.width, num_layers=config.head.depth),
    )
    vq_model = Settings(codebook_size=2**config.codes.bits, token_size=config.codes.bits, vit_dec_patch_size=16)
    dataset = Settings(preprocessing=Settings(crop_size=image_size))
    return Settings(model=Settings(generator=generator, vq_model=vq_model), dataset=dataset)


if __name__ == "__main__":
    main()
