"""Strategies for protobuf messages: any fields, made from the descriptor, and damage to what is there already."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from google.protobuf.descriptor import Descriptor, FieldDescriptor
from google.protobuf.message import Message
from google.protobuf.message_factory import GetMessageClass
from hypothesis import strategies as st

F = FieldDescriptor
MAX_DEPTH, MAX_ITEMS = 4, 6


def _whole(bits: int, signed: bool) -> st.SearchStrategy[int]:
    low, high = (-(1 << bits - 1), (1 << bits - 1) - 1) if signed else (0, (1 << bits) - 1)
    edges = [0, 1, 2, 63, 64, 105, 128, 1024, 1025, 65535, 65536, 1 << 24, (1 << 31) - 1, high - 1, high, low]
    return st.one_of(st.sampled_from([v for v in edges if low <= v <= high]), st.integers(0, 9), st.integers(low, high))


SCALARS: dict[int, st.SearchStrategy[Any]] = {
    F.CPPTYPE_UINT32: _whole(32, False),
    F.CPPTYPE_UINT64: _whole(64, False),
    F.CPPTYPE_INT32: _whole(32, True),
    F.CPPTYPE_INT64: _whole(64, True),
    F.CPPTYPE_BOOL: st.booleans(),
    F.CPPTYPE_DOUBLE: st.one_of(st.floats(), st.floats(0, 1), st.integers(-1, 9).map(float)),
    F.CPPTYPE_FLOAT: st.one_of(st.floats(width=32), st.floats(0, 1, width=32)),
}
UNKNOWN = st.sampled_from([
    b"\xf8\x3e\x07",  # field 1007, a varint
    b"\xfa\x3e\x03abc",  # field 1007, bytes
    b"\x0d\x01\x02\x03\x04",  # field 1 as fixed32
    b"\x08\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",  # field 1 as the largest varint
    b"\x0b\x0c",  # field 1 as a group
    b"\xff\xff\xff",  # no field at all
])  # fmt: skip


class Messages:
    """Messages of any type.

    Args:
        fields: by full field name, what to draw for it instead of anything: what gets a message past the first check.
    """

    def __init__(self, fields: Mapping[str, st.SearchStrategy[Any]]) -> None:
        self._fields = dict(fields)
        self._made: dict[tuple[str, int], st.SearchStrategy[Message]] = {}

    def of(self, descriptor: Descriptor, depth: int = 0) -> st.SearchStrategy[Message]:
        """With any of its fields set, and one case of each oneof at most."""
        key = (descriptor.full_name, depth)
        if key not in self._made:
            self._made[key] = self._make(descriptor, depth)
        return self._made[key]

    def _make(self, descriptor: Descriptor, depth: int) -> st.SearchStrategy[Message]:
        make = GetMessageClass(descriptor)
        possible = [f for f in descriptor.fields if depth < MAX_DEPTH or f.message_type is None]
        values = {f.name: self.value(f, depth) for f in possible}
        oneofs = [[f.name for f in o.fields if f in possible] for o in descriptor.oneofs if len(o.fields) > 1]
        cases = {name for names in oneofs for name in names}
        parts = [st.fixed_dictionaries({}, optional={k: v for k, v in values.items() if k not in cases})]
        for names in oneofs:
            # Nothing is a case too, and one in a few only: it gets nowhere.
            parts.append(st.one_of(*(st.fixed_dictionaries({name: values[name]}) for name in names), st.just({})))
        return st.tuples(*parts).map(lambda drawn: make(**{k: v for part in drawn for k, v in part.items()}))

    def value(self, field: FieldDescriptor, depth: int = 0) -> st.SearchStrategy[Any]:
        """What may be given for a field to its message's constructor."""
        if field.full_name in self._fields:
            return self._fields[field.full_name]
        entry = field.message_type
        if entry is not None and entry.GetOptions().map_entry:
            key, item = (self._one(entry.fields_by_name[name], depth) for name in ("key", "value"))
            return st.dictionaries(key, item, max_size=MAX_ITEMS)
        return st.lists(self._one(field, depth), max_size=MAX_ITEMS) if field.is_repeated else self._one(field, depth)

    def _one(self, field: FieldDescriptor, depth: int) -> st.SearchStrategy[Any]:
        if field.cpp_type == F.CPPTYPE_MESSAGE:
            return self.of(field.message_type, depth + 1)
        if field.cpp_type == F.CPPTYPE_ENUM:
            return st.one_of(st.sampled_from([v.number for v in field.enum_type.values]), st.integers(-2, 40))
        if field.cpp_type == F.CPPTYPE_STRING:
            return st.binary(max_size=80) if field.type == F.TYPE_BYTES else st.text(max_size=20)
        return SCALARS[field.cpp_type]

    def serialized(self, descriptor: Descriptor) -> st.SearchStrategy[bytes]:
        """Any message, damaged now and then, or bytes that are none."""
        whole = self.of(descriptor).map(lambda message: message.SerializeToString())
        return st.one_of(whole, whole, whole, damaged(whole), st.binary(max_size=200))

    def change(self, draw: st.DrawFn, message: Message) -> None:
        """Change one field of a message in place, however deep."""
        if not message.DESCRIPTOR.fields:
            return
        field = draw(st.sampled_from(list(message.DESCRIPTOR.fields)))
        inner = field.message_type is not None and not field.message_type.GetOptions().map_entry
        if field.is_repeated and not (field.message_type is not None and not inner):
            self._change_items(draw, message, field)
        elif inner and message.HasField(field.name) and draw(st.integers(0, 3)):
            self.change(draw, getattr(message, field.name))
        else:
            new = type(message)(**{field.name: draw(self.value(field, 1))})
            message.ClearField(field.name)
            message.MergeFrom(new)

    def _change_items(self, draw: st.DrawFn, message: Message, field: FieldDescriptor) -> None:
        """One item changed, left out or put in."""
        items = getattr(message, field.name)
        kind = draw(st.integers(0, 3)) if len(items) else 0
        at = draw(st.integers(0, len(items) - 1)) if kind else 0
        if kind == 0:
            items.append(draw(self._one(field, 1)))
        elif kind == 1:
            del items[at]
        elif field.message_type is not None:
            self.change(draw, items[at])
        else:
            items[at] = draw(self._one(field, 1))


@dataclass(frozen=True, slots=True)
class Harm:
    """Something done to bytes, whatever they are: fields behind them that nobody knows, or bytes put in or cut off."""

    kind: int
    at: int
    put: bytes
    unknown: bytes

    def __call__(self, good: bytes) -> bytes:
        """The bytes after it."""
        at = self.at % len(good) if good else 0
        match self.kind:
            case 0:
                return good + self.unknown
            case 1:
                return good[:at]
            case 2:
                return good[:at] + self.put + good[at:]
            case _:
                return good[:at] + self.put + good[at + len(self.put) :]


HARMS = st.builds(Harm, st.integers(0, 4), st.integers(0, 1 << 16), st.binary(min_size=1, max_size=8), UNKNOWN)
"""Drawn apart from what they are done to, which is quicker."""


def damaged(good: st.SearchStrategy[bytes]) -> st.SearchStrategy[bytes]:
    """What another strategy draws, harmed."""
    return st.builds(lambda harm, data: harm(data), HARMS, good)
