"""What a token costs in the head, by its bits: the masked bit head in four steps, and the linear head beside it.

    python benchmarks/head.py

Drawing with guidance at the published width; memory is that of the weights and of what drawing holds at most, in
float32. The linear head goes as far as it can be trained, and says why not further.
"""

import argparse
from collections.abc import Iterator

import torch
from counting import seconds

from bar_model.engine.engine import best_dtype, inference_copy
from bar_model.errors import BadInput
from bar_model.heads.head import Contexts, Head, TokenSampling
from bar_model.heads.make_head import HeadConfig, make_head
from bar_model.memory import peak_bytes, readable_bytes
from bar_model.noise import CounterNoise

MASKED_BITS = (16, 32, 64, 128, 256)
LINEAR_BITS = (8, 10, 12, 14, 16, 18, 40)
STEPS = 4


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--batch", type=int, default=4, help="images drawn at once")
    batch = parser.parse_args().batch
    device = torch.device("cuda" if torch.cuda.is_available() else "cpu")
    dtype = best_dtype(device)
    print(f"a token of {batch} images, {STEPS} steps, {str(dtype)[6:]} on {device.type}, torch {torch.__version__}")
    print("head        bits       ms     memory")
    costs = {}
    for kind, bits, head in heads(device):
        time, memory = costs[kind, bits] = cost_of(head, batch, device, dtype)
        print(f"{kind:10} {bits:5}  {1000 * time:7.2f} {readable_bytes(memory):>10}", flush=True)
    few, many = costs["masked_bit", MASKED_BITS[0]], costs["masked_bit", MASKED_BITS[-1]]
    print(f"{MASKED_BITS[-1]} bits ÷ {MASKED_BITS[0]} bits: time {many[0] / few[0]:.2f}, memory {many[1] / few[1]:.2f}")


def heads(device: torch.device) -> Iterator[tuple[str, int, Head]]:
    for bits in MASKED_BITS:
        yield "masked_bit", bits, make_head(HeadConfig(), bits=bits).eval().to(device)
    for bits in LINEAR_BITS:
        try:
            with device:
                head = make_head(HeadConfig(kind="linear"), bits=bits).eval()
        except BadInput as refusal:
            print(f"linear     {bits:5}  refused: {refusal}")
            return
        yield "linear", bits, head


@torch.no_grad()
def cost_of(head: Head, batch: int, device: torch.device, dtype: torch.dtype) -> tuple[float, int]:
    """Seconds and bytes."""
    contexts = Contexts(*torch.randn(2, batch, HeadConfig().width, device=device))
    settings = TokenSampling(3.0, 2.0, (head.bits // STEPS,) * STEPS)
    noise = CounterNoise(0, torch.arange(batch, device=device)).tape(range(1), *head.noise_shape(settings.allocation))

    def draw(by: Head) -> None:
        by.sample(contexts, settings, noise=lambda step, count: noise.draw(0, step, count))

    memory = sum(part.nbytes for part in head.state_dict().values()) + peak_bytes(lambda: draw(head))
    fast, autocast = inference_copy(head, dtype, device)
    with autocast:
        return seconds(lambda: draw(fast), device), memory


if __name__ == "__main__":
    main()
