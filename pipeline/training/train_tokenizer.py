"""Train BAR-FSQ on pictures: what it learns from is read and checked before any work starts."""

import torch

from bar_model import checkpoint
from pipeline.pretrained.tokenizer_losses import fingerprints, load_frozen_networks, load_siglip
from pipeline.tracking.run import Run
from pipeline.training.fit import expect_checkpoint, fit
from pipeline.training.learners.image_loader import Pictures, list_pictures, open_pictures
from pipeline.training.learners.learner import Training
from pipeline.training.learners.tokenizer import TokenizerLearner, TrainTokenizerConfig, load_rfid_inception
from pipeline.training.output import TOKENIZER_STAGE, Trained


def train_tokenizer(config: TrainTokenizerConfig, run: Run | None = None) -> Trained:
    """Train the tokenizer, inside a Ray session; what is done already is not done again.

    Raises:
        BadInput: as `prepare`, or `out` is another training's.
    """
    return fit(prepare(config, run), run)


def prepare(config: TrainTokenizerConfig, run: Run | None = None) -> Training:
    """Look at what the tokenizer learns from.

    Raises:
        BadInput: no pictures, or no weights for a frozen network that the losses want.
    """
    expect_checkpoint(config)
    listing = list_pictures(config.source)
    if run is not None:
        run.input("pictures", config.source, listing.inputs.digest)
    # Here too, and not in the workers alone: what is missing is to be said before any of them starts.
    networks = fingerprints(load_frozen_networks(config.networks, config.loss, config.model, torch.device("cpu")))
    if config.model.encoder.frozen_embeddings and "siglip" not in networks:
        networks["siglip"] = checkpoint.fingerprint(load_siglip(config.networks.siglip, config.model))
    load_rfid_inception(config, torch.device("cpu"))
    data = {"pictures": _opened(config, config.source)}
    if config.held_out is not None:
        data["held_out"] = _opened(config, config.held_out)
    recipe = {
        **config.recipe(besides=("source", "held_out", "networks", "rfid", "memory_gb")),
        "pictures": listing.inputs.digest,
    }
    if networks:
        recipe["networks"] = networks
    return Training(
        stage=TOKENIZER_STAGE, config=config, build=TokenizerLearner, data=data, recipe=recipe, inputs=listing.inputs
    )


def _opened(config: TrainTokenizerConfig, url: str) -> Pictures:
    listing = list_pictures(url)
    pictures, broken = open_pictures(listing, config.model.image_size, memory_gb=config.memory_gb)
    if broken:
        num = f"{len(broken):,} of {len(listing.keys):,} pictures"
        print(f"{url}: {num} can't be used; the next ones take their places ({broken[0]}, …)", flush=True)
    return pictures
