"""The tokenizer's training: pictures and their crops, two trainees in turns, and the whole of it through Ray Train."""

import dataclasses
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image
from torch import Tensor

from bar_model import checkpoint
from bar_model.bits import CodeShape
from bar_model.errors import BadInput
from bar_model.tokenizer.decoder import DecoderConfig
from bar_model.tokenizer.encoder import EncoderConfig
from bar_model.tokenizer.loss import FrozenNetworks, TokenizerLoss, TokenizerLossConfig
from bar_model.tokenizer.tokenizer import Tokenizer, TokenizerConfig
from pipeline.pretrained.tokenizer_losses import FrozenNetworksConfig
from pipeline.training.config import Cadence, WorkersConfig
from pipeline.training.learners import tokenizer as tokenizer_learner
from pipeline.training.learners.image_loader import ImageLoader, list_images, open_images
from pipeline.training.learners.learner import take_step
from pipeline.training.learners.tokenizer import TokenizerLearner, TrainTokenizerConfig
from pipeline.training.learners.tokenizer_objectives import DiscriminatorObjective, ReconstructionObjective
from pipeline.training.step.batches import Rows, in_order
from pipeline.training.step.optimizer import OptimizationConfig
from pipeline.training.step.ranks import Ranks
from pipeline.training.step.trainee import Trainee
from pipeline.training.train_tokenizer import train_tokenizer
from tests.harness.random_inception import save_inception

pytest_plugins = ["tests.harness.fixtures_s3", "tests.harness.fixtures_ray"]

SIZE = 8
L2_ALONE = TokenizerLossConfig(l1=0.0, lpips=0.0, convnext=0.0, semantic=0.0, gram=0.0, adversarial=0.0)


def tiny_tokenizer() -> TokenizerConfig:
    return TokenizerConfig(
        image_size=SIZE,
        patch=4,
        bits=4,
        encoder=EncoderConfig(width=16, depth=1, heads=2, mlp_width=32, position_grid=2, frozen_embeddings=False),
        decoder=DecoderConfig(width=16, depth=1, heads=2, semantic=None),
        balanced_start=True,
    )


def write_pictures(folder: Path, *, num: int = 12, height: int = 8, width: int = 8) -> str:
    """TrainingImages in two classes, each of one row of greys that rises to the right."""
    for index in range(num):
        pixels = np.broadcast_to(np.arange(width, dtype=np.uint8)[None, :, None] * 4 + index, (height, width, 3))
        path = folder / f"class-{index % 2}" / f"{index:03d}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.ascontiguousarray(pixels)).save(path)
    return str(folder)


def tiny_training(folder: Path, **changes: object) -> TrainTokenizerConfig:
    settings = {
        "source": str(folder / "pictures"),
        "out": str(folder / "out"),
        "model": tiny_tokenizer(),
        "loss": L2_ALONE,
        "steps": 6,
        "batch": 8,
        "optimization": OptimizationConfig(learning_rate=1e-2, warmup=0, weight_decay=0, average=0.9),
        "rfid": False,
        "cadence": Cadence(log_every=1),
        "workers": WorkersConfig(cpus=1),
    }
    return TrainTokenizerConfig(**{**settings, **changes})  # pyright: ignore[reportArgumentType]


def rows(indices: list[int], chance: list[int]) -> Rows:
    return Rows(np.array(indices), np.zeros(len(indices), np.int64), np.array(chance, np.uint64))


@pytest.mark.parametrize("memory_gb", [1.0, 0.0])
def test_crops_are_what_chance_says_from_memory_as_from_files(tmp_path: Path, memory_gb: float) -> None:
    pictures, broken = open_images(list_images(write_pictures(tmp_path, width=12)), SIZE, memory_gb=memory_gb)
    assert (pictures.decoded is None, broken) == (memory_gb == 0, [])
    loader = ImageLoader(pictures, flip=True)
    loader.announce([1, 2])
    # Bit 0 mirrors; the offset to the left is in the bits from 33 on, modulo the five places there are.
    crops = loader.crops(rows([0, 0, 0, 2], [0, 3 << 33, 1, 6 << 33]))
    greys = crops[:, 0, :, 0].astype(int)
    assert greys[0].tolist() == [0, 4, 8, 12, 16, 20, 24, 28]
    assert greys[1].tolist() == (greys[0] + 12).tolist()
    assert greys[2].tolist() == greys[0, ::-1].tolist()
    assert greys[3].tolist() == (greys[0] + 4 + 4).tolist()  # Picture 002.png is the third in its class's order.
    assert loader.centres(in_order(0, 1))[0, 0, :, 0].tolist() == (greys[0] + 8).tolist()
    unmirrored = ImageLoader(pictures, flip=False)
    np.testing.assert_array_equal(unmirrored.crops(rows([0], [1]))[0], crops[0])


