"""What a folder of codes holds, for a person: facts, what is wrong with its shards, its first images."""

import math
from dataclasses import dataclass
from itertools import chain, islice
from typing import Annotated

import numpy as np
import torch
import tyro
from einops import rearrange

from bar_model import checkpoint
from bar_model.bits import unpack_bits
from bar_model.errors import BadInput
from bar_model.ranges import Positive, check_ranges
from pipeline.codes.folder import first_codes, open_codes, verify
from pipeline.execution.quarantine import read_quarantine
from pipeline.images.codec import from_model, to_grid, to_png
from pipeline.paths import InputUrl
from pipeline.storage import local_copy, write_url

QUARANTINED_SHOWN = 10
DECODED_AT_ONCE = 16


@dataclass(frozen=True, kw_only=True)
class InspectCodesConfig:
    """Which folder of codes to show, and what of it."""

    folder: Annotated[InputUrl, tyro.conf.Positional, tyro.conf.arg(metavar="CODES")]
    """Folder of codes, of any URL."""
    verify: bool = False
    """Read every shard and check it against the manifest."""
    decode: str | None = None
    """PNG file for the first images, as the tokenizer decodes them."""
    tokenizer: InputUrl | None = None
    """The tokenizer that made the codes: a model folder or a published .bin file, of any URL."""
    num: Positive = 64
    """Number of images to decode."""

    def __post_init__(self) -> None:
        check_ranges(self)
        if (self.decode is None) != (self.tokenizer is None):
            raise BadInput("--decode OUT.png and --tokenizer PATH belong together: give both or neither")


def inspect_codes(config: InspectCodesConfig) -> bool:
    """Prints what a folder of codes holds; gives whether it is sound, as far as it was checked.

    Raises:
        BadInput: there is no finished folder of codes, or the tokenizer is another than the one that made them.
    """
    _print_facts(config.folder)
    if config.decode is not None and config.tokenizer is not None:
        _decode(config.folder, config.decode, config.tokenizer, config.num)
    if not config.verify:
        return True
    problems = verify(config.folder)
    print("\n".join(problems) or "every shard is as the manifest says")
    return not problems


def _print_facts(url: str) -> None:
    folder, manifest, metadata = open_codes(url)
    source = manifest.configuration["source"]
    facts = {
        "images": f"{manifest.rows:,} in {len(manifest.files):,} shards",
        "bytes": f"{manifest.num_bytes:,}, {manifest.num_bytes / max(manifest.rows, 1):,.0f} an image",
        "codes": f"{metadata.grid} × {metadata.grid} tokens of {metadata.bits} bits",
        "views": ", ".join(metadata.views),
        "cropped": f"to {metadata.image_size} px, {metadata.crop_rule}",
        "source": source.get("url", source["kind"]),
        "tokenizer": metadata.tokenizer,
        "manifest": f"{manifest.name}, fingerprint {manifest.fingerprint}",
        "quarantined": f"{manifest.num_quarantined:,}",
    }
    print(folder.url)
    for name, fact in facts.items():
        print(f"  {name:<12} {fact}")
    for item in islice(chain.from_iterable(read_quarantine(folder, manifest).values()), QUARANTINED_SHOWN):
        print(f"    {item.where} {item.why}")
    if manifest.quarantine is not None and manifest.num_quarantined > QUARANTINED_SHOWN:
        print(f"    all of them: {folder.path(manifest.quarantine.name)}")


def _decode(url: str, out: str, tokenizer: str, num: int) -> None:
    """Writes the first images of a folder, in their first view, as one PNG file."""
    path = local_copy(tokenizer)
    table = first_codes(url, num, expect_tokenizer=checkpoint.fingerprint_of(path))
    model = checkpoint.load_tokenizer(path, decode_only=True)
    bits = unpack_bits(torch.from_numpy(table.codes[:, 0]), table.metadata.shape.num_bits)
    shaped = rearrange(bits, "row (token bit) -> row token bit", bit=table.metadata.bits)
    images = np.concatenate([from_model(model.decode(some)) for some in shaped.split(DECODED_AT_ONCE)])
    write_url(out, to_png(to_grid(images, columns=math.isqrt(len(images)))))
    print(f"{out}: the first {len(images)} images, view {table.metadata.views[0]!r}")
