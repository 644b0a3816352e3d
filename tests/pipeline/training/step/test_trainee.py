"""A step without Ray: what it normalises by, what it skips, and that a run can be resumed bit for bit."""

import copy
import dataclasses
from collections.abc import Sequence
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.distributed import FileStore  # pyright: ignore[reportPrivateImportUsage]

from bar_model.generator.transformer import TransformerConfig
from pipeline.training.learners.generator import TrainConfig
from pipeline.training.step.optimizer import OptimizationConfig
from pipeline.training.step.ranks import Ranks
from pipeline.training.step.trainee import LossSums, Objective, Trainee, seed_dropout
from tests.harness.generator_training import learner, losses, tiny_bar, tiny_codes, tiny_training


@pytest.fixture
def config(tmp_path: Path) -> TrainConfig:
    tiny_codes(tmp_path / "codes")
    return tiny_training(tmp_path)


def test_five_steps_have_the_losses_they_always_had(config: TrainConfig) -> None:
    """A refactor leaves these as they are; a commit that changes them says why."""
    found = losses(learner(config), config, range(5))
    assert found == pytest.approx([0.700511, 0.683884, 0.630123, 0.627935, 0.574603], abs=2e-6)


def test_micro_batches_add_up_to_the_batch(config: TrainConfig) -> None:
    whole = losses(learner(config), config, range(12))
    workers = tiny_training(Path(config.out).parent, workers=type(config.workers)(cpus=1, micro_batch=3))
    assert losses(learner(workers), workers, range(12)) == pytest.approx(whole, rel=1e-5)


def take_over(trainee: Trainee, other: Trainee) -> None:
    """All that a checkpoint keeps of the other."""
    ours, theirs = trainee.state_dict(), other.state_dict()
    assert ours.keys() == theirs.keys()
    for name, tensor in ours.items():
        tensor.copy_(theirs[name])
    trainee.num_updates = other.num_updates


@pytest.mark.parametrize("average", [None, 0.9])
def test_a_run_that_is_taken_up_goes_on_bit_for_bit(tmp_path: Path, average: float | None) -> None:
    tiny_codes(tmp_path / "codes")
    optimization = OptimizationConfig(learning_rate=1e-2, average=average)
    config = tiny_training(tmp_path, model=tiny_bar(dropout=0.2), optimization=optimization)
    undisturbed = learner(config)
    expected = losses(undisturbed, config, range(8))
    first = learner(config)
    losses(first, config, range(5))
    second = learner(config)
    take_over(second.trainees[0], first.trainees[0])
    assert losses(second, config, range(5, 8)) == expected[5:]
    pairs = zip(second.result().parameters(), undisturbed.result().parameters(), strict=True)
    assert all(torch.equal(ours, theirs) for ours, theirs in pairs)


@pytest.mark.system
def test_three_ranks_take_a_run_up_bit_for_bit(tmp_path: Path) -> None:
    """Three, since a sum of two is the same in either order."""
    tiny_codes(tmp_path / "codes")
    torch.multiprocessing.spawn(_take_up, (3, str(tmp_path)), nprocs=3)  # pyright: ignore[reportPrivateImportUsage]


def _take_up(rank: int, num_ranks: int, folder: str) -> None:
    torch.set_num_threads(1)
    store = FileStore(f"{folder}/store", num_ranks)
    torch.distributed.init_process_group("gloo", store=store, rank=rank, world_size=num_ranks)
    # Of many parameters in many places, so that the order in which DDP adds them up shows.
    model = dataclasses.replace(tiny_bar(), transformer=TransformerConfig(width=64, depth=3, heads=2, class_repeats=1))
    config = tiny_training(Path(folder), model=model)
    ranks = Ranks(rank=rank, num=num_ranks)
    undisturbed = learner(config, ranks)
    expected = losses(undisturbed, config, range(8))
    first, second = learner(config, ranks), learner(config, ranks)
    losses(first, config, range(3))
    second.trainees[0].rehearse(second.micro_batch(second.share.parts(0)[0], 0))
    take_over(second.trainees[0], first.trainees[0])
    assert losses(second, config, range(3, 8)) == expected[3:]
    torch.distributed.destroy_process_group()


