"""What each quality of a codec costs, and is worth, for one picture: files made as they are asked for, and kept."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np

from gocom.common import fec
from gocom.common.byte_account import packetized_bytes
from gocom.common.csi import Csi
from gocom.common.image_files import ImageArray
from gocom.common.image_quality import psnr_db
from gocom.common.packet_batch import PacketBatch
from gocom.common.packetizer import SegmentPackets, assemble_round
from gocom.common.pipeline import sampler_generator
from gocom.common.systems import SYSTEMS
from gocom.common.systems.classical import FILE, Scale
from gocom.common.types import Budget, FrameHeader, Goal, GoMessage, LinkSettings, ReceivedMessage, ReceivedSegment
from gocom.common.wire.frame_messages import make_parameters
from gocom.evaluation.run.codec_setup import Codec

_BEST = 100.0
"""dB of a decoded picture at most: the PSNR of an equal one is infinite."""


class Ladder:
    """The qualities 0 to 100 of one codec whose file must arrive whole, for one picture at one scale.

    Args:
        codec: both ends.
        image: float32 [3, H, W] in [0, 1].
        quality: the only one there is; None: all.
        frame_index, link: as the file is sent.
        scale: by which the picture is shrunk.

    Attributes:
        lowest, highest: qualities; what is searched may be narrowed to those that are of use.
    """

    def __init__(
        self, codec: Codec, image: ImageArray, quality: int | None, frame_index: int, link: LinkSettings,
        scale: Scale = Scale.FULL,
    ) -> None:  # fmt: skip
        self._codec, self._image = codec, image
        self._analysis = codec.encoder.analyse(image)
        self._goal, self._scale = Goal(SYSTEMS.get(codec.name).options(), frame_index, link=link), scale
        self._any = quality or 0
        self.lowest, self.highest = (0, 100) if quality is None else (quality, quality)
        self._messages: dict[int, GoMessage] = {}
        self._scores: dict[int, float] = {}
        self._sizes: dict[int, Sizes] = {}

    def file_bytes(self, quality: int) -> int:
        """Of the file."""
        return len(self._message(quality).segments[0].elements)

    def best(self, fits: Callable[[int], bool]) -> int | None:
        """The highest quality whose file fits, by its bytes; None: none does. File size is monotone closely enough."""
        low, high, best = self.lowest, self.highest, None
        while low <= high:
            middle = (low + high) // 2
            if fits(self.file_bytes(middle)):
                low, best = middle + 1, middle
            else:
                high = middle - 1
        return best

    def score(self, quality: int) -> float:
        """PSNR of the picture in dB, all of its file arrived."""
        if quality not in self._scores:
            message = self._message(quality)
            file = message.segments[0].elements
            frame = FrameHeader(message.codec, message.header, message.width_px, message.height_px, ())
            segment = ReceivedSegment(FILE, file, np.ones(len(file), bool))
            *_, final = self._codec.decoder.reconstruct(
                [ReceivedMessage(frame, (segment,), 1, 1)], generator=sampler_generator(0, 0, 0)
            )
            self._scores[quality] = min(_BEST, psnr_db(self._image, final.image))
        return self._scores[quality]

    def sizes(self, max_rounds: int = 1) -> Sizes:
        """What rounds cost, where there may be so many."""
        if max_rounds not in self._sizes:
            goal = replace(self._goal, max_rounds=max_rounds)
            # Without a position, the opening of the session says what every round of this frame is like.
            like = replace(self._message(self._any), rounds=goal.rounds, position=None)
            self._sizes[max_rounds] = Sizes(like, goal.link)
        return self._sizes[max_rounds]

    def _message(self, quality: int) -> GoMessage:
        if quality not in self._messages:
            options = make_parameters(type(self._goal.options), {"quality": quality, "scale": self._scale})
            session = self._codec.encoder.open(self._analysis, replace(self._goal, options=options))
            self._messages[quality] = session.first(Csi(), Budget())
        return self._messages[quality]


class Sizes:
    """Bytes of a round with a file, or with a part of it, from how long it is: packets are laid out, but empty.

    Args:
        like: a message with one segment of bytes; what it holds does not matter.
        link: how it is cut.

    Attributes:
        link: as given.
        max_rounds: that the header says there may be.
        full_packets: payload bytes of a full packet of an unprotected file, of a protected one, and of repair packets
            of several.
    """

    def __init__(self, like: GoMessage, link: LinkSettings) -> None:
        self.link, self.max_rounds = link, like.rounds.max_rounds
        self._like = like
        limit = link.max_payload_bytes
        repair = fec.repair_payload_bytes([(0, 1, b"")] * 2, fec.symbol_bytes(limit))
        self.full_packets = limit, fec.source_payload_bytes(limit), repair
        self._known: dict[tuple[int, int, bool], int] = {}

    def payload_bytes(self, protected: bool) -> int:
        """File bytes in a full packet."""
        return self.full_packets[protected]

    def repair_bytes(self, file_bytes: int) -> int:
        """Payload of a repair packet; that of a file of one packet is that packet again."""
        return file_bytes if file_bytes <= self.full_packets[1] else self.full_packets[2]

    def source_packets(self, file_bytes: int, protected: bool) -> int:
        """How many a file is cut into."""
        return -(-file_bytes // self.payload_bytes(protected))

    def round_bytes(self, file_bytes: int, repair_packets: int = 0, *, later: bool = False) -> int:
        """Every byte of a round: header, packets, end mark; `later`: of one that answers feedback."""
        key = file_bytes, repair_packets, later
        if key not in self._known:
            self._known[key] = packetized_bytes(*self._lay_out(*key), self.link)
        return self._known[key]

    def fits(self, budget_bytes: int, repair_packets: int = 0) -> Callable[[int], bool]:
        """Whether a file of so many bytes fits in one round with so many repair packets."""
        # What is too much by itself need not be laid out.
        return lambda size: (
            size + repair_packets * self.repair_bytes(size) <= budget_bytes
            and self.round_bytes(size, repair_packets) <= budget_bytes
        )

    def header(self, file_bytes: int) -> FrameHeader:
        """Of a first round without repair packets."""
        return self._lay_out(file_bytes, 0, False)[0]

    def _lay_out(self, file_bytes: int, repair: int, later: bool) -> tuple[FrameHeader, PacketBatch]:
        full = self.payload_bytes(repair > 0)
        counts = [min(full, file_bytes - first) for first in range(0, file_bytes, full)]
        sources = [(index * full, count, bytes(count)) for index, count in enumerate(counts)]
        symbol = fec.symbol_bytes(self.link.max_payload_bytes) if repair and len(sources) > 1 else 0
        payloads = [bytes(fec.repair_payload_bytes(sources, symbol))] * repair if repair else []
        segment = replace(
            self._like.segments[0], elements=np.zeros(file_bytes, np.int64), damage_tolerant=not repair,
            as_requested=later,
        )  # fmt: skip
        message = replace(self._like, segments=(segment,), round=int(later))
        return assemble_round(message, [SegmentPackets(sources, payloads, symbol, np.zeros(0))])
