"""The tokenizer in training, on images: its configuration, trainees, batches, validation and images."""

import math
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Self

import numpy as np
import torch

from bar_model.errors import BadInput
from bar_model.operations import reconstruction_operations
from bar_model.ranges import Weight
from bar_model.tokenizer.discriminator import VIRTUAL_BATCH
from bar_model.tokenizer.loss import TokenizerLoss, TokenizerLossConfig
from bar_model.tokenizer.tokenizer import Tokenizer, TokenizerConfig
from pipeline.images.codec import from_model, to_grid, to_model
from pipeline.paths import SourceUrl
from pipeline.pretrained.inception import Inception, load_inception
from pipeline.pretrained.tokenizer_losses import FrozenNetworksConfig, load_frozen_networks, load_siglip
from pipeline.training.config import TrainingConfig
from pipeline.training.learners.image_loader import ImageLoader, TrainingImages
from pipeline.training.learners.learner import Learner
from pipeline.training.learners.reconstruction import ReconstructionQuality
from pipeline.training.learners.tokenizer_objectives import DiscriminatorObjective, Images, ReconstructionObjective
from pipeline.training.step.batches import Rows, in_order
from pipeline.training.step.ranks import Ranks
from pipeline.training.step.trainee import Trainee, autocast

TRAINEE = "tokenizer"
"""Name of the first trainee in checkpoints and metrics."""
NUM_DRAWN = 16


