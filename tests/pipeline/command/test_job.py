"""The command line: presets, overrides, one line for what a person can mend, exit codes."""

import signal
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Annotated, Literal, NoReturn

import pytest

from bar_model.errors import BadInput
from bar_model.ranges import Range, check_ranges
from pipeline.command import job as command_job
from pipeline.filesystem import StoreError

pytest_plugins = ["tests.harness.fixtures_s3", "tests.harness.fixtures_ray"]
REPOSITORY = Path(__file__).parents[3]


@dataclass(frozen=True, kw_only=True)
class Optimization:
    learning_rate: Annotated[float, Range(above=0)] = 1e-3
    """Peak of the schedule."""
    betas: tuple[float, float] = (0.9, 0.96)

    def __post_init__(self) -> None:
        check_ranges(self)
        if self.betas[0] > self.betas[1]:
            raise BadInput(f"optimization.betas are {self.betas}: the second is the larger one")


@dataclass(frozen=True, kw_only=True)
class PaintConfig:
    out: str
    """Folder of the paintings."""
    steps: int = 100
    order: Literal["raster", "random"] = "raster"
    optimization: Optimization = field(default_factory=Optimization)
    warm_up: Optimization | None = None


def quick() -> PaintConfig:
    """A minute on a laptop.

    Not for publication.
    """
    return PaintConfig(out="runs/quick", steps=5)


def thorough() -> PaintConfig:
    """Hours on a GPU."""
    return PaintConfig(out="runs/thorough")


PRESETS = {"quick": quick, "thorough": thorough}


def paint(config: PaintConfig) -> None:
    """Paints."""
    print(config)


def outcome(
    capsys: pytest.CaptureFixture[str], *arguments: str, job: Callable[[PaintConfig], object] = paint
) -> tuple[int | str | None, str, str]:
    with pytest.raises(SystemExit) as exit_:
        command_job.run(job, PRESETS, arguments)
    out, err = capsys.readouterr()
    return exit_.value.code, out, err


