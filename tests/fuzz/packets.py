"""Coverage-guided fuzzing of what parses frame headers, packets and element sets.

    python tests/fuzz/packets.py [--seconds 60]

It starts from tests/fuzz/corpus and valid traffic of every codec (fuzz_recordings.py), and leaves what it finds in
build/fuzz; `--keep` puts into the corpus what of it reaches more code. One input is a session on the link: its items,
each behind its length. At anything but a typed error the fuzzer stops, and says where it left the input.
test_fuzz_corpus.py replays the corpus without atheris.
"""

from __future__ import annotations

import argparse
import random
import sys
from pathlib import Path

import atheris
from google.protobuf.message import Message

ROOT = Path(__file__).resolve().parents[2]
CORPUS = Path(__file__).resolve().parent / "corpus"
FOUND = ROOT / "build" / "fuzz"
MAX_INPUT = 1 << 13

sys.path[:0] = [str(path) for path in (ROOT / "tests", ROOT / "tests" / "integration")]
with atheris.instrument_imports(include=["gocom.channel_emulator", "gocom.common", "gocom.receiver"]):
    from fuzz_recordings import conversations, frames, opening
    from packet_target import one_input, pack_items, unpack_items


def mutate(data: bytes, max_size: int, seed: int) -> bytes:
    """For libFuzzer: change a field, so that what is around it still parses; or bytes, as it does by itself."""
    rng = random.Random(seed)
    items = list(unpack_items(data))
    if not items or rng.random() < 0.3:
        return bytes(atheris.Mutate(data, max_size))
    at = rng.randrange(len(items))
    match rng.randrange(8):
        case 0:
            del items[at]
        case 1:
            items.insert(rng.randrange(len(items) + 1), items[at])
        case _:
            mutate_field(items[at], rng)
    return pack_items(items)[:max_size]


def mutate_field(message: Message, rng: random.Random) -> None:
    """Change one field, however deep."""
    there = message.ListFields()
    if not message.DESCRIPTOR.fields:
        return
    if there and rng.random() < 0.8:
        field, value = rng.choice(there)
    else:
        field = rng.choice(message.DESCRIPTOR.fields)
        value = getattr(message, field.name)
    if field.message_type is not None and field.message_type.GetOptions().map_entry:
        return
    if field.is_repeated:
        at = rng.randrange(len(value)) if len(value) else None
        if at is None:
            return
        if rng.random() < 0.2:
            value.append(value[at])
        elif rng.random() < 0.1:
            del value[at]
        elif field.message_type is not None:
            mutate_field(value[at], rng)
        else:
            value[at] = mutate_scalar(field, value[at], rng)
    elif field.message_type is not None:
        value.SetInParent()
        mutate_field(value, rng)
    else:
        setattr(message, field.name, mutate_scalar(field, value, rng))


def mutate_scalar(field, value, rng: random.Random):
    """Another value that the field can hold."""
    if isinstance(value, bytes):
        return bytes(atheris.Mutate(value, len(value) + 16)) if rng.random() < 0.9 else b""
    if isinstance(value, str):
        return value[: rng.randrange(len(value) + 1)] + rng.choice(["", "a", "\0", "é"])
    if isinstance(value, bool):
        return not value
    if isinstance(value, float):
        return rng.choice([0.0, 1.0, -1.0, 1e30, float("nan"), float("inf"), value / 2, value + 0.1])
    if field.enum_type is not None:
        return rng.choice([v.number for v in field.enum_type.values] + [99])
    top = (1 << (64 if field.cpp_type == field.CPPTYPE_UINT64 else 32)) - 1
    near = [value + 1, value - 1, value * 2, value // 2]
    return min(top, max(0, rng.choice([*near, rng.randrange(256), 1 << rng.randrange(32), top])))


def main() -> None:
    """Fuzz for a while, or keep what was found."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--seconds", type=int, default=60)
    parser.add_argument("--keep", action="store_true", help="add to the corpus what of build/fuzz reaches more code")
    arguments, flags = parser.parse_known_args()
    FOUND.mkdir(parents=True, exist_ok=True)
    if not flags:
        for name, rounds in frames().items():
            (FOUND / name).write_bytes(pack_items([opening(), *(item for items in rounds for item in items)]))
        for number, items in enumerate(conversations()):
            (FOUND / f"session_{number}").write_bytes(pack_items(items))
        flags = [f"-max_len={MAX_INPUT}", "-rss_limit_mb=2048", "-timeout=10", f"-artifact_prefix={FOUND}/"]
        if arguments.keep:
            flags += ["-merge=1", "-use_counters=0", str(CORPUS), str(FOUND)]
        else:
            flags += [f"-max_total_time={arguments.seconds}", "-print_final_stats=1", str(FOUND), str(CORPUS)]
    # libFuzzer starts itself again to merge, by what it takes for its name, and with flags of its own.
    atheris.Setup([f"{sys.executable} {__file__}", *flags], one_input, custom_mutator=mutate)
    atheris.Fuzz()


if __name__ == "__main__":
    main()
