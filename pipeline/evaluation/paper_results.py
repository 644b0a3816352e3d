"""The paper's table: the published figures of each checkpoint, and where its weights lie in the published folder."""

from collections.abc import Mapping
from dataclasses import dataclass

PAPER_HARDWARE = "1 × H200"
"""The hardware of the published `images_per_s`: float32 with TF32 products, 125 images at once, with decoding."""


@dataclass(frozen=True, kw_only=True)
class PublishedRow:
    """The published row of one checkpoint."""

    generator: str
    tokenizer: str
    figures: Mapping[str, float]
    """At 50,000 images, by the names of `fid_protocol.FID_FIGURES`."""
    images_per_s: float | None
    """None if it is not published."""


def _row(
    generator: str,
    fid: float,
    inception_score: float,
    sfid: float,
    precision: float,
    recall: float,
    *,
    images_per_s: float | None,
    tokenizer: str = "bar_fsq_16bits_ft",
) -> PublishedRow:
    return PublishedRow(
        generator=f"generator/{generator}.bin",
        tokenizer=f"tokenizer/{tokenizer}.bin",
        figures={
            "fid": fid,
            "inception_score": inception_score,
            "sfid": sfid,
            "precision": precision,
            "recall": recall,
        },
        images_per_s=images_per_s,
    )


PAPER_RESULTS = {
    "bar-b": _row("bar_b", 1.13, 289.0, 4.69, 0.774, 0.664, images_per_s=24.33),
    "bar-b-patch2": _row("bar_b_patch2", 1.35, 293.4, 4.93, 0.789, 0.638, images_per_s=150.52),
    "bar-b-patch4": _row("bar_b_patch4", 2.34, 274.7, 6.31, 0.794, 0.598, images_per_s=445.48),
    "bar-l": _row("bar_l", 0.99, 296.9, 4.67, 0.769, 0.686, images_per_s=10.65),
    "bar-l-512": _row(
        "bar_l_res512", 1.09, 311.1, 4.40, 0.796, 0.644, images_per_s=None, tokenizer="bar_sfq_10bits_res512"
    ),
}