class Line(Objective):
    """weight · Σ (slope · x), so that gradients are known."""

    num_parts = 1

    def __init__(self) -> None:
        super().__init__()
        self.slope = torch.nn.Parameter(torch.tensor([3.0, 4.0]))

    def forward(self, x: Tensor, weight: float) -> LossSums:
        return LossSums(weight * (self.slope * x).sum(), torch.tensor(weight), torch.ones(1))

    def metrics(self, weight: float, parts: Sequence[float]) -> dict[str, float]:
        return {"micro_batches": parts[0]}


def line_trainee(*, max_gradient_norm: float = 1.0, average: float | None = None) -> Trainee:
    objective = Line()
    config = OptimizationConfig(
        learning_rate=0.1,
        final_learning_rate=0.1,
        warmup=0,
        weight_decay=0,
        betas=(0.0, 0.0),
        max_gradient_norm=max_gradient_norm,
        average=average,
    )
    return Trainee("line", objective, objective, config, steps=range(10), ranks=Ranks(), precision="float32")


def test_the_loss_is_normalised_over_the_whole_step() -> None:
    trainee = line_trainee(max_gradient_norm=100.0)
    x = torch.tensor([1.0, 2.0])
    assert trainee.learn([(x, 1.0), (2 * x, 3.0)], num=2, step=0).finite
    report = trainee.report()
    # Gradient (1·x + 3·2x) / (1 + 3).
    assert report["gradient_norm"] == pytest.approx((7 / 4) * 5**0.5)
    assert report["loss"] == pytest.approx((1 * 11 + 3 * 22) / 4)
    assert report["micro_batches"] == 2
    assert trainee.report() == {}


def test_a_long_gradient_is_cut_as_torch_would_cut_it() -> None:
    """Against plain AdamW and `clip_grad_norm_`, with an epsilon that makes the length of a gradient matter."""
    trainee, reference = line_trainee(max_gradient_norm=0.5), Line()
    plain = torch.optim.AdamW(reference.parameters(), lr=0.1, betas=(0.0, 0.0), weight_decay=0, eps=1.0)
    for group in trainee._optimizer.param_groups:
        group["eps"] = 1.0
    x = torch.tensor([5.0, -7.0])
    trainee.learn([(x, 2.0)], num=1, step=0)
    (reference(x, 2.0).total / 2.0).backward()
    torch.nn.utils.clip_grad_norm_(reference.parameters(), 0.5)
    plain.step()
    torch.testing.assert_close(trainee.objective.get_parameter("slope"), reference.slope)


def test_a_gradient_of_any_length_is_taken_as_it_is_where_none_is_cut() -> None:
    """A greatest length of 0 is a step like that of a length that nothing reaches, and no step of length 0."""
    x = torch.tensor([5.0, -7.0])
    trainees = [line_trainee(max_gradient_norm=length) for length in (0.0, 1e9)]
    for trainee in trainees:
        assert trainee.learn([(x, 2.0)], num=1, step=0).finite
    uncut, reference = (trainee.objective.get_parameter("slope") for trainee in trainees)
    assert torch.equal(uncut, reference)
    assert not torch.equal(uncut, Line().slope)


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_a_step_that_is_not_finite_changes_nothing(bad: float) -> None:
    trainee = line_trainee(average=0.5)
    x = torch.tensor([1.0, 2.0])
    trainee.learn([(x, 1.0)], num=1, step=0)
    assert trainee.report()["loss"] == pytest.approx(11.0)
    for step in (1, 2):  # By now the average is not the model.
        trainee.learn([(x, 1.0)], num=1, step=step)
    before = copy.deepcopy(trainee.state_dict())
    assert not torch.equal(before["average/slope"], before["model/slope"])
    assert not trainee.learn([(x * bad, 1.0)], num=1, step=3).finite
    torch.testing.assert_close(trainee.state_dict(), before, rtol=0, atol=0)
    assert trainee.report()["loss"] < 11.0


def test_dropout_is_a_function_of_seed_step_and_rank() -> None:
    def drawn(*place: int) -> float:
        seed_dropout(*place)
        return torch.rand(()).item()

    places = [(0, 0, 0), (1, 0, 0), (0, 1, 0), (0, 0, 1)]
    assert len({drawn(*place) for place in places}) == 4
    assert drawn(7, 8, 9) == drawn(7, 8, 9)
