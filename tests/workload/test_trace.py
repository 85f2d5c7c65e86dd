"""Traces are read from the formats in which they are published, and named by their content."""

from __future__ import annotations

from pathlib import Path

import pytest

from giq.errors import DamagedFileError, DataError, UsageError
from giq.workload import Trace, read_trace

OWN = "arrival_s,input_tokens,output_tokens\n10.0,100,20\n10.5,200,1\n12.25,300,5\n"


def read(folder: Path, text: str, name: str = "trace.csv") -> Trace:
    """The trace whose file holds *text*."""
    path = folder / name
    path.write_text(text, encoding="utf-8")
    return read_trace(path)


SAME = {
    "ours in ns.csv": "arrival_ns,input_tokens,output_tokens\n0,100,20\n500000000,200,1\n2250000000,300,5\n",
    "azure.csv": "TIMESTAMP,ContextTokens,GeneratedTokens\n2023-11-16 18:17:03.9000000,100,20\n"
    "2023-11-16 18:17:04.4000000,200,1\n2023-11-16 18:17:06.1500000,300,5\n",
    "azure with zone.csv": "TIMESTAMP,ContextTokens,GeneratedTokens\n2024-05-10 00:00:00.9+00:00,100,20\n"
    "2024-05-10 00:00:01.4+00:00,200,1\n2024-05-10 00:00:03.15Z,300,5\n",
    "burst.csv": "Timestamp,Model,Request tokens,Response tokens,Total tokens,Log Type\n"
    "5,ChatGPT,100,20,120,API\n5.5,ChatGPT,200,1,201,API\n7.25,GPT-4,300,5,305,API\n",
    "mooncake.jsonl": '{"timestamp": 100, "input_length": 100, "output_length": 20, "hash_ids": [1]}\n\n'
    '{"timestamp": 600, "input_length": 200, "output_length": 1}\n'
    '{"timestamp": 2350, "input_length": 300, "output_length": 5}\n',
    "out of order.csv": "output_tokens,arrival_s,input_tokens\n5,2.25,300\n20,0,100\n1,0.5,200\n",
}


@pytest.mark.parametrize("name", SAME)
def test_one_content_is_one_trace_in_every_format(name: str, tmp_path: Path) -> None:
    """The same requests give the same arrays and the same id, whichever the file's format."""
    ours, other = read(tmp_path, OWN), read(tmp_path, SAME[name], name)
    assert other.arrival_ns.tolist() == [0, 500_000_000, 2_250_000_000]
    assert other.input_tokens.tolist() == [100, 200, 300]
    assert other.output_tokens.tolist() == [20, 1, 5]
    assert other.trace_id == ours.trace_id
    assert other.rate_rps == pytest.approx(2 / 2.25)


def test_another_content_is_another_trace(tmp_path: Path) -> None:
    """One different length changes the id."""
    assert read(tmp_path, OWN).trace_id != read(tmp_path, OWN.replace("300", "301")).trace_id


def test_a_request_without_tokens_gets_one(tmp_path: Path) -> None:
    """A count of 0 (a failed request of BurstGPT) becomes 1."""
    trace = read(tmp_path, OWN.replace("100,20", "100,0"))
    assert trace.output_tokens.tolist() == [1, 1, 5]


def test_a_wrong_value_is_named_by_its_line(tmp_path: Path) -> None:
    """A value that is no number, negative or missing is an error that says in which line."""
    for wrong in ("10.5,many,1", "soon,200,1", "10.5,-3,1", "nan,200,1", "inf,200,1", "10.5,200"):
        with pytest.raises(DataError, match=r"line 3"):
            read(tmp_path, OWN.replace("10.5,200,1", wrong))


def test_files_that_are_no_traces_are_refused(tmp_path: Path) -> None:
    """A missing file, a missing column, broken JSON, bytes that are no text, and too few requests."""
    with pytest.raises(UsageError, match="no such trace"):
        read_trace(tmp_path / "none.csv")
    with pytest.raises(DamagedFileError, match="no column for output"):
        read(tmp_path, "arrival_s,input_tokens\n1,2\n")
    with pytest.raises(DamagedFileError, match="line 2"):
        read(tmp_path, '{"timestamp": 1, "input_length": 1, "output_length": 1}\n{oh\n', "a.jsonl")
    (tmp_path / "b.csv").write_bytes(b"\xff\xfe\xfa")
    with pytest.raises(DamagedFileError, match="cannot be read"):
        read_trace(tmp_path / "b.csv")
    for few in ("arrival_s,input_tokens,output_tokens\n1,2,3\n", "arrival_s,input_tokens,output_tokens\n1,2,3\n1,2,3"):
        with pytest.raises(UsageError):
            read(tmp_path, few)
