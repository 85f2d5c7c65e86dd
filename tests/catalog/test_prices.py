"""Prices: of machines and of chips, newest first, and absent where they are absent."""

from __future__ import annotations

from pathlib import Path

import pytest

from giq.catalog import Accelerator, Catalog, PricingModel, Shape, load_catalog
from giq.documents import dump_yaml

SHIPPED = load_catalog(Path("/nonexistent"))


def _shape(accelerator: Accelerator, wanted: str) -> Shape:
    return next(shape for shape in accelerator.shapes if wanted in (shape.machine_type, shape.topology))


def _usd(catalog: Catalog, name: str, wanted: str, region: str, pricing_model: PricingModel) -> float | None:
    accelerator = catalog.accelerator(name)
    price = catalog.price(accelerator, _shape(accelerator, wanted), region, pricing_model)
    return price.usd_per_hour if price else None


def _price_file(home: Path, name: str, date: str, unit: str, row: str, usd: float) -> None:
    folder = home / "profiles" / "prices"
    folder.mkdir(parents=True, exist_ok=True)
    source = {"title": "offer", "date": date}
    rows = {row: {"spot": usd}}
    data = {"region": "us-central1", "unit": unit, "usd_per_hour": rows, "source": source}
    (folder / f"{name}.yaml").write_text(dump_yaml(data))


@pytest.mark.parametrize(
    ("name", "wanted", "region", "pricing_model", "usd"),
    [
        ("l4", "g2-standard-4", "us-central1", "on-demand", 0.7068),
        ("l4", "g2-standard-48", "us-central1", "3-years-cud", 1.8007),
        ("a100", "a2-highgpu-8g", "us-central1", "spot", 15.4242),
        ("h100", "a3-highgpu-1g", "us-central1", "spot", 6.3262),
        ("v6e", "1x1", "us-central1", "on-demand", 2.70),
        ("v6e", "2x4", "us-central1", "on-demand", 8 * 2.70),
        ("v6e", "4x4", "europe-west4", "spot", 16 * 1.037),
        ("v5e", "4x8", "us-east5", "on-demand", 32 * 1.20),
    ],
)
def test_prices(name: str, wanted: str, region: str, pricing_model: PricingModel, usd: float) -> None:
    """A machine costs what its row says, a slice its chips on all hosts."""
    assert _usd(SHIPPED, name, wanted, region, pricing_model) == pytest.approx(usd)


@pytest.mark.parametrize(
    ("name", "wanted", "region", "pricing_model"),
    [
        ("h200", "a3-ultragpu-8g", "us-central1", "on-demand"),
        ("b200", "a4-highgpu-8g", "us-central1", "spot"),
        ("a100-80gb", "a2-ultragpu-1g", "us-central1", "1-year-cud"),
        ("l4", "g2-standard-4", "us-central1", "flex-start"),
        ("l4", "g2-standard-4", "europe-west4", "on-demand"),
        ("l4", "g2-standard-4", "nowhere", "on-demand"),
        ("v6e", "2x4", "us-central1", "3-years-cud"),
    ],
)
def test_absent_prices_stay_absent(name: str, wanted: str, region: str, pricing_model: PricingModel) -> None:
    """Where no list has a price there is none: no other region, model or machine stands in."""
    assert _usd(SHIPPED, name, wanted, region, pricing_model) is None


def test_a_price_says_where_it_is_from() -> None:
    """The price carries region, pricing model, and the list's source and date."""
    accelerator = SHIPPED.accelerator("h100")
    price = SHIPPED.price(accelerator, accelerator.shapes[0], "us-central1", "spot")
    assert price is not None
    assert (price.region, price.pricing_model, price.source.date) == ("us-central1", "spot", "2026-07-30")


def test_the_newest_list_of_a_layer_wins(tmp_path: Path) -> None:
    """Of two lists with the same row the one of the later date is used, whatever the files are called."""
    _price_file(tmp_path, "a", "2026-09-02", "machine", "g2-standard-4", 0.22)
    _price_file(tmp_path, "b", "2026-09-01", "machine", "g2-standard-4", 0.11)
    assert _usd(load_catalog(tmp_path), "l4", "g2-standard-4", "us-central1", "spot") == 0.22


def test_the_users_prices_win_over_shipped_ones(tmp_path: Path) -> None:
    """A price of the user's is used even when a shipped list is newer; other rows are not touched."""
    _price_file(tmp_path, "contract", "2025-01-01", "machine", "g2-standard-4", 0.05)
    catalog = load_catalog(tmp_path)
    assert _usd(catalog, "l4", "g2-standard-4", "us-central1", "spot") == 0.05
    assert _usd(catalog, "l4", "g2-standard-8", "us-central1", "spot") == 0.4799


def test_chip_prices_work_for_gpus_too(tmp_path: Path) -> None:
    """A price per chip of a GPU prices every machine that carries it."""
    _price_file(tmp_path, "chips", "2026-09-01", "chip", "nvidia-h200-141gb", 4.0)
    assert _usd(load_catalog(tmp_path), "h200", "a3-ultragpu-8g", "us-central1", "spot") == 32.0
