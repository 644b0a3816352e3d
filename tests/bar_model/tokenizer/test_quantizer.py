import torch

from bar_model.tokenizer.quantizer import THRESHOLD, BinaryQuantizer, bits_to_signs, quantize, signs_to_bits


def test_a_bit_is_one_exactly_from_the_threshold_on() -> None:
    below, above = THRESHOLD - 1e-5, THRESHOLD + 1e-5
    z = torch.tensor([-50.0, below, THRESHOLD, above, 0.0, 50.0])
    assert signs_to_bits(quantize(z)).tolist() == [False, False, True, True, True, True]
    assert abs(THRESHOLD + 3.8007) < 1e-4


def test_signs_are_exactly_one_and_come_back_from_their_bits() -> None:
    signs = quantize(torch.randn(1000) * 4 + THRESHOLD)
    assert set(signs.tolist()) == {-1.0, 1.0}
    assert torch.equal(bits_to_signs(signs_to_bits(signs)), signs)


def test_gradient_is_that_of_the_bounding_tanh() -> None:
    z = torch.linspace(-8, 2, 41, dtype=torch.float64, requires_grad=True)
    quantize(z).sum().backward()
    half_width, shift = 0.5 * 1.001, -THRESHOLD
    expected = 2 * half_width / torch.cosh(z.detach() + shift) ** 2
    torch.testing.assert_close(z.grad, expected, rtol=1e-6, atol=1e-9)


def test_balanced_start_splits_the_bits_that_would_all_be_one() -> None:
    features = torch.randn(64, 16, 32)
    ones = {}
    for balanced in (False, True):
        quantizer = BinaryQuantizer(32, 15, 8, balanced_start=balanced)
        ones[balanced] = signs_to_bits(quantize(quantizer.pre_quantise(features))).float().mean().item()
    assert ones[False] == 1
    assert 0.4 < ones[True] < 0.6


def test_float32_whatever_the_precision_around_it() -> None:
    quantizer = BinaryQuantizer(32, 16, 8, balanced_start=True)
    features = torch.randn(2, 4, 32)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        z = quantizer.pre_quantise(features)
        tokens = quantizer.tokens(quantize(z))
    assert z.dtype == tokens.dtype == torch.float32
    assert torch.equal(z, quantizer.pre_quantise(features))
    assert quantizer.bfloat16().pre_quantise(features).dtype == torch.float32
