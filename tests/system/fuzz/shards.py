"""This project's own binary files, as another machine, disk or hand may have left them.

A manifest names the SHA-256 of its files, so most damage to them is found by that. To get behind it, the manifest is
written anew for each damaged file, as its owner could.
"""

import hashlib
import io
import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np

from bar_model.bits import CodeShape
from bar_model.configuration import plain
from bar_model.generator.sampling import Sampling
from pipeline.codes.folder import read_codes, verify
from pipeline.codes.plan_files import Plan, PlanWriter, read_plans, read_unit, stream_part, write_aside
from pipeline.codes.shard import read_notes
from pipeline.evaluation.image_sets import open_image_set
from pipeline.evaluation.reference import open_reference
from pipeline.execution.manifest import FileEntry, Inputs, Manifest, Quarantined
from pipeline.execution.quarantine import read_quarantine, write_quarantine
from pipeline.execution.records import Records
from pipeline.features.folder import FeatureFolder
from pipeline.features.shard import FeatureShard, encode_features
from pipeline.images.source import ListedImage
from pipeline.samples.encoding import Keeping
from pipeline.samples.folder import STAGE as SAMPLE_STAGE
from pipeline.samples.folder import read_samples
from pipeline.samples.shard import Drawing, encode_samples
from pipeline.storage import Folder
from tests.harness.code_folders import small_table, write_codes
from tests.system.fuzz.damage import bytes_damaged
from tests.system.fuzz.door import Damage, Door, MakeDoor, demand, of_several
from tests.system.fuzz.structures import footer_damaged, npz_damaged, pages_damaged, safetensors_damaged, table_damaged

ROWS, SIZE = 6, 8
RNG_SEED = 0
_TABLES = of_several(bytes_damaged, pages_damaged, footer_damaged, table_damaged, table_damaged)


def _behind_a_manifest(
    write: Callable[[str], Manifest], damage: Damage, enter: Callable[[str, bool], int], *, is_quarantine: bool = False
) -> MakeDoor:
    """A finished folder whose first file, or the table of its quarantine, is damaged. `enter` learns if it is sound."""

    def make(place: Path) -> Door:
        url = str(place / "folder")
        manifest = write(url)
        folder = Folder(url)
        entry = manifest.quarantine if is_quarantine else manifest.files[0]
        assert entry is not None
        original = folder.read(entry.name)

        def enter_damaged(data: bytes, original: bytes) -> int:
            changed = entry._replace(bytes=len(data), sha256=hashlib.sha256(data).hexdigest())
            if is_quarantine:
                here = replace(manifest, quarantine=changed)
            else:
                here = replace(manifest, files=(changed, *manifest.files[1:]))
            Path(folder.path(entry.name)).write_bytes(data)
            Path(folder.path(manifest.name)).write_bytes(here.encode())
            return enter(url, data == original)

        return Door([original], damage, enter_damaged)

    return make


def write_small_codes(url: str) -> Manifest:
    """A folder of codes of two shards."""
    return write_codes(url, small_table(2 * ROWS), unit_size=ROWS)


def enter_codes(url: str, is_sound: bool) -> int:
    """Reads codes as a training does; `--verify` has to agree with it."""
    problems = verify(url)
    folder = Folder(url)
    for entry in folder.list("codes-*.parquet"):
        read_notes(folder, entry.name)
    try:
        codes = read_codes(url)
    except Exception:
        demand(bool(problems), "verify finds nothing wrong, but the codes can't be read")
        raise
    demand(not problems, f"read, though verify says: {problems[:1]}")
    rows = Manifest.read(folder).rows
    demand(len(codes.keys) == len(codes.labels) == len(codes.codes) == rows, f"{len(codes.keys)} of {rows} rows")
    if is_sound:
        demand(np.array_equal(codes.codes, small_table(2 * ROWS).codes), "other codes")
    return len(codes.keys)


def write_small_features(url: str) -> Manifest:
    """A folder of features of two shards."""
    rng = np.random.default_rng(RNG_SEED)
    shards = []
    for start in (0, ROWS):
        features = {name: rng.normal(size=(ROWS, dims)).astype(np.float32) for name, dims in (("pool3", 4), ("s", 3))}
        quarantined = (Quarantined("k", "there", "why"),) if start else ()
        shards.append(
            encode_features(FeatureShard(tuple(f"k{start + row}" for row in range(ROWS)), features, quarantined))
        )
    return _published(url, "features", "features-{}.safetensors", shards, {"networks": {}})