@dataclass(frozen=True, kw_only=True)
class TrainTokenizerConfig(TrainingConfig):
    """Which tokenizer is trained on which images, and how."""

    source: SourceUrl
    """Folder of class folders of pictures: a path, s3://… or hf://…"""
    source_moved: bool = False
    """The pictures that OUT was begun with lie at --source now, or are copies of them: only their number is checked."""
    held_out: SourceUrl | None = None
    """Such a folder, for validation."""
    model: TokenizerConfig
    encoder_learning_rate: Weight = 1.0
    """Factor of the encoder's learning rate; 0 leaves the encoder as it is."""
    loss: TokenizerLossConfig = field(default_factory=TokenizerLossConfig)
    networks: FrozenNetworksConfig = field(default_factory=FrozenNetworksConfig)
    flip: bool = True
    """Whether pictures are mirrored at random."""
    rfid: bool = True
    """Whether rFID is measured on the held-out pictures; this needs Inception's weights."""
    memory_gb: Weight = 0.5
    """Pictures are decoded once, into shared memory, if they take no more than this; else whenever they are needed."""

    def __post_init__(self) -> None:
        super().__post_init__()
        if self.loss.adversarial > 0:
            self._check_groups()

    def for_workers(self) -> Self:
        """The same with absolute paths, for workers in another working directory."""
        return replace(super().for_workers(), networks=self.networks.for_workers())

    def _check_groups(self) -> None:
        """Checks that the discriminator sees the same groups of images with any number of workers."""
        if self.workers.micro_batch == "auto":
            raise BadInput(
                f"workers.micro_batch auto: an adversarial loss needs a number here, a multiple of {VIRTUAL_BATCH}"
            )
        for num in range(self.workers.num, self.workers.most + 1):
            shares = (self.share(self.batch, Ranks(rank=rank, num=num)).parts(0) for rank in range(num))
            sizes = [len(part.indices) for parts in shares for part in parts]
            # A batch that is not divided may have groups of fewer than eight images, if they are equal.
            group = VIRTUAL_BATCH if len(sizes) > 1 else -(-self.batch // VIRTUAL_BATCH)
            if any(size % group for size in sizes):
                raise BadInput(
                    f"batch {self.batch}: {num} workers compute {min(sizes)} pictures at once, but the discriminator "
                    f"needs a multiple of {VIRTUAL_BATCH} (--batch, --workers.num, --workers.micro-batch)"
                )


class TokenizerLearner(Learner):
    """The learner whose trainees are the tokenizer and, with an adversarial loss, its discriminator.

    They take turns from the step on in which the adversarial loss begins.
    """

    def __init__(
        self, config: TrainTokenizerConfig, data: Mapping[str, TrainingImages], ranks: Ranks, device: torch.device
    ) -> None:
        self._config = config
        self._ranks = ranks
        self._device = device
        self._loader = ImageLoader(data["pictures"], flip=config.flip)
        self._held_out = ImageLoader(data["held_out"], flip=False) if "held_out" in data else None
        self._inception = load_rfid_network(config, device)
        self.share = config.share(self._loader.num_rows, ranks)
        tokenizer = Tokenizer(config.model)
        if config.model.encoder.frozen_embeddings:
            tokenizer.encoder.load_state_dict(load_siglip(config.networks.siglip, config.model).state_dict())
        if config.loss.semantic == 0 and tokenizer.decoder.semantic_projector is not None:
            # DDP waits for the gradient of every trained parameter.
            tokenizer.decoder.semantic_projector.requires_grad_(False)
        tokenizer.to(device)
        networks = load_frozen_networks(config.networks, config.loss, config.model, device)
        loss = TokenizerLoss(config.loss, networks, seed=config.seed).to(device)
        self._trainee = Trainee(
            TRAINEE,
            tokenizer,
            ReconstructionObjective(tokenizer, loss, num_steps=config.horizon),
            config.optimization,
            steps=range(config.steps),
            horizon=config.horizon,
            ranks=ranks,
            precision=config.precision,
            sharded=config.workers.sharded,
            learning_rate_factor=self._learning_rate_factor,
        )
        # The discriminator is small: sharding it would gain nothing.
        self._discriminator = (
            Trainee(
                "discriminator",
                loss,
                DiscriminatorObjective(tokenizer, loss),
                replace(config.optimization, average=None),
                steps=range(math.ceil(config.loss.adversarial_start * config.horizon), config.steps),
                horizon=config.horizon,
                ranks=ranks,
                precision=config.precision,
            )
            if config.loss.adversarial > 0
            else None
        )
        self.trainees = (self._trainee,) if self._discriminator is None else (self._trainee, self._discriminator)
        self._loss = loss
        self._announced = 0

    def trainee_at(self, step: int) -> Trainee:
        """The discriminator in its steps, else the tokenizer."""
        is_discriminators = self._config.loss.updates_discriminator(step, self._config.horizon)
        return self._discriminator if self._discriminator is not None and is_discriminators else self._trainee

    def kinds_of_steps(self, num_steps: int) -> Sequence[tuple[int, int]]:
        """The steps before the adversarial loss, and after that the tokenizer's and the discriminator's."""
        loss, horizon = self._config.loss, self._config.horizon
        kinds = [
            (loss.is_adversarial(step, horizon), loss.updates_discriminator(step, horizon)) for step in range(num_steps)
        ]
        return [(kinds.index(kind), count) for kind, count in Counter(kinds).items()]

    def row_operations_at(self, step: int) -> int:
        """The operations for a row; a step of the discriminator reconstructs images forward only."""
        forward = reconstruction_operations(self._config.model)
        return forward if self.trainee_at(step) is self._discriminator else 3 * forward

    def micro_batch(self, rows: Rows, step: int) -> tuple[Images, int]:
        """The crops of some rows, and the step; the rows of the next step begin to be decoded."""
        crops = self._loader.crops(rows)
        if self._announced <= step:
            self._announced = step + 1
            for part in self.share.parts(step + 1):
                self._loader.announce(part.indices.tolist())
        return to_model(crops, self._device), step

    def settings_at(self, step: int) -> dict[str, float]:
        """The number of images that could not be decoded so far."""
        return {"broken_pictures": float(self._loader.num_broken)}

    @torch.no_grad()
    def validate(self) -> dict[str, float]:
        """Losses, without the adversarial one, PSNR, SSIM and rFID on the centre crops of the held-out images."""
        if self._held_out is None:
            return {}
        objective = ReconstructionObjective(self.result().eval(), self._loss, num_steps=self._config.horizon)
        quality = ReconstructionQuality(self._inception, self._device)
        sums = torch.zeros(2 + objective.num_parts, device=self._device)
        for rows in self.share.all_once(self._held_out.num_rows):
            pixels = self._held_out.centres(rows)
            images = to_model(pixels).to(self._device)
            with autocast(self._device, self._config.precision):
                output = objective.tokenizer(images)
                total, weight, parts = objective.loss_sums(output, images, step=None)
            quality.add(pixels, from_model(output.reconstruction))
            sums += torch.cat((torch.stack((total, weight)), parts))
        total, weight, *parts = self._ranks.sum(sums).tolist()
        return {"loss": total / weight, **quality.result(self._ranks), **objective.metrics(weight, parts)}

    def draw(self) -> np.ndarray | None:
        """Images, held-out ones where there are any, and below each its reconstruction."""
        tokenizer = self.result().eval()
        if self._ranks.rank > 0:
            return None
        loader = self._held_out or self._loader
        pixels = loader.centres(in_order(0, min(NUM_DRAWN, loader.num_rows)))
        made = from_model(tokenizer.decode(tokenizer.encode(to_model(pixels).to(self._device))))
        return to_grid(np.concatenate((pixels, made)), columns=len(pixels))

    def result(self) -> Tokenizer:
        """The tokenizer, or its average where there is one, with all of its weights."""
        model = self._trainee.evaluated()
        assert isinstance(model, Tokenizer)
        return model

    def _learning_rate_factor(self, name: str) -> float:
        return self._config.encoder_learning_rate if name.startswith("encoder.") else 1.0


def load_rfid_network(config: TrainTokenizerConfig, device: torch.device) -> Inception | None:
    """The Inception network that rFID needs; None where the configuration measures no rFID."""
    if not config.rfid or config.held_out is None:
        return None
    return load_inception(config.networks.inception, config.networks.inception_sha256, device)
