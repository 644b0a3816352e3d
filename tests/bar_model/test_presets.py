import pytest
import torch

from bar_model.generator.bar import Bar
from bar_model.presets import GENERATORS, TOKENIZERS
from bar_model.tokenizer.tokenizer import TokenizerConfig


@pytest.mark.parametrize(
    ("preset", "parameters"),
    [
        ("bar-b", 415_322_158),
        ("bar-b-patch2", 415_076_098),
        ("bar-b-patch4", 415_752_223),
        ("bar-s", 28_084_400),
        ("bar-l", 1_107_798_990),
        ("bar-l-512", 1_110_727_993),
        ("digits", 1_232_062),
    ],
)
def test_parameter_counts(preset: str, parameters: int) -> None:
    with torch.device("meta"):
        bar = Bar(GENERATORS[preset]())
    assert sum(parameter.numel() for parameter in bar.parameters()) == parameters


def tokenizer_for(preset: str) -> TokenizerConfig:
    """The tokenizer whose codes a generator preset draws."""
    return TOKENIZERS[{"digits": "digits", "bar-l-512": "bar-fsq-10-512"}.get(preset, "bar-fsq-16")]()


@pytest.mark.parametrize("preset", GENERATORS)
def test_a_generator_draws_the_codes_of_its_tokenizer(preset: str) -> None:
    config = GENERATORS[preset]()
    assert config.codes == tokenizer_for(preset).codes
    assert sum(config.sampling.allocation) == config.token_bits


@pytest.mark.parametrize(
    ("preset", "num_bits"),
    [
        ("bar-fsq-10", 2_560),
        ("bar-fsq-12", 3_072),
        ("bar-fsq-14", 3_584),
        ("bar-fsq-16", 4_096),
        ("bar-fsq-18", 4_608),
        ("bar-fsq-32", 8_192),
        ("bar-fsq-64", 16_384),
        ("bar-fsq-128", 32_768),
        ("bar-fsq-256", 65_536),
        ("bar-fsq-10-512", 10_240),
        ("digits", 256),
    ],
)
def test_a_tokenizer_spends_the_bits_that_it_promises(preset: str, num_bits: int) -> None:
    assert TOKENIZERS[preset]().codes.num_bits == num_bits
