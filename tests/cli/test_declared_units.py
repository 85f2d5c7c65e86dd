"""Units of several ranks, hosts and kinds of decoding, as the command line says them."""

from __future__ import annotations

import subprocess
import sys

import pytest

from giq.catalog import ServingConfiguration, load_catalog
from giq.cli.declared import declared_configuration, engine_words
from giq.engine.spec import EngineSpec
from giq.errors import UsageError
from giq.profiling.options import Declared, parse_accelerator, parse_engine_args
from tests.engine.engines import work


def unit(accelerator: str, *engine_args: str, tp: int | None = None) -> ServingConfiguration:
    """The configuration of llama-3-8b from those words."""
    declared = Declared(
        model="llama-3-8b",
        accelerator=parse_accelerator(accelerator),
        tensor_parallel_size=tp,
        engine_args=parse_engine_args(engine_args),
    )
    return declared_configuration(declared, work(), load_catalog())


def test_ranks_are_fields_of_the_component() -> None:
    """What is left of the accelerators is tensor-parallel; nothing of it stays an engine argument."""
    main = unit("h100:8", "data_parallel_size=2", "pipeline_parallel_size=2").main
    assert (main.tp, main.pp, main.dp, main.ep) == (2, 2, 2, 1)
    assert not {"data_parallel_size", "pipeline_parallel_size"} & set(main.engine_args)
    assert unit("h100", "data_parallel_size=4", tp=2).main.accelerators_per_host == 8


def test_a_slice_of_several_hosts_is_one_unit() -> None:
    """Tensor-parallel over all its chips, and the engine takes it."""
    config = unit("v6e:4x4")
    assert (config.main.hosts, config.main.accelerators_per_host, config.main.tp) == (4, 4, 16)
    assert EngineSpec.of(config, load_catalog()).tp == 16


def test_speculation_and_adapters_are_shared_by_the_unit() -> None:
    """They make another configuration, and the engine is told."""
    words = "method=eagle3,tokens=3,acceptance=0.7"
    config = unit("h100", f"speculative={words}", "max_loras=4")
    assert (config.speculative, config.adapters) == (words, 4)
    spec = EngineSpec.of(config, load_catalog())
    assert spec.speculation is not None
    assert spec.speculation.tokens == 3
    assert config.config_id != unit("h100").config_id


@pytest.mark.parametrize(
    ("accelerator", "engine_args"),
    [
        ("h100:8", ("data_parallel_size=2", "pipeline_parallel_size=2", "max_loras=2")),
        ("v6e:4x4", ()),
        ("h100", ("speculative=tokens=2,acceptance=0.5", "max_num_seqs=64")),
    ],
)
def test_the_words_for_the_engine_give_the_unit_again(accelerator: str, engine_args: tuple[str, ...]) -> None:
    """What `giq profile --simulate` starts is the unit that was asked for."""
    config = unit(accelerator, *engine_args)
    words = engine_words(config)
    asked = dict(zip(words[::2], words[1::2], strict=True))
    args = [value for option, value in zip(words[::2], words[1::2], strict=True) if option == "--engine-arg"]
    again = unit(asked["--accelerator"], *args, tp=int(asked["--tensor-parallel-size"]))
    assert again.config_id == config.config_id


def test_senseless_ranks_are_refused() -> None:
    """Zero ranks, or more than there are accelerators."""
    with pytest.raises(UsageError, match="data_parallel_size"):
        unit("h100:2", "data_parallel_size=0")
    with pytest.raises(UsageError, match="needs 4 accelerators"):
        EngineSpec.of(unit("h100:2", "data_parallel_size=2", tp=2), load_catalog())


def test_predict_takes_them() -> None:
    """The command predicts a unit of two data-parallel ranks."""
    command = [sys.executable, "-m", "giq", "predict", "--model", "llama-3-8b", "--accelerator", "h100:2"]
    command += ["--engine-arg", "data_parallel_size=2", "--concurrency", "4", "--requests", "60", "-o", "csv"]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    assert "estimated" in done.stdout