def enter_features(url: str, is_sound: bool) -> int:
    """Reads features as an evaluation does."""
    summary = FeatureFolder.open(url).summary(("pool3",), ("pool3", "s"))
    rows = Manifest.read(Folder(url)).rows
    demand(len(summary.keys) == len(summary.features["s"]) == rows, f"{len(summary.keys)} of {rows} rows")
    return len(summary.keys)


def small_samples(keeping: Keeping) -> Callable[[str], Manifest]:
    """Writes a folder of samples of two shards, with features."""

    def write(url: str) -> Manifest:
        drawing = Drawing(
            generator="g" * 16,
            tokenizer="t" * 16,
            codes=CodeShape(grid=4, bits=6),
            image_size=SIZE,
            seed=0,
            labels="cyclic, 0 to 4",
            batch_size=4,
            precision="float32",
            device="cpu",
            sampling=Sampling(guidance_scale=2.0, temperature=1.0, allocation=(6,)),
        )
        rng = np.random.default_rng(RNG_SEED)
        shards = []
        for start in (0, ROWS):
            row = {
                "indices": np.arange(start, start + ROWS),
                "labels": np.arange(ROWS, dtype=np.int32) % 5,
                "images": rng.integers(0, 256, (ROWS, SIZE, SIZE, 3), dtype=np.uint8),
                "codes": rng.integers(0, 256, (ROWS, 12), dtype=np.uint8),
                "features.pool3": rng.normal(size=(ROWS, 4)).astype(np.float32),
            }
            shards.append(encode_samples(row, drawing, keeping))
            for name, data in keeping.beside(row):
                Folder(url).write(name, data)
        return _published(url, SAMPLE_STAGE, "samples-{}.parquet", shards, {"drawing": plain(drawing), "features": {}})

    return write


def enter_samples(url: str, is_sound: bool) -> int:
    """Reads samples as an evaluation does: images, then features, unit by unit."""
    samples = read_samples(url)
    rows = Manifest.read(Folder(url)).rows
    demand(samples.images.shape == (rows, SIZE, SIZE, 3), f"{samples.images.shape} for {rows} rows")
    image_set = open_image_set(url, SIZE)
    for unit in image_set.plan():
        rows = image_set.read(unit)
        demand(len(rows["images"]) == unit.size == len(Records.from_json(rows["records"]).keys), "rows of a unit")
        features = image_set.read_features(unit)  # pyright: ignore[reportAttributeAccessIssue]
        demand(len(features["features.pool3"]) == unit.size, "features of a unit")
    return len(samples.images)


def _write_quarantine(url: str) -> Manifest:
    items = tuple(Quarantined(f"k{row}", f"there/{row}", "why", passing=row == 1) for row in range(ROWS))
    table = write_quarantine(Folder(url), {"codes-0.parquet": items[:2], "codes-1.parquet": items[2:]})
    manifest = Manifest(
        stage="tokenize", generation=1, configuration={}, inputs=Inputs(ROWS, "d"), files=(), quarantine=table
    )
    return manifest.commit(Folder(url))


def _enter_quarantine(url: str, is_sound: bool) -> int:
    folder = Folder(url)
    num = sum(map(len, read_quarantine(folder, Manifest.read(folder)).values()))
    demand(num == ROWS, f"{num} of {ROWS} quarantined")
    return num


def _plan_parts(place: Path) -> Door:
    """A part of a plan, with units and a table of what is gone."""
    folder = Folder(str(place / "folder"))
    plan = write_plan(folder)
    name = plan.parts[0].name

    def enter(data: bytes, original: bytes) -> int:
        renamed = f"pictures-{hashlib.sha256(data).hexdigest()[:16]}.parquet"
        Path(folder.path(renamed)).write_bytes(data)
        Path(folder.path(plan.name)).write_bytes(plan.encode().replace(name.encode(), renamed.encode()))
        return enter_plans(folder)

    return Door([folder.read(name)], _TABLES, enter)


def write_plan(folder: Folder) -> Plan:
    """A sound plan with its tables: three units, and two pictures that are gone."""
    writer = PlanWriter(folder, 3)
    images = [ListedImage(f"class/{row:03d}.jpg", row, 1000 + row, "v", at=row) for row in range(7)]
    for image in images:
        writer.add(image)
    gone = write_aside(folder, images[:2])
    plan = Plan(number=1, unit_size=3, first_unit=0, parts=writer.close(), left_out=None, gone=gone)
    folder.write(plan.name, plan.encode())
    return plan


