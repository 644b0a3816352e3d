"""Train the generator, BAR, on codes: its input is read and checked before any work starts."""

import numpy as np
from jaxtyping import Int32

from bar_model.checkpoint import fingerprint_of
from bar_model.errors import BadInput
from bar_model.memory import readable_bytes
from pipeline.codes.folder import first_codes, open_codes, read_codes
from pipeline.codes.mapped import MappedCodes
from pipeline.codes.table import Codes
from pipeline.execution.manifest import Inputs
from pipeline.storage import local_copy
from pipeline.tracking.run import Run
from pipeline.training.fit import expect_checkpoint, fit
from pipeline.training.learners.generator import CodeSource, GeneratorLearner, TrainConfig
from pipeline.training.learners.learner import Training
from pipeline.training.output import GENERATOR_STAGE, Trained


def train(config: TrainConfig, run: Run | None = None) -> Trained:
    """Trains the generator inside a Ray session, from its last checkpoint where there is one.

    Raises:
        BadInput: as `prepare` and `fit` raise it.
    """
    return fit(prepare(config, run), run)


def prepare(config: TrainConfig, run: Run | None = None) -> Training:
    """Reads the codes that the generator is trained on.

    Raises:
        BadInput: the codes, held-out codes, tokenizer and model do not fit each other.
    """
    expect_checkpoint(config)
    maker = fingerprint_of(local_copy(config.tokenizer)) if config.tokenizer else None
    _, manifest, metadata = open_codes(config.codes)
    data = {"codes": _source(config, config.codes, maker)}
    version = manifest.fingerprint
    if config.held_out is not None:
        data["held_out"] = _source(config, config.held_out, metadata.tokenizer)
    if run is not None:
        run.input("codes", config.codes, version)
    recipe = {
        **config.recipe(besides=("codes", "held_out", "codes_cache", "tokenizer")),
        "codes": version,
        "tokenizer": metadata.tokenizer,
    }
    inputs = Inputs(manifest.rows, version)
    return Training(
        stage=GENERATOR_STAGE, config=config, build=GeneratorLearner, data=data, recipe=recipe, inputs=inputs
    )


def _source(config: TrainConfig, url: str, tokenizer: str | None) -> CodeSource:
    """The codes of a folder, in memory or mapped, once they are found to fit the model."""
    _, manifest, metadata = open_codes(url)
    shape, wanted, num_classes = metadata.shape, config.model.codes, config.model.num_classes
    if shape != wanted:
        raise BadInput(
            f"{url} holds {shape.grid} × {shape.grid} tokens of {shape.bits} bits an image, but the model is for "
            f"{wanted.grid} × {wanted.grid} of {wanted.bits}: choose the preset or the codes to fit"
        )
    if not manifest.rows:
        raise BadInput(f"{url} holds no images: tokenize some first")
    if config.codes_cache is not None:
        source = MappedCodes.of(url, config.codes_cache, expect_tokenizer=tokenizer)
    else:
        check_object_store_fits(url, manifest.rows * metadata.num_bytes)
        table = read_codes(url, expect_tokenizer=tokenizer)
        source = Codes(table.labels, table.codes)
    _check_labels(url, source.opened().labels, num_classes)
    return source


def _check_labels(url: str, labels: Int32[np.ndarray, " rows"], num_classes: int) -> None:
    outside = np.flatnonzero((labels < 0) | (labels >= num_classes))
    if len(outside):
        row = int(outside[0])
        key = first_codes(url, row + 1).keys[row]
        raise BadInput(
            f"{url} has label {labels[row]} in row {row:,} ({key}; {len(outside):,} of {len(labels):,} rows are such), "
            f"but the model has {num_classes} classes, 0 to {num_classes - 1}: choose model.num_classes, or tokenize "
            "the images with their right labels"
        )


def check_object_store_fits(url: str, num_bytes: int) -> None:
    """Checks that codes fit into Ray's object store: else Ray would move them to the disk and back, again and again.

    Raises:
        BadInput: they do not fit.
    """
    import ray

    if not ray.is_initialized():
        return
    room = min(node["Resources"].get("object_store_memory", 0) for node in ray.nodes() if node["Alive"])
    if num_bytes > room:
        raise BadInput(
            f"{url} is {readable_bytes(num_bytes)} of codes, but Ray's object store has room for "
            f"{readable_bytes(int(room))}: name a folder on the workers' disks (codes_cache), to be mapped from there"
        )
