"""The tree of errors: exit codes and what to do."""

from __future__ import annotations

import pytest

from giq import errors


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (errors.GiqError("x"), 1),
        (errors.UsageError("x"), 2),
        (errors.UnknownNameError("model", "llama-3-9b", ["llama-3-8b", "gemma-2-2b"]), 2),
        (errors.UnmetError("x"), 3),
        (errors.DataError("x"), 4),
        (errors.CatalogError("f.yaml", "a.b", 3, "too small"), 4),
        (errors.IncompatibleError("server_version", "0.24", "0.32"), 4),
        (errors.NewerFormatError("f.parquet", 2, 1), 4),
        (errors.DamagedFileError("x"), 4),
        (errors.ServerError("x"), 1),
        (errors.StorageError("x"), 1),
        (errors.Interrupted("x"), 130),
    ],
)
def test_each_error_has_its_exit_code(error: errors.GiqError, code: int) -> None:
    """The exit code is the class's."""
    assert error.exit_code == code


def test_a_message_says_what_where_and_what_to_do() -> None:
    """The words are: where, what, and on the next line the hint."""
    error = errors.ServerError("no server answers", where="http://localhost:8000", hint="Start one.")

    assert str(error) == "http://localhost:8000: no server answers\nStart one."


def test_an_unknown_name_gets_the_nearest_first() -> None:
    """The hint lists what is nearest to the name."""
    error = errors.UnknownNameError("model", "LLAMA-3-9B", ["gemma-2-2b", "llama-3-8b", "llama-3.1-8b"])

    assert error.nearest[0] == "llama-3-8b"
    assert "llama-3-8b" in str(error)


def test_an_incompatibility_names_the_field_and_both_values() -> None:
    """Both sides are in the message."""
    text = str(errors.IncompatibleError("server_version", "0.24.0", "0.32.0"))

    assert all(word in text for word in ("server_version", "0.24.0", "0.32.0"))
