"""What is asked of a model before it inspects a product: licence, classes, and an engine that says what it should."""

from collections.abc import Callable

from detector.inspect import Inspector
from detector.proving.parity import shortfalls
from detector.proving.verify import drift
from detector.registry import ModelCard, load_model
from taktwatch.config import LineConfig
from taktwatch.errors import ModelError

__all__ = ["check_activation"]


def check_activation(
    config: LineConfig, product_name: str, model_name: str, *, boards: int, on_boards: Callable[[int], None]
) -> ModelCard:
    """Open a model as the line would for a product, and compare its engine with the reference on golden boards.

    `on_boards` hears how many more were compared.
    Raises `ModelError` for licences that a commercial line refuses and for an engine unproven or adrift, `ConfigError`
    for another view or unknown classes, `UnknownProduct`.
    """
    product = config.product(product_name)
    products = {**config.products, product_name: product.model_copy(update={"model": model_name})}
    inspector = Inspector(config.model_copy(update={"products": products}))
    engine = inspector.engine(product_name)
    model = load_model(config.detector.models_dir / model_name)
    parity = drift(config, model, engine, boards=boards, on_boards=on_boards)
    if words := shortfalls(parity, boards=boards):
        raise ModelError(
            f"engine {config.detector.engine} does not say what the reference says of {model.card.model_id} "
            f"on {boards} golden boards: {words[0]}; run `taktwatch models verify {model_name}`, or set "
            "detector.engine to torch"
        )
    return model.card