@pytest.mark.parametrize("memory_gb", [1.0, 0.0])
def test_a_broken_picture_does_not_stop_the_training(tmp_path: Path, memory_gb: float) -> None:
    write_pictures(tmp_path)
    (tmp_path / "class-0" / "002.png").write_bytes(b"no picture")
    pictures, broken = open_images(list_images(str(tmp_path)), SIZE, memory_gb=memory_gb)
    loader = ImageLoader(pictures, flip=False)
    crops = loader.crops(in_order(0, loader.num_rows))
    assert len(crops) == 12
    np.testing.assert_array_equal(crops[1], crops[2])
    assert (len(broken), loader.num_broken) == (1 if memory_gb else 0, 1)
    for name in (path.name for path in tmp_path.rglob("*.png")):
        next(tmp_path.rglob(name)).write_bytes(b"no picture")
    with pytest.raises(BadInput, match="none of its 12 images"):
        open_images(list_images(str(tmp_path)), SIZE, memory_gb=1.0)


def dino(images: Tensor) -> list[Tensor]:
    """Features as a DINO of 4 patches would have them."""
    patches = torch.nn.functional.adaptive_avg_pool2d(images, 2).flatten(2).transpose(1, 2).repeat(1, 1, 128)
    return [torch.cat((patches.mean(1, keepdim=True), patches), dim=1) for _ in range(5)]


def test_players_leave_each_others_weights_alone() -> None:
    config = dataclasses.replace(L2_ALONE, adversarial=1.0, adversarial_start=0.5)
    assert [config.updates_discriminator(step, 8) for step in range(8)] == [False] * 4 + [False, True, False, True]
    tokenizer = Tokenizer(tiny_tokenizer())
    loss = TokenizerLoss(config, FrozenNetworks(dino=dino))
    optimization = OptimizationConfig(learning_rate=1e-2, warmup=0, weight_decay=0)
    steps = range(8)
    trainees = [
        Trainee("t", tokenizer, ReconstructionObjective(tokenizer, loss, num_steps=8), optimization, steps=steps,
               ranks=Ranks(), precision="float32"),
        Trainee("d", loss, DiscriminatorObjective(tokenizer, loss), optimization, steps=steps, ranks=Ranks(),
               precision="float32"),
    ]  # fmt: skip
    images = torch.rand(8, 3, SIZE, SIZE) * 2 - 1
    for step in range(4, 8):
        learning, waiting = trainees if step % 2 == 0 else trainees[::-1]
        before = [[p.clone() for p in trainee.model.parameters()] for trainee in (learning, waiting)]
        assert learning.learn([(images, step)], num=1, step=step).finite
        after = [list(trainee.model.parameters()) for trainee in (learning, waiting)]
        assert not all(torch.equal(*pair) for pair in zip(before[0], after[0], strict=True))
        assert all(torch.equal(*pair) for pair in zip(before[1], after[1], strict=True))
        assert all(p.grad is None for p in waiting.model.parameters())
    reports = [trainee.report() for trainee in trainees]
    assert set(reports[0]) == {"loss", "gradient_norm", "l2", "adversarial"}
    assert set(reports[1]) == {"loss", "gradient_norm", "logits_real", "logits_fake"}


ADVERSARIAL = dataclasses.replace(L2_ALONE, adversarial=0.1, adversarial_start=0.4)
"""Of five steps, the fourth is then the discriminator's."""


