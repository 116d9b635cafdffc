"""What a simulated line knows of its products before the first board: built from good boards, as on a real line."""

from datetime import datetime
from pathlib import Path

from detector.products.product import find_boards, make_product
from ingest.cameras.simulator import good_picture
from taktwatch.config import LineConfig, ProductConfig, SimulatorSource, with_folder

__all__ = ["recall", "rehearse"]

GOOD_BOARDS = 12


def rehearse(config: LineConfig, folder: Path, now: datetime) -> LineConfig:
    """Return the line with a folder for each simulated product that has neither folder nor template.

    Good boards of its conveyor go to `folder`/good, what is made of them to `folder`/products.
    """
    products = dict(config.products)
    for station in config.stations:
        product = products[station.product]
        if isinstance(station.source, SimulatorSource) and product.folder is None and product.template is None:
            products[station.product] = _built(station.product, product, station.source, folder, now)
    return config.model_copy(update={"products": products})


def recall(config: LineConfig) -> LineConfig:
    """Return the line with the folders that a rehearsal left in its data, so that a replay knows what it knew."""
    left = config.data_dir / "products"
    products = {
        name: with_folder(name, product, left / name)
        if product.folder is None and product.template is None and (left / name).is_dir()
        else product
        for name, product in config.products.items()
    }
    return config.model_copy(update={"products": products})


def _built(name: str, product: ProductConfig, source: SimulatorSource, folder: Path, now: datetime) -> ProductConfig:
    """Build one product of its conveyor's good boards."""
    good, products = folder / "good" / name, folder / "products"
    good.mkdir(parents=True, exist_ok=True)
    for number in range(GOOD_BOARDS):
        (good / f"{number:02}.jpg").write_bytes(good_picture(source, product.view, number))
    make_product(name, find_boards(good), products, um_per_px=product.um_per_px, now=now, view=product.view)
    return with_folder(name, product, products / name)
