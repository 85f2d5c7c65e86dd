"""A campaign's results as a few files of limited size, to be carried off a machine, and back into a folder.

The runs' records are Parquet already (about 3 bytes a token); they go into one tar, cut into parts that `cat` joins
again. What is small and says most comes first: run.json, points, the server's samples; then the requests, the earliest
first. Requests that the limit has no room for stay behind and are named.
"""

from __future__ import annotations

import hashlib
import io
import json
import tarfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

from giq.errors import DamagedFileError, DataError, StorageError

MIB = 2**20
LIMIT_BYTES, PART_BYTES, MOST_PARTS = 60 * MIB, 16 * MIB, 7
NAME, CONTENTS = "results.tar", "results.json"
RECORDS = "requests.parquet"
HIDDEN = (".", "run.lock")


@dataclass(frozen=True)
class Bundle:
    """What was packed: the files of the bundle, all its bytes, and the records that stayed behind."""

    files: tuple[Path, ...]
    size: int
    left_behind: tuple[str, ...]


def pack(results: Path, target: Path, limit: int = LIMIT_BYTES, part: int = PART_BYTES) -> Bundle:
    """Write the campaign in *results* into *target*, in place of a bundle that is there: at most *limit* bytes in all.

    No file is larger than *part*; all lie in *target* itself. A run that goes on is packed as far as it is saved.

    Raises:
        DataError: what is small is more than *limit* already, or than fits into MOST_PARTS.
    """
    chosen, left = _chosen(results, min(limit, MOST_PARTS * part) - 2 * MIB)
    target.mkdir(parents=True, exist_ok=True)
    for old in target.glob(f"{NAME}.*"):
        old.unlink()
    sizes, whole = [], hashlib.sha256()
    with _Parts(target, part) as parts, tarfile.open(fileobj=parts, mode="w|", format=tarfile.PAX_FORMAT) as archive:
        for path in chosen:
            info = archive.gettarinfo(path, str(path.relative_to(results)))
            info.uid = info.gid = 0
            info.uname = info.gname = ""
            with path.open("rb") as content:
                archive.addfile(info, content)
    for file in parts.files:
        data = file.read_bytes()
        whole.update(data)
        sizes.append(len(data))
    contents = {
        "join": f"cat {NAME}.* > {NAME}",
        "sha256": whole.hexdigest(),
        "parts": {file.name: size for file, size in zip(parts.files, sizes, strict=True)},
        "files": len(chosen),
        "left_behind": left,
    }
    (target / CONTENTS).write_text(json.dumps(contents, indent=1) + "\n")
    files = (target / CONTENTS, *parts.files)
    return Bundle(files, sum(file.stat().st_size for file in files), tuple(left))


def _chosen(results: Path, room: int) -> tuple[list[Path], list[str]]:
    """The files that fit, in their order, and the names of the records that do not."""
    every = [path for path in sorted(results.rglob("*")) if path.is_file() and not _hidden(path, results)]
    small = [path for path in every if path.name != RECORDS]
    used = sum(_in_tar(path) for path in small)
    if used > room:
        raise DataError(
            f"{used / MIB:.0f} MiB even without the records of requests", where=str(results),
            hint="Pack a part of it, or allow more.",
        )  # fmt: skip
    chosen, left = small, []
    for path in sorted((path for path in every if path.name == RECORDS), key=lambda path: path.stat().st_mtime):
        if used + _in_tar(path) <= room:
            chosen.append(path)
            used += _in_tar(path)
        else:
            left.append(f"{path.relative_to(results)} ({path.stat().st_size / MIB:.1f} MiB)")
    return chosen, left


def _hidden(path: Path, results: Path) -> bool:
    return any(part.startswith(HIDDEN) for part in path.relative_to(results).parts) or "journal" in path.parts


def _in_tar(path: Path) -> int:
    """Bytes that a file takes in a tar: its own in blocks of 512, and a header with a long name."""
    return -(-path.stat().st_size // 512) * 512 + 2048


class _Parts(io.RawIOBase):
    """A stream that is written into numbered files of limited size."""

    def __init__(self, folder: Path, size: int) -> None:
        self.files: list[Path] = []
        self._folder, self._size, self._left = folder, size, 0

    def writable(self) -> bool:
        return True

    def write(self, data: object) -> int:
        """Append *data*, in a new file wherever one is full."""
        view = memoryview(data).cast("B")  # type: ignore[arg-type]
        done = 0
        while done < len(view):
            if not self._left:
                self.files.append(self._folder / f"{NAME}.{len(self.files):02d}")
                self.files[-1].write_bytes(b"")
                self._left = self._size
            piece = view[done : done + self._left]
            with self.files[-1].open("ab") as file:
                file.write(piece)
            done += len(piece)
            self._left -= len(piece)
        return len(view)


def unpack(bundle: Path, results: Path) -> list[str]:
    """Put what the bundle holds below *results*; the names of the files written. What is there and alike stays.

    A run that was not finished when it was unpacked before is replaced by what the bundle has of it.

    Raises:
        DamagedFileError: a part is missing or damaged.
        StorageError: a finished run is there already with other contents: runs are put once.
    """
    whole = b"".join(_parts(bundle))
    finished = {path.parent for path in results.rglob("run=*/run.json") if _is_done(path)}
    written = []
    with tarfile.open(fileobj=io.BytesIO(whole)) as archive:
        for member in archive:
            content = archive.extractfile(member)
            place = results / member.name
            if content is None or not place.resolve().is_relative_to(results.resolve()):
                raise DamagedFileError(f"holds {member.name!r}, which is no file of results", where=str(bundle))
            if _put(place, content.read(), finished):
                written.append(member.name)
    return written


def _put(place: Path, data: bytes, finished: set[Path]) -> bool:
    """Write a file; False where it is there already. Files of *finished* runs are never written over."""
    known = place.read_bytes() if place.exists() else None
    if known == data:
        return False
    if known is not None and place.parent in finished:
        raise StorageError("is there already, with other contents", where=str(place), hint="Unpack elsewhere.")
    place.parent.mkdir(parents=True, exist_ok=True)
    place.write_bytes(data)
    return True


def _is_done(manifest: Path) -> bool:
    return bool(json.loads(manifest.read_text())["state"] == "done")


def _parts(bundle: Path) -> Iterator[bytes]:
    try:
        contents = json.loads((bundle / CONTENTS).read_text())
        parts: Sequence[bytes] = [(bundle / name).read_bytes() for name in contents["parts"]]
    except (OSError, ValueError, KeyError) as error:
        raise DamagedFileError(f"is no whole bundle: {error}", where=str(bundle)) from None
    if hashlib.sha256(b"".join(parts)).hexdigest() != contents["sha256"]:
        raise DamagedFileError("its parts are not what was packed", where=str(bundle), hint="Copy it again.")
    yield from parts
