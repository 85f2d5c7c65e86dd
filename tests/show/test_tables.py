"""Tables: the same rows on a terminal and as data."""

from __future__ import annotations

import csv
import io
import json
import os
from pathlib import Path

import pytest
import yaml
from rich.console import Console

from giq.curve.point import Distribution, Estimate, Point, Provenance
from giq.show.points import points_table
from giq.show.table import Column, OutputFormat, Table, write

GOLDEN = Path(__file__).resolve().parent.parent / "golden"


def printed(table: Table, form: OutputFormat, width: int = 170) -> str:
    """What `write` prints."""
    text = io.StringIO()
    write(table, form, Console(file=text, width=width, highlight=False))
    return text.getvalue()


def point(number: int, rate: float, flags: tuple[str, ...] = ()) -> Point:
    """A measured open-loop point with round figures."""
    ttft = Distribution(
        mean=Estimate(value=0.12 * number),
        p50=Estimate(value=0.1 * number, lo=0.09 * number, hi=0.11 * number),
        p90=Estimate(value=0.2 * number, lo=0.19 * number, hi=0.23 * number),
        p99=Estimate(value=0.5 * number),
    )
    tpot = Distribution(p50=Estimate(value=0.054), p90=Estimate(value=0.0567, lo=0.056, hi=0.058))
    return Point(
        point_id=f"p{number:03d}",
        run_id="r1",
        provenance=Provenance(evidence="measured", hardware_source="detected", source="test", giq_version="0.1.0"),
        load_kind="open",
        offered_rps=rate,
        achieved_rps=rate * 0.99,
        in_flight_mean=3.25 * number,
        error_share=0.0,
        window_s=60,
        n_requests=240 * number,
        input_tokens_mean=108,
        output_tokens_mean=132,
        input_tps=108 * rate,
        output_tps=132 * rate,
        total_tps=240 * rate,
        ttft=ttft,
        tpot=tpot,
        latency=Distribution(p90=Estimate(value=float("inf"))),
        accelerator_seconds=75,
        flags=flags,
    )


POINTS = (point(1, 0.5), point(2, 4.0), point(3, 12.0, ("NOT_STEADY", "ERRORS")))


@pytest.mark.parametrize("form", ["table", "wide", "csv", "yaml"])
def test_points_look_as_agreed(form: OutputFormat) -> None:
    """The table of points is the golden file, byte for byte: units, percentiles, intervals, flags."""
    path = GOLDEN / f"points.{form}.txt"
    text = printed(points_table(POINTS, "llama-3-8b on nvidia-l4: measured"), form)
    if os.environ.get("GIQ_UPDATE_GOLDEN"):
        path.write_text(text)

    assert text == path.read_text()


def test_data_forms_carry_the_raw_values() -> None:
    """JSON, YAML and CSV hold the same numbers, with the unit in the key; infinity survives as null in JSON."""
    table = points_table(POINTS, "x")

    as_json = json.loads(printed(table, "json"))
    as_yaml = yaml.safe_load(printed(table, "yaml"))
    as_csv = list(csv.DictReader(io.StringIO(printed(table, "csv"))))

    assert [row["ttft_p50_s"] for row in as_json] == pytest.approx([0.1, 0.2, 0.3])
    assert as_json[2]["flags"] == as_yaml[2]["flags"] == ["NOT_STEADY", "ERRORS"]
    assert float(as_csv[1]["ttft_p50_s"]) == 0.2
    assert as_json[0]["latency_p90_s"] is None


def test_a_name_is_never_read_as_markup() -> None:
    """Brackets in a name are shown as they are."""
    table = Table("[bold]", (Column("name", "Name"),), [{"name": "[red]evil[/red]"}])

    text = printed(table, "table")

    assert "[red]evil[/red]" in text
    assert "[bold]" in text
