"""What suites that are for every codec with nets share: their names from the registry, and messages without the nets.

A codec is under those suites as soon as it is registered. Whoever asks here what a codec's name is has gone wrong.
"""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import numpy as np
from allpairspy import AllPairs

from gocom.common.errors import InvalidInput
from gocom.common.systems import SYSTEMS, SegmentSpec
from gocom.common.types import ElementCoding, GoMessage, Parameters, Segment
from gocom.common.wire.frame_messages import make_parameters

OWN = tuple(name for name in SYSTEMS if SYSTEMS.get(name).header.__module__.startswith("gocom.common.systems"))
"""The codecs of this repository; suites register toys of their own in the same process."""
GENERATIVE = tuple(name for name in OWN if SYSTEMS.get(name).knowledge)
"""Those with models that both ends must hold alike."""
MODELS = tuple(sorted({model for name in OWN for model in SYSTEMS.get(name).knowledge}))
CODINGS = tuple(
    (name, coding) for name in GENERATIVE for coding in ElementCoding
    if any(coding in spec.codings for spec in SYSTEMS.get(name).segments)
)  # fmt: skip
"""Codec and coding, where any of the codec's segments has it."""
FEW = {"num_inference_steps": 2, "renoise_steps": 1}


def few_steps(name: str) -> dict[str, int]:
    """Options with which a codec's sampler takes as few steps as it can be told to."""
    return {option: steps for option, steps in FEW.items() if option in SYSTEMS.get(name).options.model_fields}


def choices(name: str) -> list[dict[str, str | bool | float]]:
    """Options of a codec: its defaults, each value of each that has a list of them, a third of the most of each share.

    Without codings, for which there is CODINGS.
    """
    schema = SYSTEMS.get(name).options.model_json_schema()
    found: list[dict[str, str | bool | float]] = [{}]
    for option, field in schema["properties"].items():
        field = _resolved(field, schema)
        if field["type"] == "number" and field["maximum"] <= 1:
            found.append({option: field["maximum"] / 3})
        elif option != "coding":
            found += [{option: v} for v in field.get("enum", [True, False] if field["type"] == "boolean" else ())]
    return found


def pairwise(name: str) -> list[dict[str, str | bool | float]]:
    """Few combinations of a codec's options in which any two values of two options come together at least once.

    Of a number the default is a value, too. Combinations that the codec refuses are left out.
    """
    kind = SYSTEMS.get(name).options
    values: dict[str, list[str | bool | float]] = {}
    for choice in choices(name)[1:]:
        ((option, value),) = choice.items()
        values.setdefault(option, []).append(value)
    for option, found in values.items():
        if len(found) == 1:
            found.insert(0, kind.model_fields[option].default)

    def allowed(row: list[str | bool | float]) -> bool:
        try:
            make_parameters(kind, dict(zip(values, row, strict=False)))
        except InvalidInput:
            return False
        return True

    return [dict(zip(values, row, strict=True)) for row in AllPairs(list(values.values()), filter_func=allowed)]


def choice_name(choice: dict[str, str | bool | float]) -> str:
    """In the name of a case."""

    def word(option: str, value: str | bool | float | None) -> str:
        return value if isinstance(value, str) else f"{option}_{value if value is None else f'{value:g}'}"

    return "".join(f"_{word(option, value)}" for option, value in choice.items())


def drawn_header(kind: type[Parameters], rng: np.random.Generator) -> Parameters:
    """A header with any allowed value in each of its fields, or none where there may be none."""
    schema = kind.model_json_schema()
    return kind(**{name: _drawn(field, schema, rng) for name, field in schema["properties"].items()})


def refused_values(kind: type[Parameters]) -> list[tuple[str, float]]:
    """Field and value, for values that a header may not have: beyond its bounds, no number, no choice of its list."""
    schema, found = kind.model_json_schema(), []
    for name, field in schema["properties"].items():
        field = _resolved(field, schema)
        bounds = {field.get("maximum"), field.get("exclusiveMaximum")} - {None}
        found += [(name, bound + 1) for bound in bounds if bound + 1 < 1 << 32]
        found += [(name, 99)] if "enum" in field else []
        found += [(name, float("nan")), (name, -1.0)] if field.get("type") == "number" else []
    return found


def _resolved(field: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    """What a field may be if it is set."""
    field = next((choice for choice in field.get("anyOf", ()) if choice.get("type") != "null"), field)
    return schema["$defs"][field["$ref"].rpartition("/")[2]] if "$ref" in field else field


def _drawn(field: dict[str, Any], schema: dict[str, Any], rng: np.random.Generator) -> Any:
    if "anyOf" in field and rng.random() < 0.3:
        return None
    field = _resolved(field, schema)
    if "enum" in field:
        return field["enum"][rng.integers(len(field["enum"]))]
    if field["type"] == "boolean":
        return bool(rng.random() < 0.5)
    low, high = field["minimum"], field.get("exclusiveMaximum", field.get("maximum", 0) + (field["type"] == "integer"))
    if field["type"] == "number":
        return float(np.float32(rng.uniform(low, high)))  # as on the wire
    # Every other one is small: most numbers count something, and pictures of tests have little of it.
    high = min(high, low + 8) if rng.random() < 0.5 else high
    return int(rng.integers(low, high))


def drawn_message(
    name: str, coding: ElementCoding, rng: np.random.Generator, *, masked: bool = False, side_px: tuple[int, int] =
    (104, 88), overhead: float = 0.0, **rounds: Any,
) -> GoMessage:  # fmt: skip
    """A first round of any codec: a drawn header and drawn elements, as many as a picture of this size has.

    Args:
        coding: of the segments that have it; the others are of fixed length.
        masked: a quarter of each segment's elements is withheld, and packets say which.
        side_px: width and height.
        overhead: of repair packets.
        rounds: frame index and such.
    """
    system, segments = SYSTEMS.get(name), []
    header = drawn_header(system.header, rng)
    bare = GoMessage(name, header, *side_px, (), **rounds)
    for kind, spec in enumerate(system.segments):
        sent = None if spec.keep is None else spec.keep(bare)
        if sent is not None and not sent.any():
            continue  # a segment with nothing in it is not announced
        count = _count(spec, *side_px)
        keep = rng.permutation(count) >= count // 4 if masked else None
        # Some values are drawn often, as in a picture: codes of all lengths.
        elements = (spec.alphabet_size * rng.random(count) ** 3).astype(np.int64)
        chosen = coding if coding in spec.codings else ElementCoding.FIXED
        segments.append(Segment(kind, elements, rng.random(count).astype(np.float32), chosen, overhead, keep=keep))
    return replace(bare, segments=tuple(segments))


def _count(spec: SegmentSpec, width_px: int, height_px: int) -> int:
    return spec.count(width_px, height_px) if spec.count else min(40, spec.max_elements or 40)