def enter_plans(folder: Folder) -> int:
    """Reads all plans as tokenizing does: by unit, and as streams."""
    num = 0
    for plan in read_plans(folder):
        by_unit = [image for unit in plan.units() for image in _sized(read_unit(folder, unit), unit.size)]
        streamed = [image for part in plan.parts for image in stream_part(folder, part)]
        demand(by_unit == streamed, f"{len(by_unit)} images in units, {len(streamed)} in parts")
        demand(len(streamed) == sum(part.pictures for part in plan.parts), f"{len(streamed)} images")
        for part in (plan.left_out, plan.gone):
            demand(
                part is None or len(list(stream_part(folder, part))) == part.pictures, "a table aside has other rows"
            )
        num += len(streamed)
    return num


def _sized(images: list[ListedImage], size: int) -> list[ListedImage]:
    demand(len(images) == size, f"a unit of {size} has {len(images)} images")
    return images


def _npz(**arrays: np.ndarray) -> bytes:
    sink = io.BytesIO()
    np.savez(sink, **arrays)  # pyright: ignore[reportArgumentType]
    return sink.getvalue()


def _arrays(place: Path) -> Door:
    """Images in an npz, as an evaluation takes them."""
    images = np.random.default_rng(RNG_SEED).integers(0, 256, (ROWS, SIZE, SIZE, 3), dtype=np.uint8)

    def enter(data: bytes, original: bytes) -> int:
        (place / "set.npz").write_bytes(data)
        image_set = open_image_set(str(place / "set.npz"), SIZE)
        num = 0
        for unit in image_set.plan():
            rows = image_set.read(unit)["images"]
            demand(rows.shape == (unit.size, SIZE, SIZE, 3), f"a unit of {unit.size} has {rows.shape}")
            num += len(rows)
            demand(num <= 100 * ROWS, "more images than the file has bytes")
        return num

    return Door(
        [_npz(arr_0=images), _npz(arr_0=images, arr_1=np.arange(ROWS))],
        of_several(bytes_damaged, npz_damaged, npz_damaged),
        enter,
    )


def _references(place: Path) -> Door:
    """Published moments in an npz, with images and without."""
    rng = np.random.default_rng(RNG_SEED)
    mean, root = rng.normal(size=4), rng.normal(size=(4, 4))
    moments = {"mu": mean, "sigma": root @ root.T}
    images = rng.integers(0, 256, (ROWS, SIZE, SIZE, 3), dtype=np.uint8)

    def enter(data: bytes, original: bytes) -> int:
        (place / "reference.npz").write_bytes(data)
        reference = open_reference(str(place / "reference.npz"), SIZE)
        for each in reference.moments.values():
            demand(
                bool(np.isfinite(each.mean).all() and np.isfinite(each.covariance).all()), "moments that are no numbers"
            )
        return len(reference.moments) + len(reference.missing)

    originals = [_npz(**moments), _npz(**moments, mu_s=mean, sigma_s=root @ root.T, arr_0=images)]
    return Door(originals, of_several(bytes_damaged, npz_damaged, npz_damaged), enter)


def _published(url: str, stage: str, name: str, files: list[bytes], configuration: dict) -> Manifest:
    folder = Folder(url)
    entries = []
    for index, data in enumerate(files):
        sha256 = hashlib.sha256(data).hexdigest()
        entries.append(FileEntry(name.format(index), f"{index}", ROWS, len(data), sha256))
        folder.write(entries[-1].name, data)
    inputs = Inputs(ROWS * len(files), "d" * 16)
    manifest = Manifest(
        stage=stage,
        generation=1,
        configuration=json.loads(json.dumps(configuration)),
        inputs=inputs,
        files=tuple(entries),
    )
    return manifest.commit(folder)


_SAFETENSORS = of_several(bytes_damaged, safetensors_damaged, safetensors_damaged)
SHARDS: dict[str, MakeDoor] = {
    "parts of plans": _plan_parts,
    "codes": _behind_a_manifest(write_small_codes, _TABLES, enter_codes),
    "features": _behind_a_manifest(write_small_features, _SAFETENSORS, enter_features),
    "samples as PNG": _behind_a_manifest(small_samples(Keeping(encoding="png")), _TABLES, enter_samples),
    "samples as pixels": _behind_a_manifest(small_samples(Keeping(encoding="raw")), _TABLES, enter_samples),
    "samples in files": _behind_a_manifest(small_samples(Keeping(encoding="webp", files=True)), _TABLES, enter_samples),
    "quarantine": _behind_a_manifest(_write_quarantine, _TABLES, _enter_quarantine, is_quarantine=True),
    "images in npz": _arrays,
    "references": _references,
}
