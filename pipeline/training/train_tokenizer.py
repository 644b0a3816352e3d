"""Train the tokenizer, BAR-FSQ, on images: its input is read and checked before any work starts."""

import torch

from bar_model import checkpoint
from bar_model.errors import BadInput
from pipeline.execution.manifest import Manifest, claimed_configuration
from pipeline.pretrained.tokenizer_losses import fingerprints, load_frozen_networks, load_siglip
from pipeline.storage import Folder
from pipeline.tracking.run import Run
from pipeline.training.fit import expect_checkpoint, fit
from pipeline.training.learners.image_loader import ImageListing, TrainingImages, list_images, open_images
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
    pictures = _settled_digest(config, listing)
    # The workers load the networks again. Here it shows what is missing before any worker starts.
    networks = fingerprints(load_frozen_networks(config.networks, config.loss, config.model, torch.device("cpu")))
    if config.model.encoder.frozen_embeddings and "siglip" not in networks:
        networks["siglip"] = checkpoint.fingerprint(load_siglip(config.networks.siglip, config.model))
    load_rfid_network(config, torch.device("cpu"))
    data = {"pictures": _opened(config, config.source)}
    if config.held_out is not None:
        data["held_out"] = _opened(config, config.held_out)
    recipe = {
        **config.recipe(besides=("source", "source_moved", "held_out", "networks", "rfid", "memory_gb")),
        "pictures": pictures,
    }
    if networks:
        recipe["networks"] = networks
    return Training(
        stage=TOKENIZER_STAGE, config=config, build=TokenizerLearner, data=data, recipe=recipe, inputs=listing.inputs
    )


def _settled_digest(config: TrainTokenizerConfig, listing: ImageListing) -> str:
    """The digest of the pictures by which `config.out` knows them, if it has been begun.

    Raises:
        BadInput: it was begun with other pictures.
    """
    out, found = Folder(config.out), listing.inputs
    claimed = claimed_configuration(out, TOKENIZER_STAGE)
    begun = claimed.get("pictures", found.digest) if claimed is not None else found.digest
    if begun == found.digest:
        return begun
    if not config.source_moved:
        raise BadInput(
            f'{config.out} was made with another configuration (pictures: "{begun}" there, "{found.digest}" here, by '
            "names, sizes and times): if they are the same, moved or copied, give --source-moved; else choose another "
            "output folder"
        )
    published = Manifest.newest(out)
    if published is not None and published.inputs.num != found.num:
        raise BadInput(
            f"{config.source} has {found.num:,} pictures, but {config.out} was trained on {published.inputs.num:,}: "
            "name the place where all of them lie now"
        )
    return begun


def _opened(config: TrainTokenizerConfig, url: str) -> TrainingImages:
    listing = list_images(url)
    images, broken = open_images(listing, config.model.image_size, memory_gb=config.memory_gb)
    if broken:
        num = f"{len(broken):,} of {len(listing.keys):,} images"
        print(f"{url}: {num} can't be used; the next images take their places ({broken[0]}, …)", flush=True)
    return images
