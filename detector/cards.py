"""A model's card: what it is made of, what it learned from and from which weights it started, and what it reaches."""

import hashlib
from collections.abc import Iterator

from pydantic import BaseModel, ConfigDict, Field

from detector.spec import ModelSpec

__all__ = [
    "FROM_SCRATCH",
    "Ancestor",
    "DataSource",
    "ModelCard",
    "ancestor_of",
    "card_page",
    "data_words",
    "licence_faults",
]

FROM_SCRATCH = "none: trained from random weights"


class DataSource(BaseModel):
    """What a model learned from, and what its licence allows; `commercial_use` None: nobody has said."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    name: str
    licence: str = Field(min_length=1)
    commercial_use: bool | None
    sha256: str | None = Field(default=None, description="of everything in the data set, or of the imported file")


class Ancestor(BaseModel):
    """A model whose weights another one started from, with its own data and ancestors."""

    model_config = ConfigDict(extra="forbid", frozen=True)

    model_id: str
    weights_sha256: str
    licence: str = Field(min_length=1)
    training_data: tuple[DataSource, ...] = Field(min_length=1)
    ancestry: str = Field(min_length=1)
    parents: tuple["Ancestor", ...] = ()


class ModelCard(BaseModel):
    """What is known of a model: all of it is in the folder, nothing has to be believed.

    `metrics` were measured with the weights as stored (rounded), on pictures of products unseen in training.
    `ancestry` says in words where training started, `parents` with hashes; a model without parents that does not say
    it started from random weights has an unknown origin.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    card_schema: int = 1
    name: str = Field(pattern=r"^[A-Za-z0-9][A-Za-z0-9_.-]*$")
    licence: str = Field(min_length=1)
    spec: ModelSpec
    spec_sha256: str
    weights_sha256: str
    parameters: int
    training_data: tuple[DataSource, ...] = Field(min_length=1)
    ancestry: str = Field(min_length=1)
    parents: tuple[Ancestor, ...] = ()
    settings: dict[str, int | float | str]
    command: str
    metrics: dict[str, float]
    measured_on: str = "simulated pictures of products that training never saw"
    trained_with: str
    trained_at: str

    @property
    def model_id(self) -> str:
        """Weights and settings in one short name."""
        digest = hashlib.sha256(f"{self.weights_sha256}{self.spec_sha256}".encode()).hexdigest()
        return f"{self.name}-{digest[:12]}"

    @property
    def commercial_use(self) -> bool:
        """Whether everything the model learned from, itself or before it was this model, allows commercial use."""
        return not licence_faults(self)


def ancestor_of(card: ModelCard) -> Ancestor:
    """Return a model as an ancestor of what is trained from it."""
    return Ancestor(
        model_id=card.model_id,
        weights_sha256=card.weights_sha256,
        licence=card.licence,
        training_data=card.training_data,
        ancestry=card.ancestry,
        parents=card.parents,
    )


def licence_faults(card: ModelCard) -> list[str]:
    """Say what forbids commercial use, in the model and in everything it descends from; nothing where nothing does.

    What nobody has said counts as forbidden.
    """
    return list(_faults(card.model_id, card))


def _faults(name: str, one: ModelCard | Ancestor) -> Iterator[str]:
    """Look at one generation, then at those before it."""
    for source in one.training_data:
        if source.commercial_use is None:
            yield f"{name} learned from {source.name} ({source.licence}): nobody said whether it allows commercial use"
        elif not source.commercial_use:
            yield f"{name} learned from {source.name}, whose licence forbids commercial use: {source.licence}"
    if not one.parents and not one.ancestry.startswith("none"):
        yield f"{name} started from weights of unknown origin: {one.ancestry}"
    for parent in one.parents:
        yield from _faults(f"{name} < {parent.model_id}", parent)


def card_page(card: ModelCard) -> str:
    """Write the card for people."""
    data = "\n".join(f"- {data_words(source)}" for source in card.training_data)
    parents = "".join(f"\n{line}" for parent in card.parents for line in _ancestor_lines(parent, 1))
    metrics = "\n".join(f"| {name} | {value:.4g} |" for name, value in card.metrics.items())
    settings = "\n".join(f"| {name} | {value} |" for name, value in card.settings.items())
    spec = "\n".join(f"| {name} | {value} |" for name, value in card.spec.model_dump().items())
    kind = "Mask R-CNN" if card.spec.mask_head else "Faster R-CNN (no masks: boxes stand for them)"
    return f"""# {card.name}

{kind} for the {card.spec.view} view; classes: {", ".join(card.spec.classes)}. {card.parameters:,} parameters.

- Model: `{card.model_id}`
- Licence: {card.licence}
- Starting weights: {card.ancestry}{parents}
- Weights SHA-256: `{card.weights_sha256}`
- Trained at {card.trained_at} with {card.trained_with}
- Command: `{card.command}`

## Learned from

{data}

## Measured

With the weights as stored, on {card.measured_on}.

| figure | value |
|---|---|
{metrics}

## Settings of the run

| setting | value |
|---|---|
{settings}

## Spec

| setting | value |
|---|---|
{spec}
"""


def data_words(source: DataSource) -> str:
    """Write a data source for people, all that is known of it.

    >>> data_words(DataSource(name="our boards", licence="ours", commercial_use=None))
    'our boards; licence: ours; commercial use: unknown'
    """
    use = "unknown" if source.commercial_use is None else "yes" if source.commercial_use else "no"
    sha256 = "" if source.sha256 is None else f"; SHA-256 `{source.sha256}`"
    return f"{source.name}; licence: {source.licence}; commercial use: {use}{sha256}"


def _ancestor_lines(one: Ancestor, depth: int) -> Iterator[str]:
    indent = "  " * depth
    yield f"{indent}- `{one.model_id}`, weights `{one.weights_sha256}`; {one.ancestry}"
    for source in one.training_data:
        yield f"{indent}  - {data_words(source)}"
    for parent in one.parents:
        yield from _ancestor_lines(parent, depth + 1)
