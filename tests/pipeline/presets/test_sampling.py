"""Presets of sampling keep what their docstrings promise."""

from pipeline.presets.sampling import SAMPLING


def test_imagenet_draws_what_a_published_fid_is_of() -> None:
    config = SAMPLING["imagenet"]()
    assert (config.num_images, config.first_index, config.labels, config.labels_file) == (50_000, 0, None, None)
    assert (config.guidance_scale, config.temperature, config.allocation) == (None, None, None)  # The generator's own.


def test_the_digits_are_a_thousand_in_whole_units() -> None:
    config = SAMPLING["digits"]()
    assert config.num_images == 1000
    assert config.num_images % config.unit_size == 0
