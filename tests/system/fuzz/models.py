"""Models and checkpoints: folders of a model, published files, and the state that a training left."""

import hashlib
import io
import json
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from random import Random

import torch

from bar_model import checkpoint
from bar_model.configuration import plain
from bar_model.errors import BadInput
from bar_model.published.checkpoint import import_published, read_published
from pipeline.execution.manifest import STAGE_FILE, open_stage
from pipeline.storage import Folder
from pipeline.training.checkpoints.listing import FOLDER, checkpoint_name, tidy
from pipeline.training.checkpoints.state import Snapshot
from pipeline.training.export import read_model
from pipeline.training.output import GENERATOR_STAGE
from pipeline.training.ray_train_internals import LIST_FILE
from pipeline.training.step.ranks import Ranks
from tests.harness.drawn import make_tokenizer
from tests.harness.tiny import make_bar, tiny_config
from tests.system.fuzz.damage import bytes_damaged, json_damaged, text_damaged
from tests.system.fuzz.door import Damage, Door, MakeDoor, demand, of_several
from tests.system.fuzz.structures import safetensors_damaged

_JSON = of_several(text_damaged, bytes_damaged, json_damaged, json_damaged, json_damaged)
_SAFETENSORS = of_several(bytes_damaged, safetensors_damaged, safetensors_damaged)


def pickle_damaged(chance: Random, original: bytes, originals: Sequence[bytes]) -> bytes:
    """A PyTorch file with a damaged pickle or storage, every checksum right."""
    with zipfile.ZipFile(io.BytesIO(original)) as archive:
        members = [(info, archive.read(info)) for info in archive.infolist()]
    pickles = [place for place, (info, _) in enumerate(members) if info.filename.endswith("data.pkl")]
    place = chance.choice((*pickles, *pickles, *pickles, chance.randrange(len(members))))
    sink = io.BytesIO()
    with zipfile.ZipFile(sink, "w") as archive:
        for at, (info, data) in enumerate(members):
            archive.writestr(info.filename, bytes_damaged(chance, data, [data]) if at == place else data)
    return sink.getvalue()


def _model_folder(make_model: Callable[[], checkpoint.Model], name: str, damage: Damage) -> MakeDoor:
    """A file of a model's folder."""

    def make(place: Path) -> Door:
        torch.manual_seed(0)
        model = make_model()
        checkpoint.save(model, place / "model")
        path = place / "model" / name
        fingerprint = checkpoint.fingerprint(model)

        def enter(data: bytes, original: bytes) -> int:
            path.write_bytes(data)
            loaded = checkpoint.load(place / "model")
            found = checkpoint.fingerprint(loaded)
            demand(data != original or found == fingerprint, "other weights")
            demand(found == checkpoint.fingerprint_of(place / "model"), "loaded, the weights are others")
            return len(loaded.state_dict())

        return Door([path.read_bytes()], damage, enter)

    return make


def _published_file(state: dict[str, torch.Tensor], enter: Callable[[Path], int]) -> MakeDoor:
    """A PyTorch file of named tensors."""

    def make(place: Path) -> Door:
        torch.save(state, place / "model.bin")

        def enter_damaged(data: bytes, original: bytes) -> int:
            (place / "damaged.bin").write_bytes(data)
            return enter(place / "damaged.bin")

        damage = of_several(bytes_damaged, pickle_damaged, pickle_damaged)
        return Door([(place / "model.bin").read_bytes()], damage, enter_damaged)

    return make


def _enter_state(file: Path) -> int:
    """Every number of every tensor, so that one which lies outside of the file would show."""
    return sum(int(tensor.to_dense().isnan().sum() >= 0) for tensor in read_published(file).values())


def _enter_tokenizer(file: Path) -> int:
    """As far as a tokenizer of which all but two keys are missing can be read: the sound file is refused for that."""
    try:
        import_published(read_published(file))
    except BadInput as error:
        if "missing: decoder.class_embedding, " not in str(error):
            raise
    return 1


def _training(damaged: str, damage: Damage) -> MakeDoor:
    """What a training goes on from: its claim, Ray Train's list, a rank's document, or its tensors."""

    def make(place: Path) -> Door:
        config = tiny_config()
        model, out = make_bar(config), Folder(str(place / "out"))
        open_stage(out, GENERATOR_STAGE, {"model": plain(config)})
        name = checkpoint_name(1, "a")
        snapshot = Snapshot(Ranks())
        snapshot.take({f"train/model/{key}": tensor for key, tensor in model.state_dict().items()}, {"step": 1})
        snapshot.write(out / FOLDER / name)
        results = [{"checkpoint_dir_name": name, "metrics": {"step": 1, "score": 0.5}}]
        listing = {
            "checkpoint_results": results,
            "checkpoint_report_indices": [0],
            "latest_checkpoint_result": results[0],
        }
        (out / FOLDER).write(LIST_FILE, json.dumps(listing).encode())
        path = next(Path(out.url).rglob(damaged))
        document_path = next(Path(out.url).rglob("rank-*.json"))
        document = document_path.read_bytes()

        def enter(data: bytes, original: bytes) -> int:
            path.write_bytes(data)
            if path.suffix == ".safetensors":  # The document names its size and checksum: damage has to get past it.
                said = json.loads(document)
                said["files"][0] = [path.name, len(data), hashlib.sha256(data).hexdigest()]
                document_path.write_text(json.dumps(said))
            found, _ = read_model(out, name)
            demand(data != original or checkpoint.fingerprint(found) == checkpoint.fingerprint(model), "other weights")
            tidy(out)
            demand((out / FOLDER).exists(name), "a sound checkpoint was removed")
            return len(found.state_dict())

        return Door([path.read_bytes()], damage, enter)

    return make


_STATE = {
    "a.weight": torch.arange(12.0).reshape(3, 4),
    "b": torch.arange(5.0).double(),
    "c": torch.ones(2, 3).t().bfloat16(),
}
_TOKENIZER = {"quantize.in_proj.bias": torch.ones(2), "decoder.positional_embedding": torch.ones(5, 3)}


def _tiny_bar() -> checkpoint.Model:
    return make_bar(tiny_config())


MODELS: dict[str, MakeDoor] = {
    "trainings, claim": _training(STAGE_FILE, _JSON),
    "generators, config": _model_folder(_tiny_bar, "config.json", _JSON),
    "tokenizers, config": _model_folder(make_tokenizer, "config.json", _JSON),
    "models, safetensors": _model_folder(_tiny_bar, "model.safetensors", _SAFETENSORS),
    "published files": _published_file(_STATE, _enter_state),
    "published tokenizers": _published_file(_TOKENIZER, _enter_tokenizer),
    "trainings, list": _training(LIST_FILE, _JSON),
    "trainings, document": _training("rank-*.json", _JSON),
    "trainings, tensors": _training("*.safetensors", _SAFETENSORS),
}
