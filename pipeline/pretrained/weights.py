"""Weights of networks that others have trained: from a path, a URL, or the hub that their library downloads from."""

import hashlib
import pickle
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import NamedTuple, TypeVar

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import Tensor, nn

from bar_model.errors import BadInput
from pipeline.storage import local_copy

Network = TypeVar("Network", bound=nn.Module)
Loaded = TypeVar("Loaded")


def read_weights(path: Path) -> Mapping[str, Tensor]:
    """The tensors of a file, by name. Nothing else is unpickled."""
    return load_file(path) if path.suffix == ".safetensors" else torch.load(path, map_location="cpu", weights_only=True)


class RequiredWeights(NamedTuple):
    """Weights that a user provides or that are downloaded."""

    field: str
    """The field of the configuration that says where they are."""
    origin: str
    """Where they can be downloaded."""

    def get(self, source: str | None, read: Callable[[Path], Loaded], download: Callable[[], Loaded]) -> Loaded:
        """The weights that `read` finds at the source or, if that is None, that `download` gives.

        Raises:
            BadInput: they can't be loaded; the message says which are required, and from where.
        """
        try:
            return download() if source is None else read(local_copy(source))
        except (OSError, RuntimeError, BadInput, pickle.UnpicklingError, SafetensorError) as error:
            reason = str(error).partition("\n")[0]
            place = source or "the hub"
            raise BadInput(f"no {self.field} weights from {place} ({reason}); {self._remedy}") from error

    def fill(self, network: Network, weights: Mapping[str, Tensor]) -> Network:
        """The network with these weights, frozen.

        Raises:
            BadInput: the weights are those of another network.
        """
        try:
            network.load_state_dict(weights, assign=True)
        except RuntimeError as error:
            reason = " ".join(str(error).split())[:200]
            raise BadInput(f"the {self.field} weights are another network's ({reason} …); {self._remedy}") from error
        return network.eval().requires_grad_(False)

    def check(self, path: Path, sha256: str) -> None:
        """Checks that a file is the required one.

        Raises:
            BadInput: its SHA-256 is another.
        """
        with path.open("rb") as file:
            found = hashlib.file_digest(file, "sha256").hexdigest()
        if found != sha256:
            raise BadInput(f"{path} has SHA-256 {found[:16]}…, not {sha256[:16]}…; {self._remedy}")

    @property
    def _remedy(self) -> str:
        return f"download {self.origin} and give its path as networks.{self.field}"
