"""What a token costs: every coding, with and without the interleaver, in small packets, large ones and a single one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import replace
from itertools import product

import numpy as np

from gocom.common.byte_account import count_bytes, frame_items
from gocom.common.csi import Csi
from gocom.common.element_order import element_layout
from gocom.common.packet_batch import PacketBatch
from gocom.common.packetizer import packetize
from gocom.common.systems import spec_of
from gocom.common.systems.lami_go import MaskingPolicy
from gocom.common.types import Budget, ElementCoding, FrameHeader, GoMessage, Ints, LinkSettings
from gocom.evaluation.lami_go.counts import COUNTS
from gocom.evaluation.lami_go.world import World
from gocom.evaluation.study.store import Part
from gocom.evaluation.study.tables import average, difference, sizes, table, values_of, where, words
from gocom.evaluation.study.world import Picture, Row

PAYLOADS = (105, 1200)
SINGLE = 65000
"""One packet for everything: no coder has to begin again."""
MASKINGS = (MaskingPolicy.NONE, MaskingPolicy.PRM, MaskingPolicy.EBM)
CODINGS = tuple(ElementCoding)
SETS = ("images", "street")


def measure(world: World) -> list[Row]:
    """The encoder only; tokens without a caption, and the caption alone."""
    rows: list[Row] = []
    for name in SETS:
        for picture in world.each(world.pictures(name, COUNTS.coding), f"coding {name}"):
            rows += _token_rows(world, picture)
            rows += _caption_rows(world, picture)
    return rows


def _cases() -> Iterator[tuple[MaskingPolicy, ElementCoding, bool, int]]:
    """(masking, coding, interleave, payload); masks in packets are looked at with the best coding only."""
    for case in product(MASKINGS, CODINGS, (True, False), (*PAYLOADS, SINGLE)):
        if case[0] is not MaskingPolicy.EBM or case[1] is ElementCoding.CONTEXT:
            yield case


def _token_rows(world: World, picture: Picture) -> list[Row]:
    rows = []
    for masking, coding, interleave, payload in _cases():
        session = world.session(picture, masking=masking.value, coding=coding.value, send_caption=False)
        message = session.first(Csi(), Budget())
        keys = {"masking": masking.value, "coding": coding.value, "interleave": interleave, "payload": payload}
        sizes_ = message_sizes(message, LinkSettings(max_payload_bytes=payload, interleave=interleave))
        rows.append({"set": picture.set, "picture": picture.name, "of": "tokens", **keys, **sizes_})
    return rows


def _caption_rows(world: World, picture: Picture) -> list[Row]:
    message = world.session(picture, caption_repair_overhead=0.0).first(Csi(), Budget())
    caption, rows = message.segments[0], []
    for coding in CODINGS:
        alone = replace(message, segments=(replace(caption, coding=coding),))
        _, batch = packetize(alone, LinkSettings())
        keys = {"set": picture.set, "picture": picture.name, "of": "caption", "coding": coding.value}
        rows.append(keys | {"letters": len(caption.elements), "payload_bytes": int(batch.length.sum())})
    return rows


def message_sizes(message: GoMessage, link: LinkSettings) -> Row:
    """Sizes of a message with one segment.

    Returns:
        tokens: those that are sent. payload_bytes, ideal_bytes (the coders' code lengths with what each packet
        knows). frame_bytes: frame header and end mark. packet_bytes: what packets cost besides their payloads.
    """
    header, batch = packetize(message, link)
    total = count_bytes(header, batch, frame_items(header, batch, link.batch_packets))
    segment, payload = message.segments[0], int(batch.length.sum())
    order, _ = element_layout(header, header.segments[0], len(segment.elements), link)
    sent = len(order) - header.segments[0].withheld_count
    bits = payload * 8 / sent
    assert segment.repair_overhead == 0
    return {
        "tokens": sent, "packets": len(batch), "payload_bytes": payload, "bits_a_token": bits,
        "ideal_bytes": ideal_bits(message, header, batch, order) / 8,
        "frame_bytes": total.header_bytes, "packet_bytes": total.total_bytes - total.header_bytes - payload,
        "total_bytes": total.total_bytes,
    }  # fmt: skip


def ideal_bits(message: GoMessage, header: FrameHeader, batch: PacketBatch, order: Ints) -> float:
    """Sum of the coder's code lengths over the packets of the only segment; `order` int64 [n], as packets hold them."""
    segment, frame = message.segments[0], header.segments[0]
    mask = (frame.withheld_count, frame.element_count) if frame.withheld_count else None
    coder = spec_of(message.codec, segment.kind).coder(segment.coding, message.width_px, message.height_px, mask)
    elements = segment.elements if segment.keep is None else np.where(segment.keep, segment.elements, -1)
    runs = zip(batch.first_element.tolist(), batch.element_count.tolist(), strict=True)
    if len(batch) == 1:  # the header says what the only packet holds
        runs = zip([0], [len(order)], strict=True)
    at = [order[first : first + count] for first, count in runs]
    return float(sum(coder.bits(elements[index], index).sum() for index in at))


