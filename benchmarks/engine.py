"""Images a second of the engine, beside the published sampler on the same weights, in one run on this machine.

    python benchmarks/engine.py bar-b-patch4 --published DIR --batch 4

DIR is a checkout of the published code. Tokens and decoding count, writing files does not; both warm up and then take
turns; the figures are medians. Weights are random: speed does not depend on them.
"""

import argparse
import platform
import statistics
import time
from collections.abc import Callable
from dataclasses import replace

import torch
from counting import ceilings, cost, seconds
from published_sampler import PublishedSampler

from bar_model.engine.decode_stream import decode_all
from bar_model.engine.engine import Engine
from bar_model.engine.fast_decoder import FastDecoder
from bar_model.generator.bar import Bar
from bar_model.presets import GENERATORS, TOKENIZERS
from bar_model.tokenizer.tokenizer import Tokenizer

TOKENIZER_OF = {"bar-l-512": "bar-fsq-10-512", "digits": "digits"}
BATCHES = (1024, 768, 512, 384, 256, 192, 125, 64, 32)
"""Among which the best one is looked for."""
Draw = Callable[[int], None]


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("preset", choices=list(GENERATORS))
    parser.add_argument("--published", help="checkout of the published code (else: the engine alone)")
    parser.add_argument("--batch", type=int, help="images drawn at once (else: for each the one that suits it best)")
    parser.add_argument("--published-batch", type=int, help="where another suits it better (default: the same)")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--dtype", choices=["float32", "bfloat16"], help="of the engine (default: its own choice)")
    parser.add_argument("--plain", action="store_true", help="do not compile on a GPU what lies between the products")
    arguments = parser.parse_args()

    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    torch.backends.cuda.matmul.allow_tf32 = torch.backends.cudnn.allow_tf32 = True  # As the published script.
    torch.manual_seed(0)
    bar, tokenizer = models(arguments.preset)
    published = arguments.published and PublishedSampler(arguments.published, bar, tokenizer, device)
    dtype = arguments.dtype and getattr(torch, arguments.dtype)
    compiled = False if arguments.plain else None
    engine = Engine(bar.to(device), dtype=dtype, compiled=compiled)
    decoder = FastDecoder(tokenizer.to(device), dtype=dtype)
    config = bar.config
    del bar

    def tokens(batch: int) -> torch.Tensor:
        return engine.generate(torch.arange(batch) % config.num_classes)

    def ours(batch: int) -> None:
        # Several batches, where one is decoded while the next is drawn.
        for _ in decode_all(decoder, (tokens(batch) for _ in range(in_a_row))):
            pass

    def theirs(batch: int) -> None:
        labels = torch.arange(batch, device=device) % config.num_classes
        for _ in range(in_a_row):
            published.decode(published.generate(labels))

    in_a_row = 3 if device.type == "cuda" else 1
    batch = arguments.batch or best_batch(ours, device)
    samplers: dict[str, tuple[Draw, int]] = {
        "ours": (ours, batch),
        "tokens alone": (tokens_only(tokens, in_a_row), batch),
    }
    if published:
        their_batch = arguments.published_batch or arguments.batch or best_batch(theirs, device)
        samplers = {"published": (theirs, their_batch)} | samplers
    medians = by_turns(samplers, arguments.repeats, in_a_row, device)
    one = seconds(lambda: tokens(1), device, repeats=1)

    gpu = device.type == "cuda"
    place = (
        torch.cuda.get_device_name() if gpu else f"{torch.get_num_threads()} threads of {platform.processor() or 'CPU'}"
    )
    print(f"{arguments.preset}, batch {batch}, {engine.dtype}, {place}, torch {torch.__version__}")
    if published:
        ratio = medians["published"] / medians["ours"]
        print(f"published (batch {samplers['published'][1]}) ÷ ours: {ratio:.2f}")
    most = ceilings(device, engine.dtype)
    print(f"ceilings: {most.operations_a_second / 1e12:.3g} TFLOP/s, {most.bytes_a_second / 1e9:.3g} GB/s")
    counted = cost(config, tokenizer.config, itemsize=engine.dtype.itemsize)
    print(f"(operations + bytes at those ceilings) ÷ time: {counted.seconds(most, batch) / medians['ours']:.2f}")
    print(f"share of decoding: {1 - medians['tokens alone'] / medians['ours']:.1%}")
    print(f"one image ÷ reading the weights once a step: {one / (counted.weights / most.bytes_a_second):.2f}")


def models(preset: str) -> tuple[Bar, Tokenizer]:
    bar = Bar(GENERATORS[preset]()).eval().requires_grad_(False)
    config = TOKENIZERS[TOKENIZER_OF.get(preset, "bar-fsq-16")]()
    config = replace(config, encoder=replace(config.encoder, depth=1))  # Which draws nothing.
    return bar, Tokenizer(config).eval().requires_grad_(False)


def tokens_only(tokens: Callable[[int], torch.Tensor], in_a_row: int) -> Draw:
    def draw(batch: int) -> None:
        for _ in range(in_a_row):
            tokens(batch).cpu()

    return draw


def best_batch(draw: Draw, device: torch.device) -> int:
    """The one that takes the least time an image; what does not fit is passed over."""
    found: dict[int, float] = {}
    for batch in BATCHES:
        try:
            draw(batch)
            found[batch] = timed(draw, batch, device) / batch
        except torch.OutOfMemoryError:
            torch.cuda.empty_cache()
    return min(found, key=found.__getitem__)


def by_turns(
    samplers: dict[str, tuple[Draw, int]], repeats: int, in_a_row: int, device: torch.device
) -> dict[str, float]:
    """Median seconds an image of each sampler."""
    timings: dict[str, list[float]] = {name: [] for name in samplers}
    for turn in range(-1, repeats):
        for name, (draw, batch) in samplers.items():
            taken = timed(draw, batch, device) / batch / in_a_row
            if turn >= 0:
                timings[name].append(taken)
            print(f"{name:12} {taken:9.4f} s an image{'' if turn >= 0 else ' (warm-up)'}", flush=True)
    return {name: statistics.median(taken) for name, taken in timings.items()}


def timed(draw: Callable[[int], object], batch: int, device: torch.device) -> float:
    began = time.perf_counter()
    with torch.inference_mode():
        draw(batch)
    if device.type == "cuda":
        torch.cuda.synchronize()
    return time.perf_counter() - began


if __name__ == "__main__":
    main()
