"""The losses of the tokenizer and of its discriminator: what they change, for any micro-batches."""

import dataclasses

import torch
from torch import Tensor

from bar_model.tokenizer.loss import FrozenNetworks, TokenizerLoss
from bar_model.tokenizer.tokenizer import Tokenizer
from pipeline.training.learners.tokenizer_objectives import DiscriminatorObjective, ReconstructionObjective
from pipeline.training.step.optimizer import OptimizationConfig
from pipeline.training.step.ranks import Ranks
from pipeline.training.step.trainee import Trainee
from tests.harness.tokenizer_training import (
    ADVERSARIAL,
    L2_ALONE,
    SIZE,
    dino,
    tiny_tokenizer,
)


def test_trainees_leave_each_others_weights_alone() -> None:
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
