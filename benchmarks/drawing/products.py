# SPDX-License-Identifier: Apache-2.0
"""Which products are measured, which measures apply to which, and what they have to reach."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Literal

Role = Literal["tune", "report", "rendered"]


@dataclass(frozen=True)
class Product:
    """A product whose drawing is measured.

    Attributes:
        name: of its folder.
        role: settings are chosen on ``tune`` and ``rendered`` ones alone; ``report`` is measured once they are fixed.
        copper: a board, of copper and nothing.
        bright_copper: whether copper is white on it.
        parts: shows parts on a background, so that a defect can lie off the part: ``support``, a mask of the part comes
            with each image; ``dark``, on a bright ground; ``none``, it fills its images.
    """

    name: str
    role: Role
    copper: bool = False
    bright_copper: bool = False
    parts: Literal["none", "support", "dark"] = "none"


PRODUCTS: Mapping[str, Product] = {
    product.name: product
    for product in (
        Product("magnetic_tile", "tune"),
        Product("road_crack", "tune"),
        Product("pcb", "tune", copper=True),
        Product("screw", "report", parts="dark"),
        Product("ball_screw", "report"),
        Product("cookies", "report"),
        Product("rendered", "rendered", parts="support"),
    )
}


@dataclass(frozen=True)
class Rule:
    """Where a measure applies and what it has to reach.

    Attributes:
        several_types: only products with two or more types.
        only: products that it is for; empty means all.
        no_bar: products whose figure is reported, but has nothing to reach.
        least: the least value that passes.
        most: the greatest one.
        of: products with a bar of their own: least values.
    """

    several_types: bool = False
    only: tuple[str, ...] = ()
    no_bar: tuple[str, ...] = ()
    least: float | None = None
    most: float | None = None
    of: Mapping[str, float] | None = None


_TOO_FEW = ("cookies",)  # 22 unseen defects
RULES: Mapping[str, Rule] = {
    "visible": Rule(),
    "realism": Rule(no_bar=_TOO_FEW),
    "follows_prompt": Rule(several_types=True, least=0.85),
    "recognised": Rule(several_types=True, least=0.8),
    "prompt_copper": Rule(only=("pcb",), least=0.9),
    "restored": Rule(most=0.70, of={"pcb": 0.05}),
    "novelty": Rule(no_bar=_TOO_FEW, least=0.8),
    "mask_shapes": Rule(least=0.7, most=1.4),
    "mask_exact": Rule(most=0.35),
    "mask_iou": Rule(of={"screw": 0.60, "magnetic_tile": 0.62, "road_crack": 0.55, "pcb": 0.50, "cookies": 0.50}),
    "mask_of_nothing": Rule(least=0.95),
    "null_cue": Rule(only=("magnetic_tile", "rendered"), most=0.60),
    "gate": Rule(no_bar=_TOO_FEW, least=0.95),
    "severity": Rule(several_types=True, least=0.9),
    "recombined": Rule(several_types=True, least=0.6),
    "kid": Rule(),
    "ic_lpips_a": Rule(),
}
REALISM_ABOVE_PASTE, VISIBLE_BELOW_REAL, VISIBLE_RENDERED = 0.10, 0.05, 0.95
ENERGY, NOVELTY_BELOW_P5, GATE_REAL, GATE_DRAWN = (0.8, 1.25), 0.10, 0.10, 0.70


def applies(key: str, product: Product, num_types: int) -> bool:
    """Return whether a measure is for a product with so many types."""
    rule = RULES[key]
    return (not rule.only or product.name in rule.only) and (num_types > 1 or not rule.several_types)


def passes(key: str, product: Product, entry: Mapping[str, Any]) -> bool | None:
    """Return whether an entry of the results reaches its bar; None where it has none or could not be measured.

    Args:
        key: of the measure.
        product: what was measured.
        entry: ``value`` and what stands beside it, as in the results.
    """
    rule, value = RULES[key], entry.get("value")
    if value is None or product.name in rule.no_bar:
        return None
    checks = _special(key, product, entry)
    if checks is None:
        least, most = rule.least, rule.most
        if rule.of is not None and product.name in rule.of:
            least, most = (None, rule.of[product.name]) if rule.most is not None else (rule.of[product.name], None)
        if least is None and most is None:
            return None
        checks = [least is None or value >= least, most is None or value <= most]
        checks += _beside(key, product, entry)
    return all(checks)


def _special(key: str, product: Product, entry: Mapping[str, Any]) -> list[bool] | None:
    """Return the checks of measures whose bar is another figure of the same entry."""
    if key == "visible":
        real = entry.get("real")
        checks = [] if real is None else [entry["value"] >= real - VISIBLE_BELOW_REAL]
        checks += [entry["value"] >= VISIBLE_RENDERED] if product.role == "rendered" else []
        return checks or None
    if key == "realism":
        paste = entry.get("placed_paste")
        return [paste is not None and entry["value"] <= paste + REALISM_ABOVE_PASTE]
    return None


def _beside(key: str, product: Product, entry: Mapping[str, Any]) -> list[bool]:
    if key == "restored" and not product.copper:
        return [ENERGY[0] <= entry["energy"]["value"] <= ENERGY[1]]
    if key == "novelty":
        return [entry["below_p5"]["value"] <= NOVELTY_BELOW_P5]
    if key == "severity" and entry.get("realism_half_above_full") is not None:
        return [entry["realism_half_above_full"] <= REALISM_ABOVE_PASTE]
    if key == "gate":
        return [entry["real_rejected"] <= GATE_REAL, entry["drawn_accepted"] >= GATE_DRAWN]
    return []
