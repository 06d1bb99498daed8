"""Feedback as a message, and what it costs: the way back of the byte account.

A set of wanted elements is written in whichever order makes it shorter: as the segment has them, or as the packets of
the first round held them, where a lost packet is one run however the interleaver scattered it.
"""

from __future__ import annotations

import numpy as np

from gocom.common.csi import LinkReport
from gocom.common.element_order import transmission_order
from gocom.common.entropy.element_positions import pack_spans, unpack_spans
from gocom.common.errors import InvalidInput
from gocom.common.rounds import span_positions, spans_of
from gocom.common.types import Feedback, FrameHeader, Ints, LinkSettings, SegmentFrame
from gocom.v1 import feedback_pb2

MIN_SNR_DB, MAX_SNR_DB = -60, 60
"""Of a receiver's estimate; one beyond is not told."""
MAX_ATTEMPTS = 32
"""At one feedback message; waits that double reach a day with fewer."""


def feedback_to_proto(feedback: Feedback, first: FrameHeader, link: LinkSettings) -> feedback_pb2.SendFeedbackRequest:
    """Feedback -> message, its session not named yet.

    Args:
        first: header of the frame's first round.
        link: what its packets were cut by.
    """
    request = feedback_pb2.SendFeedbackRequest(
        frame_index=feedback.frame_index, round=feedback.round, label=feedback.label, text=feedback.text,
        budget_bytes=feedback.budget_bytes,
    )  # fmt: skip
    if (report := feedback.link) is not None:
        snr_db = report.effective_snr_db
        request.link.CopyFrom(
            feedback_pb2.LinkReport(
                packets=report.packets, lost=report.lost, mean_burst_permille=round(1000 * report.mean_burst_packets),
                effective_snr_decidb=None if snr_db is None else round(10 * snr_db),
            )
        )  # fmt: skip
    segments = {segment.kind: segment for segment in first.segments}
    for kind, spans in feedback.wanted.items():
        plain, ordered = pack_spans(spans), pack_spans(_in_packet_order(spans, first, segments[kind], link))
        in_order = len(ordered) < len(plain)
        request.wanted.add(kind=kind, elements=ordered if in_order else plain, in_packet_order=in_order)
    return request


def _in_packet_order(spans: Ints, first: FrameHeader, segment: SegmentFrame, link: LinkSettings) -> Ints:
    order = transmission_order(first, segment, link)
    rank = np.empty_like(order)
    rank[order] = np.arange(len(order))
    return spans_of(np.sort(rank[span_positions(spans)]))


def read_wanted(item: feedback_pb2.ElementSet, first: FrameHeader, link: LinkSettings) -> Ints:
    """Spans int64 [S, 2] of one segment. Raises InvalidInput for a segment or elements that the frame does not have."""
    segment = {s.kind: s for s in first.segments}.get(item.kind)
    if segment is None:
        raise InvalidInput(f"wanted.kind: {item.kind} is none of {sorted(s.kind for s in first.segments)}")
    try:
        spans = unpack_spans(item.elements, segment.element_count)
    except InvalidInput as error:
        raise InvalidInput(f"wanted.{error}") from None
    if not item.in_packet_order:
        return spans
    return spans_of(np.sort(transmission_order(first, segment, link)[span_positions(spans)]))


def read_link(request: feedback_pb2.SendFeedbackRequest) -> LinkReport | None:
    """What a feedback message says of the link, if it does. Raises InvalidInput for what no receiver can have seen."""
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


def bare_message(request: feedback_pb2.SendFeedbackRequest, attempt: int | None = None) -> bytes:
    """A feedback message as it counts: without the session's name, which the handshake set.

    Args:
        request: the message.
        attempt: as if it were that attempt at it; None: the one it is.
    """
    bare = feedback_pb2.SendFeedbackRequest()
    bare.CopyFrom(request)
    bare.ClearField("session_id")
    if attempt is not None:
        bare.attempt = attempt
    return bare.SerializeToString()


def answer_bytes(answer: feedback_pb2.SendFeedbackResponse) -> int:
    """Bytes of an answer, without the reason of a refusal, which is for people."""
    return feedback_pb2.SendFeedbackResponse(will_send=answer.will_send).ByteSize()


def check_attempt(request: feedback_pb2.SendFeedbackRequest) -> None:
    """Raises InvalidInput for more attempts than there may be."""
    if request.attempt >= MAX_ATTEMPTS:
        raise InvalidInput(f"attempt: {request.attempt} is not in 0 to {MAX_ATTEMPTS - 1}")


def answer_waits(first_s: float, patience_s: float) -> list[float]:
    """How long the answer to each attempt is waited for before the next one: twice as long each time (RFC 6298, 5.5).

    Args:
        first_s: the first wait, 0.01 s or more; 0: there is one attempt, and all of the patience is for it.
        patience_s: all waits together, up to a day. The last one takes what is left where that would not do for two.

    Returns:
        seconds, as many as there are attempts when all are lost: at least 1, and less than MAX_ATTEMPTS.
    """
    if not first_s:
        return [patience_s]
    waits: list[float] = []
    wait, left = first_s, patience_s
    while left - wait >= first_s:
        waits.append(wait)
        left -= wait
        wait *= 2
    return [*waits, left]
