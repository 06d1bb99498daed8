"""Traces as text that can be read and compared: a line a round.

    {"format":"gocom-trace","version":1}
    {"frame":0,"round":0,"fates":"..x.~.","flips":{"4":[17,90]}}

A character a packet, in order of sequence: "." passed, "x" erased, "~" passed with the bits flipped that `flips` lists
by packet, most significant bit of each byte of its payload first. Where a file begins with 0 or 1 each line is a round
(0 of frame 0, 1, ...) and each 1 an erased packet, as published traces come.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass, field
from itertools import pairwise
from pathlib import Path
from typing import Any, BinaryIO, Self

import numpy as np

from gocom.common.errors import InvalidInput, TooLarge
from gocom.common.packet_traces import (
    BIT_SHIFT,
    MAX_BITS,
    MAX_FLIPS,
    MAX_ROUNDS,
    MAX_TRACE_PACKETS,
    lost_of,
    trace_round,
)
from gocom.common.packetizer import MAX_PACKETS
from gocom.common.types import Bools, Ints
from gocom.v1 import channel_pb2

FORMAT, VERSION = "gocom-trace", 1
PASSED, ERASED, FLIPPED = ".x~"
_MAX_LINE = 16 << 20
"""Bytes; a round of 65536 packets and a million flips takes half of it."""
_MAX_FILE = 64 << 20
_UINT32 = 1 << 32
_QUOTED = 60


@dataclass(slots=True)
class _Room:
    """What a trace may hold in all, and what is in it already."""

    packets: int = 0
    flips: int = 0
    lines: dict[tuple[int, int], int] = field(default_factory=dict)

    def why_not(self, message: channel_pb2.TraceRound) -> str | None:
        """Takes a round in, or says which bound it breaks."""
        packets, flips = self.packets + message.packets, self.flips + len(message.flip_bit)
        bounds = (len(self.lines) + 1, MAX_ROUNDS, "rounds"), (packets, MAX_TRACE_PACKETS, "packets")
        for count, most, what in (*bounds, (flips, MAX_FLIPS, "flipped bits")):
            if count > most:
                return f"more than {most} {what}, the most a trace may have"
        self.packets, self.flips = packets, flips
        return None


def read_trace_file(path: Path) -> list[channel_pb2.TraceRound]:
    """The rounds of a file, which read_trace takes.

    Raises:
        InvalidInput: naming file, line, and what is allowed.
    """
    rounds, room = [], _Room()
    try:
        with path.open("rb") as file:
            for number, message in _rounds(file, path):
                key = (message.frame_index, message.round)
                if key in room.lines:
                    raise _wrong(path, number, f"frame {key[0]}, round {key[1]} is in line {room.lines[key]} already")
                if why := room.why_not(message):
                    raise _wrong(path, number, why)
                room.lines[key] = number
                rounds.append(message)
    except OSError as error:
        raise InvalidInput(f"cannot read {str(path)!r}: {error.strerror or error}") from None
    except ValueError as error:  # of a path with a zero byte in it
        raise InvalidInput(f"cannot read {str(path)[:_QUOTED]!r}: {error}") from None
    if not rounds:
        raise InvalidInput(f"{str(path)!r} has no rounds")
    return rounds


class TraceWriter:
    """A file while it is written: after each round it is a whole one, whatever ends the process. Use it as a context.

    Args:
        path: replaced if it is there. Raises InvalidInput where it cannot be written.
    """

    def __init__(self, path: Path) -> None:
        try:
            self._file = path.open("wb")
        except OSError as error:
            raise InvalidInput(f"cannot write {str(path)!r}: {error.strerror or error}") from None
        self._room = _Room()
        self._put({"format": FORMAT, "version": VERSION})

    @property
    def rounds(self) -> int:
        """Written so far."""
        return len(self._room.lines)

    @property
    def packets(self) -> int:
        """Written so far."""
        return self._room.packets

    def write(self, message: channel_pb2.TraceRound) -> bool:
        """Append a round; False where one of its frame and number is there: a trace has each once, the first.

        Raises:
            TooLarge: it would be more than a trace may have; the file is good without it.
        """
        key = (message.frame_index, message.round)
        if key in self._room.lines:
            return False
        if why := self._room.why_not(message):
            raise TooLarge(f"trace: {why}")
        self._room.lines[key] = len(self._room.lines)
        self._put(_record(message))
        return True

    def close(self) -> None:
        """May be called twice."""
        self._file.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _put(self, record: dict[str, Any]) -> None:
        self._file.write(json.dumps(record, separators=(",", ":")).encode() + b"\n")
        self._file.flush()


def _record(message: channel_pb2.TraceRound) -> dict[str, Any]:
    fates = np.where(lost_of(message), ord(ERASED), ord(PASSED)).astype(np.uint8)
    flips: dict[str, list[int]] = {}
    for packet, bit in zip(message.flip_packet, message.flip_bit, strict=True):
        flips.setdefault(str(packet), []).append(bit)
    fates[list(map(int, flips))] = ord(FLIPPED)
    record = {"frame": message.frame_index, "round": message.round, "fates": fates.tobytes().decode("ascii")}
    return {**record, "flips": flips} if flips else record


def _rounds(file: BinaryIO, path: Path) -> Iterator[tuple[int, channel_pb2.TraceRound]]:
    """(line number, round) of each round. Raises InvalidInput."""
    plain: bool | None = None
    frames = 0
    for number, line in _lines(file, path):
        try:
            if plain is None:
                plain = line[0] in "01"
                if not plain:
                    _check_first(_object(line))
                    continue
            message = _plain_round(line, frames) if plain else _round(_object(line))
        except InvalidInput as error:
            raise _wrong(path, number, str(error)) from None
        yield number, message
        frames += 1


def _lines(file: BinaryIO, path: Path) -> Iterator[tuple[int, str]]:
    """(line number, text) of what is no empty line; no more of the file than may be is read."""
    number = size = 0
    while line := file.readline(_MAX_LINE + 1):
        number, size = number + 1, size + len(line)
        if len(line) > _MAX_LINE:
            raise _wrong(path, number, f"longer than {_MAX_LINE} bytes")
        if size > _MAX_FILE:
            raise _wrong(path, number, f"the file is longer than {_MAX_FILE} bytes")
        try:
            text = line.decode("ascii").strip()
        except UnicodeDecodeError:
            raise _wrong(path, number, "is not ASCII text, as a trace is") from None
        if text:
            yield number, text


def _wrong(path: Path, number: int, words: str) -> InvalidInput:
    return InvalidInput(f"{str(path)!r}, line {number}: {words}")


def _object(line: str) -> dict[str, Any]:
    try:
        value = json.loads(line, object_pairs_hook=_without_repeats)
    except (ValueError, RecursionError):
        value = None
    if not isinstance(value, dict):
        raise InvalidInput(f"{line[:_QUOTED]!r} is no JSON object, nor does the file begin with 0 or 1")
    return value


def _without_repeats(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) < len(pairs):
        raise ValueError("a name comes twice")
    return values


def _check_first(record: dict[str, Any]) -> None:
    version = record.get("version")
    # 1.0 and true equal 1 as well, and are not it.
    if record != {"format": FORMAT, "version": VERSION} or not _is_whole(version, VERSION + 1):
        words = json.dumps({"format": FORMAT, "version": VERSION}, separators=(",", ":"))
        raise InvalidInput(f"the first line must be {words}, or rounds of 0 and 1")


def _check_plain(line: str) -> None:
    if set(line) - set("01 \t"):
        raise InvalidInput("only 0 (passed) and 1 (erased) are allowed in a file that begins with one of them")


def _plain_round(line: str, frame_index: int) -> channel_pb2.TraceRound:
    _check_plain(line)
    fates = np.frombuffer(line.encode("ascii"), np.uint8)
    none = np.zeros(0, np.int64)
    return trace_round(frame_index, 0, _checked_count(fates[fates > ord(" ")] == ord("1")), none, none)


def _round(record: dict[str, Any]) -> channel_pb2.TraceRound:
    if set(record) - {"flips"} != {"frame", "round", "fates"}:
        raise InvalidInput("a round has frame, round, fates, and flips where there are some; nothing else")
    for name in ("frame", "round"):
        if not _is_whole(record[name], _UINT32):
            raise InvalidInput(f"{name}: {str(record[name])[:_QUOTED]} is not a whole number in 0 to 2**32 - 1")
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
    """Packet and bit of each flip, int64 [F], in ascending order."""
    if not isinstance(record, dict):
        raise InvalidInput('flips: must have lists of bits by packet, such as {"4":[17,90]}')
    flips: list[int] = []
    for key, bits in record.items():
        # Of "\u00b2" and its like isdigit says that they are digits, and int that they are none.
        if not (key.isascii() and key.isdigit() and len(key) < 6 and str(int(key)) == key and int(key) < MAX_PACKETS):
            raise InvalidInput(f"flips: {key[:_QUOTED]!r} is not the number of a packet")
        fits = isinstance(bits, list) and bits and all(_is_whole(bit, MAX_BITS) for bit in bits)
        if not fits or any(one >= other for one, other in pairwise(bits)):
            raise InvalidInput(f"flips: of {key}: must be bits in ascending order, each in 0 to {MAX_BITS - 1}")
        flips += [int(key) << BIT_SHIFT | bit for bit in bits]
    flip = np.sort(np.array(flips, np.int64))
    return flip >> BIT_SHIFT, flip & (1 << BIT_SHIFT) - 1


def _is_whole(value: Any, below: int) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < below
