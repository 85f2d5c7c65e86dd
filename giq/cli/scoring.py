"""`giq predict --score`: the simulated engine judged on published points."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from giq.cli.asked import OutputForm

PROCESSES = 2


def print_score(path: Path, calibration_points: int, output: OutputForm) -> None:
    """Score the rows of the CSV file at *path* and print every group beside its ceiling.

    Raises:
        DataError: the file is no such table.
        UsageError: nothing in it is scored.
    """
    from giq.catalog import load_catalog
    from giq.documents import dump_yaml, encode_json
    from giq.engine.published import read_published
    from giq.engine.scoring import score
    from giq.show.live import counting
    from giq.show.score import score_document, score_table
    from giq.show.table import write
    from giq.show.terminal import data_console, say

    catalog = load_catalog()
    rows = read_published(path, catalog)
    with counting("Simulating published points") as step:
        found = score(rows, calibration_points, catalog, step, PROCESSES)
    document = score_document(found)
    console = data_console()
    if output == "json":
        console.file.write(encode_json(document, indent=2).decode() + "\n")
    elif output == "yaml":
        console.file.write(dump_yaml(document))
    else:
        write(score_table(document), output, console)
    for item in document["left_out"]:
        say(f"not judged: {item['id']} ({item['group']}): {item['reason']}", "dim")
    say(
        f"{document['summary']['rows_judged']} rows judged, {document['summary']['rows_left_out']} not. "
        "Ceiling: the same model fitted on all rows of the group. Means compared with predicted means; "
        "no shipped or own calibration was used.",
        "dim",
    )
