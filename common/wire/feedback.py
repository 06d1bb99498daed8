"""Conversion between feedback and its protobuf message, and the bytes that the message costs.

A set of wanted elements is counted in the full grid of its segment: either in segment order, or in the packet order of
the round that brought the segment first, whichever gives fewer bytes. In packet order a lost packet is one run of
elements, however the interleaver scattered them. Any element of any segment of the codec can be named, also one that no
round has sent so far.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from gocom.common.csi import LinkReport
from gocom.common.element_order import feedback_order
from gocom.common.entropy.element_set_code import pack_spans, unpack_spans
from gocom.common.errors import InvalidInput
from gocom.common.packetizer import MAX_ELEMENTS
from gocom.common.rounds import positions_to_spans, spans_to_positions
from gocom.common.systems import spec_of
from gocom.common.types import Feedback, FrameHeader, Ints, LinkSettings
from gocom.v1 import feedback_pb2

MIN_SNR_DB, MAX_SNR_DB = -60, 60
"""Range in dB of the SNR estimate that a receiver may report; an estimate outside it is left out."""
MAX_ATTEMPTS = 32
"""Limit on the attempts at one feedback message. Waits that double from 0.01 s exceed a day after fewer attempts."""


def feedback_to_proto(
    feedback: Feedback, headers: Sequence[FrameHeader], link: LinkSettings
) -> feedback_pb2.SendFeedbackRequest:
    """Return feedback as a message without a session ID, which the caller sets.

    Args:
        feedback: feedback to convert.
        headers: headers of the frame's rounds so far.
        link: link settings that the frame was packetized with.
    """
    request = feedback_pb2.SendFeedbackRequest(
        frame_index=feedback.frame_index, round=feedback.round, labels=feedback.labels,
        text=feedback.text or "", budget_bytes=feedback.budget_bytes,
    )  # fmt: skip
    if (report := feedback.link) is not None:
        snr_db = report.effective_snr_db
        request.link.CopyFrom(
            feedback_pb2.LinkReport(
                packets=report.packets, lost=report.lost, mean_burst_permille=round(1000 * report.mean_burst_packets),
                effective_snr_decidb=None if snr_db is None else round(10 * snr_db),
            )
        )  # fmt: skip
    for kind, spans in feedback.wanted.items():
        plain, order = pack_spans(spans), feedback_order(headers, kind, link)
        ordered = None if order is None else _in_packet_order(spans, order)
        packed = plain if ordered is None else pack_spans(ordered)
        in_order = len(packed) < len(plain)
        request.wanted.add(kind=kind, elements=packed if in_order else plain, in_packet_order=in_order)
    return request


def _in_packet_order(spans: Ints, order: Ints) -> Ints | None:
    """Return spans in an order from `feedback_order`; None if they name an element beyond it."""
    positions = spans_to_positions(spans)
    if positions.max(initial=0) >= len(order):
        return None
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    return positions_to_spans(np.sort(rank[positions]))


def wanted_from_proto(item: feedback_pb2.ElementSet, headers: Sequence[FrameHeader], link: LinkSettings) -> Ints:
    """Return the wanted elements of one segment as spans, int64 [S, 2] of (start, length) in its full grid.

    Args:
        item: set of wanted elements from a feedback message.
        headers: headers of the frame's rounds so far.
        link: link settings that the frame was packetized with.

    Raises:
        InvalidInput: the codec does not have the segment or the elements.
    """
    first = headers[0]
    try:
        spec = spec_of(first.codec, item.kind)
    except InvalidInput as error:
        raise InvalidInput(str(error).replace("segments.kind", "wanted.kind", 1)) from None
    order = feedback_order(headers, item.kind, link) if item.in_packet_order else None
    if item.in_packet_order and order is None:
        raise InvalidInput(f"wanted.in_packet_order: set, and no round has brought segment {spec.name!r}")
    limit = spec.count(first.width_px, first.height_px) if spec.count else spec.max_elements or MAX_ELEMENTS
    try:
        spans = unpack_spans(item.elements, limit if order is None else len(order))
    except InvalidInput as error:
        raise InvalidInput(f"wanted.{error}") from None
    return spans if order is None else positions_to_spans(np.sort(order[spans_to_positions(spans)]))


def link_report_from_proto(request: feedback_pb2.SendFeedbackRequest) -> LinkReport | None:
    """Return the link report of a feedback message; None if it has none.

    Raises:
        InvalidInput: no receiver can have observed the values of the report.
    """
    if not request.HasField("link"):
        return None
    link = request.link
    packets, lost, burst = link.packets, link.lost, link.mean_burst_permille
    if packets < 1:
        raise InvalidInput("link.packets: 0; a report goes by 1 packet or more")
    if lost > packets:
        raise InvalidInput(f"link.lost: {lost} is not in 0 to link.packets, {packets}")
    if lost and not 1000 <= burst <= 1000 * lost:
        raise InvalidInput(f"link.mean_burst_permille: {burst} is not in 1000 to {1000 * lost}, with {lost} lost")
    if burst and not lost:
        raise InvalidInput(f"link.mean_burst_permille: {burst} is not 0, with none lost")
    if not link.HasField("effective_snr_decidb"):
        return LinkReport(packets, lost, burst / 1000)
    snr_db = link.effective_snr_decidb / 10
    if lost in (0, packets):
        raise InvalidInput(f"link.effective_snr_decidb: set, with {lost} of {packets} lost")
    if not MIN_SNR_DB <= snr_db <= MAX_SNR_DB:
        raise InvalidInput(f"link.effective_snr_decidb: {snr_db:g} dB is not in {MIN_SNR_DB} to {MAX_SNR_DB} dB")
    return LinkReport(packets, lost, burst / 1000, snr_db)


def counted_message(request: feedback_pb2.SendFeedbackRequest, attempt: int | None = None) -> bytes:
    """Return a feedback message as the byte account counts it: serialized without the session ID.

    The session ID does not count because both ends know it since the session was opened.

    Args:
        request: message to count.
        attempt: attempt number to put in place of the message's own; None: keep the message's own.
    """
    counted = feedback_pb2.SendFeedbackRequest()
    counted.CopyFrom(request)
    counted.ClearField("session_id")
    if attempt is not None:
        counted.attempt = attempt
    return counted.SerializeToString()


def answer_bytes(answer: feedback_pb2.SendFeedbackResponse) -> int:
    """Return the counted bytes of an answer. The reason of a refusal is for people and does not count."""
    return feedback_pb2.SendFeedbackResponse(will_send=answer.will_send).ByteSize()


def check_attempt(request: feedback_pb2.SendFeedbackRequest) -> None:
    """Raise InvalidInput unless the attempt number is below MAX_ATTEMPTS."""
    if request.attempt >= MAX_ATTEMPTS:
        raise InvalidInput(f"attempt: {request.attempt} is not in 0 to {MAX_ATTEMPTS - 1}")


def answer_waits(first_s: float, patience_s: float) -> list[float]:
    """Return how long to wait for the answer to each attempt: twice as long each time (RFC 6298, section 5.5).

    Args:
        first_s: first wait in seconds, 0.01 or more; 0: one attempt only, which waits for all of `patience_s`.
        patience_s: sum of all waits in seconds, up to a day. A wait after which less than `first_s` would remain is the
            last one and takes all of the remaining time.

    Returns:
        Waits in seconds, one for each attempt when all attempts are lost: at least 1, fewer than MAX_ATTEMPTS.
    """
    if not first_s:
        return [patience_s]
    waits: list[float] = []
    wait, remaining = first_s, patience_s
    while remaining - wait >= first_s:
        waits.append(wait)
        remaining -= wait
        wait *= 2
    return [*waits, remaining]
