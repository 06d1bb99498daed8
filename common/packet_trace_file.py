"""Reader and writer of packet trace files: text with one round per line, which people can read and compare.

    {"format":"gocom-trace","version":1}
    {"frame":0,"round":0,"fates":"..x.~.","flips":{"4":[17,90]}}

`fates` has one character per packet, in the order of sequence numbers: "." passed, "x" erased, "~" passed with flipped
bits. `flips` lists the flipped bits of each such packet; bit 0 is the most significant bit of the first byte of the
payload. A file that begins with 0 or 1 is a bare trace, the form of many published ones: line i is round 0 of frame i,
0 is a packet that passed, and 1 an erased one.
"""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any, BinaryIO, Self

import numpy as np

from gocom.common.errors import GoComError, InvalidInput, TooLarge
from gocom.common.number_checks import UINT32_MAX
from gocom.common.packet_traces import (
    BIT_SHIFT,
    MAX_BITS,
    MAX_FLIPS,
    MAX_ROUNDS,
    MAX_TRACE_PACKETS,
    erased_mask,
    trace_round,
)
from gocom.common.packetizer import MAX_PACKETS
from gocom.common.types import Bools, Ints
from gocom.v1 import channel_pb2

FORMAT, VERSION = "gocom-trace", 1
PASSED, ERASED, FLIPPED = ".x~"
_MAX_LINE = 16 << 20
"""Longest line, in bytes; a round of 65536 packets and a million flips takes half of it."""
_MAX_FILE = 64 << 20
_MAX_QUOTED = 60


@dataclass(slots=True)
class _TraceTotals:
    """Totals of the rounds of a trace so far.

    Attributes:
        packets: number of packets.
        flips: number of flipped bits.
        lines: line number of each round, by (frame index, round); while a file is written, the index of the round.
    """

    packets: int = 0
    flips: int = 0
    lines: dict[tuple[int, int], int] = field(default_factory=dict)

    def try_add(self, message: channel_pb2.TraceRound) -> str | None:
        """Add the packets and flips of a round, unless that exceeds a limit. Return None, or which limit."""
        packets, flips = self.packets + message.packets, self.flips + len(message.flip_bit)
        bounds = (len(self.lines) + 1, MAX_ROUNDS, "rounds"), (packets, MAX_TRACE_PACKETS, "packets")
        for count, limit, what in (*bounds, (flips, MAX_FLIPS, "flipped bits")):
            if count > limit:
                return f"more than {limit} {what}, the most a trace may have"
        self.packets, self.flips = packets, flips
        return None


def read_trace_file(path: Path) -> list[channel_pb2.TraceRound]:
    """Return the rounds of a trace file, one or more, as `trace_from_proto` takes them.

    Raises:
        InvalidInput: the file cannot be read or is malformed; the message names the file, the line and what is allowed.
    """
    rounds, totals = [], _TraceTotals()
    try:
        with path.open("rb") as file:
            for number, message in _read_rounds(file, path):
                key = (message.frame_index, message.round)
                if key in totals.lines:
                    raise _line_error(
                        path, number, f"frame {key[0]}, round {key[1]} is in line {totals.lines[key]} already"
                    )
                if exceeded := totals.try_add(message):
                    raise _line_error(path, number, exceeded)
                totals.lines[key] = number
                rounds.append(message)
    except OSError as error:
        raise InvalidInput(f"cannot read {str(path)!r}: {error.strerror or error}") from None
    except ValueError as error:  # a path with a zero byte
        raise InvalidInput(f"cannot read {str(path)[:_MAX_QUOTED]!r}: {error}") from None
    if not rounds:
        raise InvalidInput(f"{str(path)!r} has no rounds")
    return rounds


