"""From line.toml to what charts are told: which model and settings a product runs with, and how windows are merged."""

import hashlib
import json
from pathlib import Path

import msgspec

from kpi_engine.spc.plans import PLANS, Plan
from kpi_engine.spc.rules import LIMITS_ONLY, NELSON, WESTERN_ELECTRIC, Rule
from kpi_engine.spc_line import LineRules, merger_of, sections_of
from taktwatch.config import LineConfig

__all__ = ["rules_of"]

RULES = {"limits": LIMITS_ONLY, "western_electric": WESTERN_ELECTRIC, "nelson": NELSON}


def rules_of(config: LineConfig) -> LineRules:
    """Return the rules of a line's charts; reads the cards of its models."""
    return LineRules(
        models={
            name: model_id(config.detector.models_dir / product.model) for name, product in config.products.items()
        },
        configs={name: config.product_sha256(name) for name in config.products},
        wanted=config.spc.phase1_subgroups,
        metrics=config.spc.metrics,
        merger=merger_of(config),
        plans=tuple(plan_of(name, RULES[config.spc.rules]) for name in config.spc.charts),
        sections=sections_of(config),
        rules=RULES[config.spc.rules],
    )


def plan_of(name: str, rules: tuple[Rule, ...]) -> Plan:
    """Return a plan by name; Shewhart charts look for these rules, the others have none.

    >>> plan_of("laney", NELSON).rules == NELSON, plan_of("laney_ewma", NELSON) == PLANS["laney_ewma"]
    (True, True)
    """
    plan = PLANS[name]
    return msgspec.structs.replace(plan, rules=rules) if plan.kind == "shewhart" else plan


def model_id(folder: Path) -> str:
    """Return the id that results carry, made of weights and settings; the model's name where its card is not here."""
    try:
        card = json.loads((folder / "card.json").read_text(encoding="utf-8"))
        digest = hashlib.sha256(f"{card['weights_sha256']}{card['spec_sha256']}".encode()).hexdigest()
    except (OSError, ValueError, KeyError, TypeError):
        return folder.name
    return f"{card['name']}-{digest[:12]}"
