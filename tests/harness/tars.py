"""Tars as they are stored for a test, member by member."""

import io
import tarfile
from collections.abc import Iterable, Mapping

LINKS = {"hard": tarfile.LNKTYPE, "symbolic": tarfile.SYMTYPE, "pipe": tarfile.FIFOTYPE, "device": tarfile.CHRTYPE}


def tar(
    members: dict[str, bytes] | list[tuple[str, bytes]],
    links: Mapping[str, str] | None = None,
    *,
    kind: str = "symbolic",
    form: int = tarfile.DEFAULT_FORMAT,
) -> bytes:
    """A tar of these members in their order, then of links by the names of their targets, all of one `kind`."""
    sink = io.BytesIO()
    with tarfile.open(fileobj=sink, mode="w", format=form) as archive:
        pairs: Iterable[tuple[str, bytes]] = members.items() if isinstance(members, dict) else members
        for name, data in pairs:
            info = tarfile.TarInfo(name)
            info.size = len(data)
            archive.addfile(info, io.BytesIO(data))
        for name, target in (links or {}).items():
            info = tarfile.TarInfo(name)
            info.type, info.linkname = LINKS[kind], target
            archive.addfile(info)
    return sink.getvalue()