class TraceWriter:
    """A writer of a trace file. The file is complete after each round, however the process ends.

    Use it as a context manager, which closes the file.

    Args:
        path: the file, which is replaced if it exists.

    Raises:
        InvalidInput: the file cannot be opened for writing.
        GoComError: the disk is full.
    """

    def __init__(self, path: Path) -> None:
        try:
            self._file = path.open("wb")
        except OSError as error:
            raise InvalidInput(f"cannot write {str(path)!r}: {error.strerror or error}") from None
        self._totals = _TraceTotals()
        self._write_line({"format": FORMAT, "version": VERSION})

    @property
    def rounds(self) -> int:
        """Number of rounds written so far."""
        return len(self._totals.lines)

    @property
    def packets(self) -> int:
        """Number of packets written so far."""
        return self._totals.packets

    def write(self, message: channel_pb2.TraceRound) -> bool:
        """Append a round and return True; return False if the file already has a round of this frame and number.

        Raises:
            TooLarge: the trace would exceed a limit. The round is not written, and the file stays complete.
            GoComError: the disk is full. The file is closed.
        """
        key = (message.frame_index, message.round)
        if key in self._totals.lines:
            return False
        if exceeded := self._totals.try_add(message):
            raise TooLarge(f"trace: {exceeded}")
        self._totals.lines[key] = len(self._totals.lines)
        self._write_line(_round_to_record(message))
        return True

    def close(self) -> None:
        """Close the file. A further call does nothing."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _write_line(self, record: dict[str, Any]) -> None:
        """Append a line. Raises GoComError, and closes the file, if it cannot be written, as on a full disk."""
        try:
            self._file.write(json.dumps(record, separators=(",", ":")).encode() + b"\n")
            self._file.flush()
        except OSError as error:
            with contextlib.suppress(OSError):
                self._file.close()  # tries to write once more, and closes the file whether it can or not
            raise GoComError(f"cannot write {self._file.name!r}: {error.strerror or error}") from None


def _round_to_record(message: channel_pb2.TraceRound) -> dict[str, Any]:
    fates = np.where(erased_mask(message), ord(ERASED), ord(PASSED)).astype(np.uint8)
    flips: dict[str, list[int]] = {}
    for packet, bit in zip(message.flip_packet, message.flip_bit, strict=True):
        flips.setdefault(str(packet), []).append(bit)
    fates[list(map(int, flips))] = ord(FLIPPED)
    record = {"frame": message.frame_index, "round": message.round, "fates": fates.tobytes().decode("ascii")}
    return {**record, "flips": flips} if flips else record


def _read_rounds(file: BinaryIO, path: Path) -> Iterator[tuple[int, channel_pb2.TraceRound]]:
    """Yield (line number, round) of each round. Raise InvalidInput if a line is malformed."""
    bare: bool | None = None
    frames = 0
    for number, line in _read_lines(file, path):
        try:
            if bare is None:
                bare = line[0] in "01"
                if not bare:
                    _check_header(_parse_object(line))
                    continue
            message = _bare_round(line, frames) if bare else _record_to_round(_parse_object(line))
        except InvalidInput as error:
            raise _line_error(path, number, str(error)) from None
        yield number, message
        frames += 1


def _read_lines(file: BinaryIO, path: Path) -> Iterator[tuple[int, str]]:
    """Yield (line number, text) of each non-empty line. Raise InvalidInput for a line or file that is too long."""
    number = size = 0
    while line := file.readline(_MAX_LINE + 1):
        number, size = number + 1, size + len(line)
        if len(line) > _MAX_LINE:
            raise _line_error(path, number, f"longer than {_MAX_LINE} bytes")
        if size > _MAX_FILE:
            raise _line_error(path, number, f"the file is longer than {_MAX_FILE} bytes")
        try:
            text = line.decode("ascii").strip()
        except UnicodeDecodeError:
            raise _line_error(path, number, "is not ASCII text, as a trace is") from None
        if text:
            yield number, text


def _line_error(path: Path, number: int, words: str) -> InvalidInput:
    return InvalidInput(f"{str(path)!r}, line {number}: {words}")


def _parse_object(line: str) -> dict[str, Any]:
    try:
        value = json.loads(line, object_pairs_hook=_refuse_duplicates)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise InvalidInput(f"{line[:_MAX_QUOTED]!r} is no JSON object, nor does the file begin with 0 or 1")
    return value


def _refuse_duplicates(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) < len(pairs):
        raise ValueError("a name comes twice")
    return values


def _check_header(record: dict[str, Any]) -> None:
    version = record.get("version")
    # The comparison alone would accept 1.0 and true, which equal 1.
    if record != {"format": FORMAT, "version": VERSION} or not _is_integer_below(version, VERSION + 1):
        words = json.dumps({"format": FORMAT, "version": VERSION}, separators=(",", ":"))
        raise InvalidInput(f"the first line must be {words}, or rounds of 0 and 1")


def _check_bare(line: str) -> None:
    if set(line) - set("01 \t"):
        raise InvalidInput("only 0 (passed) and 1 (erased) are allowed in a file that begins with one of them")


def _bare_round(line: str, frame_index: int) -> channel_pb2.TraceRound:
    _check_bare(line)
    fates = np.frombuffer(line.encode("ascii"), np.uint8)
    none = np.zeros(0, np.int64)
    return trace_round(frame_index, 0, _checked_count(fates[fates > ord(" ")] == ord("1")), none, none)


def _record_to_round(record: dict[str, Any]) -> channel_pb2.TraceRound:
    if set(record) - {"flips"} != {"frame", "round", "fates"}:
        raise InvalidInput("a round has frame, round, fates, and flips where there are some; nothing else")
    for name in ("frame", "round"):
        if not _is_integer_below(record[name], UINT32_MAX + 1):
            raise InvalidInput(f"{name}: {str(record[name])[:_MAX_QUOTED]} is not a whole number in 0 to 2**32 - 1")
    text = record["fates"]
    if not isinstance(text, str) or set(text) - {PASSED, ERASED, FLIPPED}:
        raise InvalidInput(f"fates: must be text of {PASSED} (passed), {ERASED} (erased) and {FLIPPED} (flipped)")
    fates = np.frombuffer(text.encode("ascii"), np.uint8)
    lost = _checked_count(fates == ord(ERASED))
    packet, bit = _flips(record.get("flips", {}))
    if not np.array_equal(np.unique(packet), np.flatnonzero(fates == ord(FLIPPED))):
        raise InvalidInput(f"flips: must name the packets that are {FLIPPED} in fates, and no others")
    return trace_round(record["frame"], record["round"], lost, packet, bit)


def _checked_count(lost: Bools) -> Bools:
    if not 1 <= len(lost) <= MAX_PACKETS:
        raise InvalidInput(f"fates: {len(lost)} packets, and not 1 to {MAX_PACKETS}")
    return lost


def _flips(record: Any) -> tuple[Ints, Ints]:
    """Return the packet and the bit of each flip, two int64 [F], in ascending order."""
    if not isinstance(record, dict):
        raise InvalidInput('flips: must have lists of bits by packet, such as {"4":[17,90]}')
    flips: list[int] = []
    for key, bits in record.items():
        # isascii is needed: isdigit accepts "\u00b2" and the like, and int refuses them.
        if not (key.isascii() and key.isdigit() and len(key) < 6 and str(int(key)) == key and int(key) < MAX_PACKETS):
            raise InvalidInput(f"flips: {key[:_MAX_QUOTED]!r} is not the number of a packet")
        fits = isinstance(bits, list) and bits and all(_is_integer_below(bit, MAX_BITS) for bit in bits)
        if not fits or any(one >= other for one, other in pairwise(bits)):
            raise InvalidInput(f"flips: of {key}: must be bits in ascending order, each in 0 to {MAX_BITS - 1}")
        flips += [int(key) << BIT_SHIFT | bit for bit in bits]
    flip = np.sort(np.array(flips, np.int64))
    return flip >> BIT_SHIFT, flip & (1 << BIT_SHIFT) - 1


def _is_integer_below(value: Any, below: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < below
