"""The published generator and decoder, from a checkout of the published code, with the weights of a model of ours."""

import sys
from typing import Any

import torch
from torch import Tensor

from bar_model.generator.bar import Bar, BarConfig
from bar_model.published.checkpoint import export_published
from bar_model.tokenizer.tokenizer import Tokenizer


class PublishedSampler:
    """Draws and decodes as the published script does."""

    def __init__(self, folder: str, bar: Bar, tokenizer: Tokenizer, on: torch.device) -> None:
        sys.path.insert(0, folder)
        from modeling.generator import BAR  # pyright: ignore[reportMissingImports]
        from modeling.modules.blocks import SigLIP2Decoder  # pyright: ignore[reportMissingImports]

        config = published_config(bar.config, tokenizer.config.image_size)
        self._sampling = bar.config.sampling
        self._bits = bar.config.codes.bits
        self._generator = BAR(config)
        self._generator.load_state_dict(export_published(bar))
        self._generator.eval().requires_grad_(False).to(on)
        self._decoder = SigLIP2Decoder(config).eval().requires_grad_(False).to(on)
        self._project = tokenizer.quantizer.embed.to(on)

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
        dropout=config.transformer.dropout,
        use_checkpoint=False,
        repeat_class_condition=config.transformer.class_repeats,
        patch_size=config.patch,
        mbm_head=Settings(width=config.head.width, num_layers=config.head.depth),
    )
    vq_model = Settings(codebook_size=2**config.codes.bits, token_size=config.codes.bits, vit_dec_patch_size=16)
    dataset = Settings(preprocessing=Settings(crop_size=image_size))
    return Settings(model=Settings(generator=generator, vq_model=vq_model), dataset=dataset)