def losses(config: TrainTokenizerConfig, monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Of every step."""
    monkeypatch.setattr(tokenizer_learner, "load_frozen_networks", lambda *given: FrozenNetworks(dino=dino))
    pictures, _ = open_images(list_images(config.source), SIZE, memory_gb=1.0)
    torch.manual_seed(config.seed)
    learner = TokenizerLearner(config, {"pictures": pictures}, Ranks(), torch.device("cpu"))
    found = []
    for step in range(config.steps):
        take_step(learner, step, seed=config.seed, rank=0)
        found.append(learner.trainee_at(step).report()["loss"])
    return found


def test_five_steps_have_the_losses_they_always_had(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A refactor leaves them as they are; a commit that changes them says why."""
    write_pictures(tmp_path / "pictures")
    found = losses(tiny_training(tmp_path, loss=ADVERSARIAL, steps=5), monkeypatch)
    assert found == pytest.approx([0.715858, 0.664182, 0.586574, 1.070710, 0.487926], abs=2e-5)


def test_the_discriminators_step_is_the_same_for_any_micro_batches() -> None:
    real, fake = torch.rand(2, 24, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(0)) * 2 - 1

    def found(size: int) -> tuple[Tensor, list[Tensor]]:
        """The gradient, and the vectors that the spectral norms have come to, which would move in every pass."""
        torch.manual_seed(0)
        loss = TokenizerLoss(ADVERSARIAL, FrozenNetworks(dino=dino)).train()
        before = [vector.clone() for vector in loss.buffers()]
        DiscriminatorObjective(Tokenizer(tiny_tokenizer()), loss).begin_step()
        assert not all(map(torch.equal, before, loss.buffers()))
        for parts in zip(real.split(size), fake.split(size), strict=True):
            (loss.discriminator(*parts, step=0).total * len(parts[0])).backward()
        return torch.cat([p.grad.flatten() for p in loss.parameters() if p.grad is not None]), list(loss.buffers())

    gradient, vectors = found(24)
    for size in (8, 16):
        other, others = found(size)
        assert (other - gradient).norm() < 1e-5 * gradient.norm()
        assert all(map(torch.equal, vectors, others))
    assert (found(12)[0] - gradient).norm() > 1e-3 * gradient.norm()  # Groups of six.


def test_a_dry_run_tries_each_kind_of_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tokenizer_learner, "load_frozen_networks", lambda *given: FrozenNetworks(dino=dino))
    config = tiny_training(tmp_path, loss=ADVERSARIAL, steps=10, source=write_pictures(tmp_path / "pictures"))
    pictures, _ = open_images(list_images(config.source), SIZE, memory_gb=1.0)
    learner = TokenizerLearner(config, {"pictures": pictures}, Ranks(), torch.device("cpu"))
    tried = learner.kinds_of_steps(config.steps)
    assert tried == [(0, 4), (4, 3), (5, 3)]
    assert [learner.trainee_at(step).name for step, _ in tried] == ["tokenizer", "tokenizer", "discriminator"]
    assert learner.row_operations_at(0) == 3 * learner.row_operations_at(5) > 0


def test_the_discriminators_groups_are_whole(tmp_path: Path) -> None:
    def config(batch: int, workers: WorkersConfig) -> TrainTokenizerConfig:
        return tiny_training(tmp_path, loss=ADVERSARIAL, batch=batch, workers=workers)

    config(24, WorkersConfig(num=3))
    config(12, WorkersConfig())  # Undivided: two groups of six.
    with pytest.raises(BadInput, match="batch 9: 1 workers compute 9 pictures at once"):
        config(9, WorkersConfig())
    for workers in (WorkersConfig(micro_batch=12), WorkersConfig(num=2), WorkersConfig(max_num=2)):
        with pytest.raises(BadInput, match=r"batch 24: . workers compute 12 pictures at once, .* a multiple of 8"):
            config(24, workers)


@pytest.mark.ray
def test_a_tokenizer_is_trained_and_can_be_used(ray_here: str, tmp_path: Path) -> None:
    write_pictures(tmp_path / "pictures")
    inception = tmp_path / "inception.pth"
    config = tiny_training(
        tmp_path,
        held_out=write_pictures(tmp_path / "held_out", num=5),
        steps=40,
        rfid=True,
        networks=FrozenNetworksConfig(inception=str(inception), inception_sha256=save_inception(inception)),
    )
    trained = train_tokenizer(config)
    tokenizer = checkpoint.load_tokenizer(trained.model)
    assert tokenizer.config.codes == CodeShape(grid=2, bits=4)
    assert trained.metrics["validation/psnr"] > 10
    assert trained.metrics["validation/rfid"] > 0
    assert trained.metrics["tokenizer/l2"] == pytest.approx(trained.metrics["tokenizer/loss"])
    assert checkpoint.fingerprint(tokenizer) == trained.fingerprint
    write_pictures(tmp_path / "pictures", num=13)
    with pytest.raises(BadInput, match=r"pictures: .* there, .* here"):
        train_tokenizer(config)


def test_what_is_missing_is_said_before_any_work(tmp_path: Path) -> None:
    with pytest.raises(BadInput, match="is not there"):
        train_tokenizer(tiny_training(tmp_path))
    write_pictures(tmp_path / "pictures")
    wanting = dataclasses.replace(L2_ALONE, gram=1.0)
    with pytest.raises(BadInput, match="vgg"):
        train_tokenizer(
            tiny_training(tmp_path, loss=wanting, networks=FrozenNetworksConfig(vgg=str(tmp_path / "no.pth")))
        )
    with pytest.raises(BadInput, match=r"networks\.inception"):
        train_tokenizer(
            tiny_training(
                tmp_path,
                held_out=str(tmp_path / "pictures"),
                rfid=True,
                networks=FrozenNetworksConfig(inception=str(tmp_path / "no.pth")),
            )
        )
    assert not (tmp_path / "out").exists()
