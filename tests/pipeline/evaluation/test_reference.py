"""References: moments and pictures, what they lack, and what is wrong with one."""

from pathlib import Path

import numpy as np
import pytest

from bar_model.errors import BadInput
from pipeline.evaluation.fid_protocol import measure_samples
from pipeline.evaluation.reference import check_reference, open_reference
from pipeline.features.folder import Summary
from pipeline.images.codec import to_png
from pipeline.metrics.frechet import frechet_distance, moments
from tests.harness.trap import Trap

RNG = np.random.default_rng(0)
IMAGES = RNG.integers(0, 256, (23, 8, 8, 3), dtype=np.uint8)
MEAN, COVARIANCE = np.arange(4.0), np.diag(np.arange(1.0, 5.0))


def test_a_reference_measures_what_it_has_and_says_what_it_has_not(tmp_path: Path) -> None:
    pool3, spatial = {"mu": MEAN, "sigma": COVARIANCE}, {"mu_s": MEAN + 1, "sigma_s": COVARIANCE}
    path = str(tmp_path / "a.npz")
    for arrays, ready, computed, missing in [
        ({**pool3, **spatial, "arr_0": IMAGES}, {"pool3", "spatial"}, set(), []),
        (pool3, {"pool3"}, set(), ["no mu_s, sigma_s: no sFID", "no arr_0: no precision, recall, KID"]),
        ({**pool3, "arr_0": IMAGES}, {"pool3"}, set(), ["no mu_s, sigma_s: no sFID"]),
        ({**spatial, "arr_0": IMAGES}, {"spatial"}, set(), ["no mu, sigma: no FID"]),
        ({"arr_0": IMAGES}, set(), {"pool3", "spatial"}, []),
    ]:
        np.savez(path, **arrays)
        reference = open_reference(path, 8)
        assert set(reference.moments) == ready
        assert set(reference.to_compute) == computed
        assert len(reference.missing) == len(missing)
        for words, sentence in zip(missing, reference.missing, strict=True):
            assert words in sentence
        if "spatial" in ready:
            np.testing.assert_array_equal(reference.moments["spatial"].mean, MEAN + 1)


def test_moments_that_are_none_are_refused(tmp_path: Path) -> None:
    path = str(tmp_path / "a.npz")
    crooked = COVARIANCE.copy()
    crooked[0, 1] = 1
    for arrays, message in [
        ({"mu": MEAN, "sigma": COVARIANCE[:3]}, "no mean and covariance"),
        ({"mu": MEAN, "sigma": crooked}, "no mean and covariance"),
        ({"mu": MEAN * np.nan, "sigma": COVARIANCE}, "no mean and covariance"),
        ({"mu": np.array([Trap()], object), "sigma": COVARIANCE}, "holds no numbers"),
        ({"other": MEAN}, "holds none of arr_0, mu and sigma, only other"),
    ]:
        np.savez(path, **arrays)
        with pytest.raises(BadInput, match=message):
            open_reference(path, 8)
    found = moments(RNG.normal(size=(9, 4)).astype(np.float32))
    np.savez(path, mu=found.mean.astype(np.float32), sigma=found.covariance.astype(np.float32))
    assert open_reference(path, 8).moments["pool3"].covariance.dtype == np.float64


WIDE = {"mu": np.zeros(2048), "sigma": np.eye(2048)}


@pytest.mark.parametrize(
    ("arrays", "told"),
    [
        ({"mu": np.zeros(64), "sigma": np.eye(64)}, "mu has 64 dimensions, but pool3 of Inception-v3 has 2,048"),
        ({**WIDE, "mu_s": np.zeros(64), "sigma_s": np.eye(64)}, "mu_s has 64 dimensions, but spatial .* has 2,023"),
        ({"arr_0": IMAGES[:1]}, "holds 1 picture: a distribution is compared with, which takes at least 2"),
        ({"mu": np.zeros(0), "sigma": np.zeros((0, 0))}, "no mean and covariance"),
        ({"mu": np.zeros(4, complex), "sigma": np.eye(4)}, "holds no numbers, but complex128 and float64"),
        ({"mu": np.array(["a"] * 4), "sigma": np.eye(4)}, "holds no numbers, but <U1"),
        ({"mu": np.zeros((4, 1)), "sigma": np.eye(4)}, "no mean and covariance"),
        ({"mu": MEAN, "sigma": COVARIANCE + np.inf}, "no mean and covariance"),
    ],
)
def test_a_reference_that_can_not_be_compared_with_is_refused_before_work(
    tmp_path: Path, arrays: dict[str, np.ndarray], told: str
) -> None:
    url = str(tmp_path / "a.npz")
    np.savez(url, **arrays)  # pyright: ignore[reportArgumentType]
    with pytest.raises(BadInput, match=rf"a\.npz.*{told}"):
        check_reference(url, open_reference(url, 8))


def test_a_damaged_reference_is_refused_before_work(tmp_path: Path) -> None:
    file = tmp_path / "a.npz"
    for arrays in ({"arr_0": IMAGES}, WIDE):
        np.savez(file, **arrays)  # pyright: ignore[reportArgumentType]
        data = bytearray(file.read_bytes())
        data[len(data) // 2] ^= 1
        file.write_bytes(data)
        with pytest.raises(BadInput, match=r"a\.npz is no npz file, or damaged \(Bad CRC-32"):
            check_reference(str(file), open_reference(str(file), 8))
    np.savez(file, **WIDE, arr_0=IMAGES)
    check_reference(str(file), open_reference(str(file), 8))


def test_the_distance_is_measured_where_the_reference_is_of_pictures_alone(tmp_path: Path) -> None:
    rng = np.random.default_rng(0)
    drawn, real = rng.normal(size=(2, 20, 4))
    logits = {"logits": rng.normal(size=(20, 8)).astype(np.float32)}
    sets = [Summary((), {"dinov2": moments(some)}, features) for some, features in ((drawn, logits), (real, {}))]
    assert measure_samples(*sets)["fd_dinov2"] == frechet_distance(*(each.moments["dinov2"] for each in sets))
    needed = ("pool3", "spatial", "dinov2")
    (tmp_path / "pictures" / "a").mkdir(parents=True)
    (tmp_path / "pictures" / "a" / "0.png").write_bytes(to_png(IMAGES[0]))
    reference = open_reference(str(tmp_path / "pictures"), 8, needed)
    assert (reference.to_compute, reference.missing) == (needed, ())
    np.savez(tmp_path / "a.npz", arr_0=IMAGES, mu=np.zeros(2), sigma=np.eye(2))
    reference = open_reference(str(tmp_path / "a.npz"), 8, needed)
    assert any("no FD-DINOv2" in reason for reason in reference.missing)
    assert not any("DINOv2" in reason for reason in open_reference(str(tmp_path / "a.npz"), 8).missing)