def report(rows: list[Row]) -> str:
    """Bits a token, what packets cost, captions."""
    tokens = where(rows, of="tokens")
    return "\n".join(
        [
            f"{sizes(tokens)}. Bits a token are all of the payload over the tokens that are sent (with ebm, each "
            "packet's slice of the mask included). Single: everything in one packet; what smaller packets cost more is "
            "what it costs that each can be decoded alone.\n",
            _bits(tokens),
            "Context coding, 105 bytes, what a picture costs in bytes:\n",
            _overheads(tokens),
            "A caption's payload in bytes (it is sent twice):\n",
            _captions(where(rows, of="caption")),
        ]
    )


def _bits(tokens: list[Row]) -> str:
    lines = []
    for set_, masking, coding in product(SETS, MASKINGS, CODINGS):
        for interleave in (True, False):
            keys = {"set": set_, "masking": masking.value, "coding": coding.value, "interleave": interleave}
            found = where(tokens, **keys)
            if not found:
                continue
            single = where(found, payload=SINGLE)
            cells = [words(average(where(found, payload=p), "bits_a_token")) for p in (*PAYLOADS, SINGLE)]
            restart = [difference(where(found, payload=p), single, "payload_bytes") for p in PAYLOADS]
            words_ = "on" if interleave else "off"
            lines.append([set_, masking.value, coding.value, words_, *cells, *(f"{r[0]:+.1f}" for r in restart if r)])
    sized = [f"{p} bytes" for p in PAYLOADS]
    restarts = [f"restarts at {p}, bytes" for p in PAYLOADS]
    return table(["set", "masking", "coding", "interleaver", *sized, "single", *restarts], lines)


def _overheads(tokens: list[Row]) -> str:
    fields = ("packets", "payload_bytes", "ideal_bytes", "packet_bytes", "frame_bytes", "total_bytes")
    lines = []
    for set_, masking, interleave in product(SETS, MASKINGS, (True, False)):
        found = where(
            tokens, set=set_, masking=masking.value, coding="context", interleave=interleave, payload=PAYLOADS[0]
        )
        if found:
            means = [f"{value[0]:.1f}" for name in fields if (value := average(found, name)) is not None]
            lines.append([set_, masking.value, "on" if interleave else "off", *means])
    head = ["packets", "payload", "ideal code length", "packet headers", "frame header and end", "all"]
    return table(["set", "masking", "interleaver", *head], lines)


def _captions(rows: list[Row]) -> str:
    lines = [
        [coding, words(average(where(rows, coding=coding), "payload_bytes"), 1)] for coding in values_of(rows, "coding")
    ]
    return table(["coding", f"bytes ({words(average(rows, 'letters'), 1)} letters)"], lines)


PART = Part("coding", "Coding", measure, report)
