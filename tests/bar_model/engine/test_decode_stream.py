import pytest
import torch

from bar_model.engine.decode_stream import decode_all
from bar_model.engine.engine import Engine
from bar_model.engine.fast_decoder import FastDecoder
from bar_model.presets import digits_tokenizer
from bar_model.tokenizer.tokenizer import Tokenizer
from pipeline.images.codec import from_model
from tests.harness.tiny import make_bar, random_bits, tiny_config


@pytest.mark.parametrize("device", ["cpu", pytest.param("cuda", marks=pytest.mark.gpu)])
def test_images_come_in_their_order(device: str) -> None:
    tokenizer = Tokenizer(digits_tokenizer()).eval()
    with torch.no_grad():
        for parameter in tokenizer.decoder.parameters():
            parameter.normal_(0, 0.2)
    decoder = FastDecoder(tokenizer.to(device), dtype=torch.float32)
    batches = [random_bits(3, 16, 16, seed=seed) for seed in range(4)]
    asked = []

    def drawn():
        for index, bits in enumerate(batches):
            asked.append(index)
            yield bits.to(device)

    for index, decoded in enumerate(decode_all(decoder, drawn())):
        assert not decoded.images.is_cuda
        assert torch.equal(decoded.bits, batches[index])
        expected = from_model(tokenizer.decode(batches[index].to(device)))
        assert (decoded.images.int() - torch.from_numpy(expected).int()).abs().max() <= 1
        # On a GPU the next batch is on its way before this one is waited for.
        assert asked == list(range(min(index + (2 if device == "cuda" else 1), 4)))
    assert len(asked) == 4
    assert not list(decode_all(decoder, []))


def test_broken_images_are_refused() -> None:
    tokenizer = Tokenizer(digits_tokenizer()).eval()
    torch.nn.init.constant_(tokenizer.decoder.smoothing.weight, torch.nan)
    with pytest.raises(ValueError, match="images hold NaN"):
        list(decode_all(FastDecoder(tokenizer, dtype=torch.float32), [random_bits(2, 16, 16)]))


@pytest.mark.gpu
def test_drawing_goes_on_beside_decoding() -> None:
    """Batches that are drawn one after the other into the same memory keep their own bits."""
    bar = make_bar(tiny_config(bits=16, allocation=(2, 2, 5, 7)))
    decoder = FastDecoder(Tokenizer(digits_tokenizer()).eval().cuda(), dtype=torch.float32)
    engine, labels = Engine(bar.cuda(), dtype=torch.float32, compiled=False), torch.arange(4)
    drawn = (engine.generate(labels, seed=seed) for seed in range(5))
    for seed, decoded in enumerate(decode_all(decoder, drawn)):
        assert torch.equal(decoded.bits, bar.generate(labels, seed=seed).cpu())
