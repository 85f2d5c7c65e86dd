"""run.json: everything needed to know what a run was, and to repeat it."""

from __future__ import annotations

import re
import secrets
from collections.abc import Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from giq import documents
from giq.catalog.configuration import ServingConfiguration
from giq.curve.client_error import ClientCalibration
from giq.curve.point import HardwareSource
from giq.curve.targets import Target
from giq.documents import Entry, Name, NonNegative, PositiveInt
from giq.errors import CatalogError, DamagedFileError
from giq.store.parquet import unreadable, write_bytes
from giq.store.schema import SCHEMA_VERSION, refuse_newer
from giq.workload.workload import Load, Workload

RunState = Literal["running", "done", "interrupted", "failed"]

FILE_NAME = "run.json"


class Host(Entry, frozen=True, kw_only=True):
    """The machine that sent the load; its name is kept out."""

    cores: PositiveInt
    python: str
    os: str


class Server(Entry, frozen=True, kw_only=True):
    """What answered; `simulated` is the configuration that the simulated engine announced."""

    name: str
    version: str
    models: tuple[str, ...] = ()
    simulated: dict[str, Any] | None = None


class Worker(Entry, frozen=True, kw_only=True):
    """One sending process. Its clock: ns of records count from `zero_unix_ns` (Unix time) on that host and boot.

    `zero_monotonic_ns` is the same moment on that boot's monotonic clock, by which the run can be gone on with
    there although the clock was set meanwhile.
    """

    worker_id: int
    host_id: str
    boot_id: str
    zero_unix_ns: int
    zero_monotonic_ns: int | None = None


class RunManifest(Entry, frozen=True, kw_only=True, forbid_unknown_fields=False, omit_defaults=False):
    """What run.json holds. `created_at` is ISO 8601 in UTC; `stopped` says why the run ended where it did.

    `command` is the command line and `endpoint` the server's URL, both without credentials. `asked` is the rest of
    what the profile was asked for, by which it is gone on with (None: written by an earlier giq, or not by a profile).
    `server_command` is how a server that is on this machine was started, without secrets, and `versions` are those of
    the packages that it runs on. `cut_off` names the points that ended before their time, `resumed_at` tells when the
    run was gone on with. A field that a later giq added is left aside.
    """

    schema_version: int = SCHEMA_VERSION
    run_id: Name
    created_at: str
    giq_version: str
    command: tuple[str, ...] = ()
    config: ServingConfiguration
    workload: Workload
    seed: int
    nonce: int
    endpoint: str | None = None
    hardware_source: HardwareSource
    accelerator_name: str | None = None
    host: Host
    server: Server
    server_command: tuple[str, ...] = ()
    versions: dict[str, str] = {}
    workers: tuple[Worker, ...] = ()
    loads: tuple[Load, ...] = ()
    targets: tuple[Target, ...] = ()
    rtt_s: NonNegative | None = None
    client: ClientCalibration | None = None
    asked: dict[str, Any] | None = None
    cut_off: tuple[str, ...] = ()
    resumed_at: tuple[str, ...] = ()
    stopped: str | None = None
    state: RunState = "running"


def new_run_id(now: datetime | None = None) -> str:
    """A name for a run: when it began (UTC), and a little chance so that two of one second differ."""
    return f"{(now or datetime.now(UTC)):%Y%m%dT%H%M%SZ}-{secrets.token_hex(2)}"


def without_credentials(text: str) -> str:
    """*text* with what stands before the @ of any URL in it left out (`https://user:key@host` to `https://host`)."""
    return re.sub(r"(?<=://)[^/?#\s]*@", "", text)


def redacted(words: Iterable[str]) -> tuple[str, ...]:
    """*words*, those of a command line, without credentials in URLs."""
    return tuple(without_credentials(word) for word in words)


def write_manifest(folder: Path, manifest: RunManifest) -> None:
    """Put *manifest* in place of the run.json of *folder*, at once and with credentials in URLs left out.

    Raises:
        StorageError: it cannot be written; the old one is as before.
    """
    public = documents.replace(
        manifest,
        schema_version=SCHEMA_VERSION,
        command=redacted(manifest.command),
        endpoint=manifest.endpoint and without_credentials(manifest.endpoint),
    )
    write_bytes(folder / FILE_NAME, documents.encode_json(public, indent=2) + b"\n")


def read_manifest(folder: Path) -> RunManifest:
    """The run.json of *folder*.

    Raises:
        DamagedFileError: not JSON, or a field is wrong.
        DataError: not there, or it cannot be opened.
        NewerFormatError: written by a newer giq.
    """
    path = folder / FILE_NAME
    try:
        text = path.read_bytes()
    except OSError as error:
        raise unreadable(error, str(path)) from None
    try:
        refuse_newer(documents.decode_json(text, _Version, str(path)).schema_version, str(path))
        return documents.decode_json(text, RunManifest, str(path))
    except CatalogError as error:
        raise DamagedFileError(error.what, where=str(path), hint="Restore the file from a copy.") from None


class _Version(Entry, frozen=True, kw_only=True, forbid_unknown_fields=False):
    """The one field that is read before all others."""

    schema_version: int