def test_a_preset_with_overrides_reaches_the_job(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, err = outcome(capsys, "quick", "--optimization.betas", "0.8", "0.9", "--order", "random")
    expected = PaintConfig(out="runs/quick", steps=5, order="random", optimization=Optimization(betas=(0.8, 0.9)))
    assert (code, out, err) == (0, f"{expected}\n", "")


def test_help_says_what_the_presets_are_for(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = outcome(capsys, "--help")
    assert code == 0
    assert "Paints." in out
    assert "  quick     A minute on a laptop.\n  thorough  Hours on a GPU.\n" in out
    assert "publication" not in out


def test_a_presets_help_shows_its_values_and_what_they_mean(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = outcome(capsys, "quick", "--help")
    assert code == 0
    assert "Folder of the paintings. (default: runs/quick)" in out
    assert "--optimization.learning-rate" in out


def test_print_config_prints_what_would_run(capsys: pytest.CaptureFixture[str]) -> None:
    code, out, _ = outcome(capsys, "quick", "--print-config", "--optimization.learning-rate", "0.5")
    assert code == 0
    assert out == (
        'out: "runs/quick"\nsteps: 5\norder: "raster"\noptimization:\n  learning_rate: 0.5\n  betas: [0.9, 0.96]\n'
        "warm_up: null\n"
    )


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ((), "the first argument is a preset: quick, thorough"),
        (("quik",), "unknown preset 'quik' (did you mean quick?): there are quick, thorough"),
        (("--steps", "5", "quick"), "the first argument is a preset"),
        (("quick", "--step", "5"), "unknown option '--step' (did you mean --steps?)"),
        (("quick", "--step=5"), "unknown option '--step=5' (did you mean --steps?)"),
        (("quick", "--lerning-rate", "5"), "(did you mean --optimization.learning-rate?)"),
        (("quick", "--steps", "many"), "--steps: 'many' is no whole number"),
        (("quick", "--steps", "1.5"), "--steps: '1.5' is no whole number"),
        (("quick", "--steps"), "--steps needs a value"),
        (("quick", "--order", "zigzag"), "--order can't be 'zigzag': choose from raster, random"),
        (("quick", "--optimization.learning-rate", "-1"), "--optimization.learning-rate -1.0: must be above 0"),
        (("quick", "--optimization.betas", "1", "0"), "optimization.betas are (1.0, 0.0): the second is the larger"),
    ],
)
def test_a_wrong_command_line_is_answered_in_one_line(
    capsys: pytest.CaptureFixture[str], arguments: tuple[str, ...], message: str
) -> None:
    code, out, err = outcome(capsys, *arguments)
    assert (code, out) == (2, "")
    assert message in err
    assert err.startswith("error: ")
    assert err.count("\n") == 1


def test_bad_input_is_one_line_and_a_defect_keeps_its_traceback(capsys: pytest.CaptureFixture[str]) -> None:
    def refuse(config: PaintConfig) -> None:
        raise BadInput(f"{config.out} is full: name an empty folder")

    def break_down(config: PaintConfig) -> None:
        raise ValueError(config.out)

    assert outcome(capsys, "quick", job=refuse) == (2, "", "error: runs/quick is full: name an empty folder\n")
    with pytest.raises(ValueError, match="runs/quick"):
        command_job.run(break_down, PRESETS, ["quick"])


@pytest.mark.parametrize(
    ("named", "told"),
    [
        ("give its path as optimization.learning_rate", "give its path as --optimization.learning-rate"),
        ("elsewhere.optimization.betas: two", "elsewhere.optimization.betas: two"),
        ("optimization.steps: of the whole", "--steps: of the whole"),
        ("optimization.unheard of", "optimization.unheard of"),
        ("runs/optimization.out, a.steps", "runs/optimization.out, a.steps"),
    ],
)
def test_fields_that_a_message_names_are_told_by_their_options(
    capsys: pytest.CaptureFixture[str], named: str, told: str
) -> None:
    def refuse(config: PaintConfig) -> None:
        raise BadInput(named)

    assert outcome(capsys, "quick", job=refuse) == (2, "", f"error: {told}\n")


def test_a_job_that_answers_false_has_missed_its_goal() -> None:
    for answer, code in [(False, 1), (True, 0), (None, 0)]:
        with pytest.raises(SystemExit) as caught:
            command_job.run(lambda config, answer=answer: answer, PRESETS, ["quick"])
        assert caught.value.code == code


def interrupt() -> NoReturn:
    raise KeyboardInterrupt


def leave_as_ray_train_does() -> NoReturn:
    raise SystemExit(1)


def terminate_as_ray_does() -> NoReturn:
    """Ray keeps of a SystemExit in its calls no more than that it was one."""
    try:
        signal.raise_signal(signal.SIGTERM)
    except SystemExit:
        raise SystemExit(1) from None
    raise AssertionError("SIGTERM was ignored")


@pytest.mark.parametrize(
    ("stop", "code"), [(interrupt, 130), (leave_as_ray_train_does, 130), (terminate_as_ray_does, 143)]
)
def test_being_stopped_has_the_shells_exit_code(
    capsys: pytest.CaptureFixture[str], stop: Callable[[], NoReturn], code: int
) -> None:
    assert outcome(capsys, "quick", job=lambda _: stop()) == (code, "", "")
    assert signal.getsignal(signal.SIGTERM) == signal.SIG_DFL


@pytest.mark.system
def test_answering_needs_nothing_heavy_and_less_than_a_second() -> None:
    script = (
        "import sys, time, torch; began = time.process_time()\n"
        "from jobs.sample_images import SAMPLING, main; from pipeline.command import job\n"
        "try: job.run(main, SAMPLING, ['digits', '--help'])\n"
        "except SystemExit: pass\n"
        "heavy = {'ray', 'mlflow', 'transformers', 'sklearn', 'scipy', 'matplotlib', 'torchvision', 'pandas'}\n"
        "import pipeline.tracking.mlflow_server; assert not heavy & sys.modules.keys(), heavy & sys.modules.keys()\n"
        "print(time.process_time() - began, file=sys.stderr)"
    )
    done = subprocess.run([sys.executable, "-c", script], cwd=REPOSITORY, capture_output=True, text=True, check=True)
    assert float(done.stderr) < 1


@pytest.mark.ray
def test_bad_input_is_found_wherever_ray_has_wrapped_it(ray_here: str, tmp_path: Path) -> None:
    answer = "no codes at s3://nowhere: give --codes"

    def refuse(*_: object) -> NoReturn:
        raise BadInput(answer)

    def fail_to_read(*_: object) -> NoReturn:
        raise StoreError(answer)

    def break_down() -> None:
        try:
            refuse()
        except BadInput:
            raise RuntimeError("a defect") from None

    class Refuse:
        def __init__(self) -> None:
            refuse()

        def __call__(self, batch: dict) -> dict:
            return batch

    import ray
    from ray.train import RunConfig, ScalingConfig
    from ray.train.v2.api.data_parallel_trainer import DataParallelTrainer

    one = ray.data.ActorPoolStrategy(size=1)
    scaling, folder = ScalingConfig(num_workers=1), RunConfig(storage_path=str(tmp_path))
    works = {
        "task": lambda: ray.get(ray.remote(refuse).remote()),
        "map": lambda: ray.data.range(1).map(refuse).materialize(),
        "a store in a map": lambda: ray.data.range(1).map(fail_to_read).materialize(),
        "actor": lambda: ray.data.range(1).map_batches(Refuse, batch_size=1, compute=one).materialize(),
        "train": lambda: DataParallelTrainer(refuse, scaling_config=scaling, run_config=folder).fit(),
    }
    for name, work in works.items():
        with pytest.raises(Exception, match="nowhere") as caught:
            work()
        assert str(command_job.bad_input(caught.value)) == answer, name
    with pytest.raises(RuntimeError) as caught:
        ray.get(ray.remote(break_down).remote())
    assert command_job.bad_input(caught.value) is None
