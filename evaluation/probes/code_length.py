"""What an element of a segment costs: by coding, in packets of each size, with and without the interleaver."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product

import numpy as np

from gocom.common.byte_account import count_bytes, frame_items
from gocom.common.csi import Csi
from gocom.common.element_order import element_layout
from gocom.common.packet_batch import PacketBatch
from gocom.common.packetizer import packetize
from gocom.common.systems import spec_of
from gocom.common.types import Budget, ElementCoding, FrameHeader, GoMessage, Ints, LinkSettings
from gocom.evaluation.experiment.bench import Bench, Picture
from gocom.evaluation.experiment.experiment import Settings
from gocom.evaluation.run.work import Row


@dataclass(frozen=True, slots=True)
class CodeLength:
    """A measure of one segment, sent alone and without repair; the encoder only.

    Attributes:
        kind: of the segment.
        options: value of the key `of` -> options of the codec.
        codings: of its elements; also a key.
        payloads: most bytes of a packet's payload -> value of the key `packets_of`.
        interleaver: on, off or both; also a key.
        option: the codec's, that says the coding; None: it has none, and the segment is coded otherwise than it says.
    """

    kind: int
    options: Mapping[str, Settings]
    codings: Sequence[ElementCoding]
    payloads: Mapping[int, str]
    interleaver: Sequence[bool] = (True, False)
    option: str | None = None

    def __call__(self, bench: Bench, picture: Picture) -> Iterator[Row]:
        """Rows of a picture."""
        for (label, options), coding in product(self.options.items(), self.codings):
            more = {self.option: coding.value} if self.option else {}
            whole = bench.session(picture, **options, **more).first(Csi(), Budget())
            (segment,) = [one for one in whole.segments if one.kind == self.kind]
            alone = replace(whole, segments=(replace(segment, coding=coding, repair_overhead=0.0),))
            for interleave, payload in product(self.interleaver, self.payloads):
                keys = {"of": label, "coding": coding.value, "interleaver": interleave}
                sizes = lengths(alone, LinkSettings(max_payload_bytes=payload, interleave=interleave))
                yield keys | {"packets_of": self.payloads[payload]} | sizes


def lengths(message: GoMessage, link: LinkSettings) -> Row:
    """Sizes of a message with one segment.

    Returns:
        elements: those that are sent. payload_bytes, ideal_bytes (the coders' code lengths with what each packet
        knows). frame_bytes: frame header and end mark. packet_bytes: what packets cost besides their payloads.
    """
    header, batch = packetize(message, link)
    total = count_bytes(header, batch, frame_items(header, batch, link.batch_packets))
    payload = int(batch.length.sum())
    order, _ = element_layout(header, header.segments[0], len(message.segments[0].elements), link)
    sent = len(order) - header.segments[0].withheld_count
    return {
        "elements": sent, "packets": len(batch), "payload_bytes": payload, "bits_an_element": payload * 8 / sent,
        "ideal_bytes": _ideal_bits(message, header, batch, order) / 8, "frame_bytes": total.header_bytes,
        "packet_bytes": total.total_bytes - total.header_bytes - payload, "total_bytes": total.total_bytes,
    }  # fmt: skip


def _ideal_bits(message: GoMessage, header: FrameHeader, batch: PacketBatch, order: Ints) -> float:
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
