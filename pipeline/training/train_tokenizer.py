"""Train the tokenizer, BAR-FSQ, on images: its input is read and checked before any work starts."""

import torch

from bar_model import checkpoint
from pipeline.pretrained.tokenizer_losses import fingerprints, load_frozen_networks, load_siglip
from pipeline.tracking.run import Run
from pipeline.training.fit import expect_checkpoint, fit
from pipeline.training.learners.image_loader import TrainingImages, list_images, open_images
from pipeline.training.learners.learner import Training
from pipeline.training.learners.tokenizer import TokenizerLearner, TrainTokenizerConfig, load_rfid_network
from pipeline.training.output import TOKENIZER_STAGE, Trained


def train_tokenizer(config: TrainTokenizerConfig, run: Run | None = None) -> Trained:
    """Trains the tokenizer inside a Ray session, from its last checkpoint where there is one.

    Raises:
        BadInput: as `prepare` and `fit` raise it.
    """
    return fit(prepare(config, run), run)


def prepare(config: TrainTokenizerConfig, run: Run | None = None) -> Training:
    """Lists the images, decodes them if they fit into memory, and checks the frozen networks.

    Raises:
        BadInput: there are no images, or no weights for a frozen network that the losses need.
    """
    expect_checkpoint(config)
    listing = list_images(config.source)
    if run is not None:
        run.input("pictures", config.source, listing.inputs.digest)
    # The workers load the networks again. Here it shows what is missing before any worker starts.
    networks = fingerprints(load_frozen_networks(config.networks, config.loss, config.model, torch.device("cpu")))
    if config.model.encoder.frozen_embeddings and "siglip" not in networks:
        networks["siglip"] = checkpoint.fingerprint(load_siglip(config.networks.siglip, config.model))
    load_rfid_network(config, torch.device("cpu"))
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


def _opened(config: TrainTokenizerConfig, url: str) -> TrainingImages:
    listing = list_images(url)
    images, broken = open_images(listing, config.model.image_size, memory_gb=config.memory_gb)
    if broken:
        num = f"{len(broken):,} of {len(listing.keys):,} images"
        print(f"{url}: {num} can't be used; the next images take their places ({broken[0]}, …)", flush=True)
    return images
