"""Channel profiles as text: what is read, what comes back, and what people are told about mistakes."""

from __future__ import annotations

import math
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gocom.common.channel_spec import MAX_IMPAIRMENTS, PRESETS, format_spec, parse_spec
from gocom.common.errors import InvalidInput
from gocom.v1 import channel_pb2


def test_chain_sets_fields_in_order() -> None:
    profile = parse_spec("gilbert_elliott:p=0.02,r=0.25 + bit_flip:rate=1e-4,damage=deliver", seed=9)
    assert profile.seed == 9
    first, second = profile.impairments
    assert (first.gilbert_elliott.p, first.gilbert_elliott.r) == (0.02, 0.25)
    assert not first.gilbert_elliott.HasField("loss_bad")
    assert second.bit_flip == channel_pb2.BitFlip(rate=1e-4, damage=channel_pb2.DAMAGE_POLICY_DELIVER)


def test_unknown_name_is_a_plug_in() -> None:
    extension = parse_spec("toy:every=3,offset=-1.5").impairments[0].extension
    assert (extension.name, dict(extension.parameters)) == ("toy", {"every": 3.0, "offset": -1.5})


def test_whole_numbers_and_what_is_not_said() -> None:
    first, second = parse_spec("packet_erasure:rate=1,segment=0+packet_erasure:rate=1").impairments
    assert first.packet_erasure.HasField("segment") and first.packet_erasure.segment == 0
    assert not second.packet_erasure.HasField("segment")
    assert parse_spec("packet_erasure:rate=1,segment=4294967295").impairments[0].packet_erasure.segment == 2**32 - 1
    burst = parse_spec("burst_bit_flip:p=4e-5,r=0.02,damage=deliver").impairments[0].burst_bit_flip
    assert burst == channel_pb2.BurstBitFlip(p=4e-5, r=0.02, damage=channel_pb2.DAMAGE_POLICY_DELIVER)


SPECS = [
    "gilbert_elliott:p=.1,r=.2,loss_bad=0,loss_good=0.5",
    "packet_erasure:rate=1,segment=0+burst_bit_flip:p=1e-4,r=0.1,rate_bad=0,rate_good=1e-6,damage=erase",
]


@pytest.mark.parametrize("text", [*PRESETS, *PRESETS.values(), *SPECS])
def test_round_trip(text: str) -> None:
    profile = parse_spec(text, seed=3)
    assert parse_spec(format_spec(profile), profile.seed) == profile


_numbers = st.floats(allow_nan=False, allow_infinity=False)
_faults = st.one_of(
    st.builds(lambda r: channel_pb2.Impairment(packet_erasure=channel_pb2.PacketErasure(rate=r)), _numbers),
    st.builds(
        lambda r, s: channel_pb2.Impairment(packet_erasure=channel_pb2.PacketErasure(rate=r, segment=s)),
        _numbers, st.integers(0, 2**32 - 1),
    ),
    st.builds(
        lambda p, e, d: channel_pb2.Impairment(burst_bit_flip=channel_pb2.BurstBitFlip(p=p, rate_good=e, damage=d)),
        _numbers, _numbers, st.sampled_from(channel_pb2.DamagePolicy.values()),
    ),
    st.builds(
        lambda p, r, h: channel_pb2.Impairment(gilbert_elliott=channel_pb2.GilbertElliott(p=p, r=r, loss_bad=h)),
        _numbers, _numbers, _numbers,
    ),
    st.builds(
        lambda r, d: channel_pb2.Impairment(bit_flip=channel_pb2.BitFlip(rate=r, damage=d)),
        _numbers, st.sampled_from(channel_pb2.DamagePolicy.values()),
    ),
    st.builds(
        lambda v: channel_pb2.Impairment(extension=channel_pb2.ExtensionImpairment(name="toy", parameters=v)),
        st.dictionaries(st.from_regex(r"[a-z_]{1,8}", fullmatch=True), _numbers, max_size=3),
    ),
)  # fmt: skip


@settings(max_examples=50, deadline=None)
@given(st.lists(_faults, max_size=5), st.integers(0, 2**64 - 1))
def test_round_trip_of_any_profile(faults: list[channel_pb2.Impairment], seed: int) -> None:
    profile = channel_pb2.ChannelProfile(seed=seed, impairments=faults)
    back = parse_spec(format_spec(profile), seed)
    # -0.0 is set on the wire but equal to the default; compare what it means.
    assert format_spec(back) == format_spec(profile) and back.seed == seed


def test_yaml(tmp_path: Path) -> None:
    file = tmp_path / "noisy.yaml"
    file.write_text(
        "seed: 7\nimpairments: [{packet_erasure: {rate: 1e-2}}, {bit_flip: {rate: 0, damage: erase}}, {toy: }]"
    )
    profile = parse_spec(str(file))
    assert profile.seed == 7
    assert format_spec(profile) == "packet_erasure:rate=0.01+bit_flip:rate=0.0,damage=erase+toy"
    assert parse_spec(str(file), seed=8).seed == 8


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("packet_erasure:rat=0.2", r"impairments\[0\].packet_erasure.rat: no such parameter; there are rate"),
        ("packet_erasure:segment=1.5", r"impairments\[0\].packet_erasure.segment: '1.5' is not a whole number$"),
        ("packet_erasure:segment=-1", "packet_erasure.segment: '-1' is less than 0$"),
        ("packet_erasure:segment=4294967296", r"segment: '4294967296' is more than 2\*\*32 - 1"),
        ("packet_erasure:segment=x", "segment: 'x' is not a number"),
        ("packet_erasure:rate=lots", r"impairments\[0\].packet_erasure.rate: 'lots' is not a number"),
        ("packet_erasure:rate=0_1", "rate: '0_1' is not a number"),
        ("packet_erasure:rate=\N{ARABIC-INDIC DIGIT ZERO}", "rate: '.' is not a number"),
        ("packet_erasure:rate=-inf", "rate: '-inf' is not finite"),
        ("packet_erasure:rate=1e999", "rate: '1e999' is not finite"),
        ("packet_erasure:rate=nan", "rate: 'nan' is not finite"),
        ("toy:x=inf", r"impairments\[0\].toy.x: 'inf' is not finite"),
        ("packet_erasure:rate=1e-1+bit_flip:damage=eat", r"impairments\[1\].*damage: 'eat' is none of erase, deliver"),
        ("packet_erasure:0.2", "'0.2' is not of the form parameter=value"),
        ("packet_erasure:rate=0.1,rate=0.2", r"^impairments\[0\].packet_erasure.rate: given twice$"),
        ("block_fading:snr_db=10dB", r"snr_db: '10dB' is not a number; give a number without a unit, such as 10$"),
        ("delay:delay_ms=1.5e2 ms", r"'1.5e2 ms' is not a number; give a number without a unit, such as 1.5e2$"),
        ("packet_erasure:rate=20%", r"rate: '20%' is not a number; give a number without a unit, such as 0.2$"),
        ("packet_erasure:rate=x1", r"rate: 'x1' is not a number$"),
        (
            ":rate=1",
            r"impairments\[0\]: '' is no name; choose packet_erasure, gilbert_elliott, bit_flip, burst_bit_flip",
        ),
        ("+".join(["packet_erasure:rate=0.1"] * (MAX_IMPAIRMENTS + 1)), "more than 32"),
        ("no/such/file.yml", "cannot read"),
    ],
)
def test_mistakes_are_named(text: str, message: str) -> None:
    with pytest.raises(InvalidInput, match=message):
        parse_spec(text)


@pytest.mark.parametrize(
    ("document", "message"),
    [
        ("[]", "must be a mapping"),
        ("{impairment: []}", "must be a mapping of seed and impairments"),
        ("{impairments: {packet_erasure: {}}}", "must be a list"),
        ("{impairments: [packet_erasure]}", r"impairments\[0\]: must be a name with parameters"),
        ("{impairments: [{packet_erasure: 0.2}]}", "must be a mapping of parameters"),
        ("{impairments: [{packet_erasure: {rate: yes}}]}", "rate: 'yes' is not a number"),
        ("{impairments: [{packet_erasure: {rate: 1_0}}]}", "rate: '1_0' is not a number"),
        ("{impairments: [{packet_erasure: {rate: 1:30}}]}", "rate: '1:30' is not a number"),
        ("{impairments: [{packet_erasure: {rate: 0_1.5}}]}", "rate: '0_1.5' is not a number"),
        ("{impairments: [{packet_erasure: {rate: .inf}}]}", "rate: inf is not finite"),
        ("{impairments: [{packet_erasure: {rate: 0.1, rate: 0.2}}]}", "in line 1: found duplicate key .rate."),
        ("{impairments: [],\n impairments: []}", "in line 2: found duplicate key .impairments."),
        ("{seed: 1_0}", "seed: '?1_0'? is not a whole number"),
        ("{seed: -1}", "seed: -1"),
        ("{seed: [", "cannot read"),
    ],
)
def test_yaml_mistakes_are_named(tmp_path: Path, document: str, message: str) -> None:
    file = tmp_path / "bad.yml"
    file.write_text(document)
    with pytest.raises(InvalidInput, match=message):
        parse_spec(str(file))


def test_seed_range() -> None:
    assert parse_spec("clean", 2**64 - 1).seed == 2**64 - 1
    with pytest.raises(InvalidInput, match="seed"):
        parse_spec("clean", 2**64)
    assert math.isclose(parse_spec("bit_flip:rate=1e+0").impairments[0].bit_flip.rate, 1.0)


REQUIRED = {
    "packet_erasure": ["rate"],
    "gilbert_elliott": ["p", "r"],
    "bit_flip": ["rate"],
    "burst_bit_flip": ["p", "r"],
    "reorder": ["rate"],
    "duplicate": ["rate"],
    "delay": ["delay_ms"],
    "rate_limit": ["rate_kbps"],
    "periodic_outage": ["period", "length"],
}


@pytest.mark.parametrize(("fault", "names"), REQUIRED.items())
def test_what_must_be_said_is_not_taken_for_zero(tmp_path: Path, fault: str, names: list[str]) -> None:
    file = tmp_path / "channel.yml"
    for missing in names:
        given = {name: 0 for name in names if name != missing}
        words = f"{fault}:{','.join(f'{name}={value}' for name, value in given.items())}"
        file.write_text(f"impairments: [{{{fault}: {given or 'null'}}}]")
        for text in (words, str(file)):
            with pytest.raises(InvalidInput, match=rf"^impairments\[0\]\.{fault}\.{missing}: not set$"):
                parse_spec(text)
    zeros = f"{fault}:{','.join(f'{name}=0' for name in names)}"
    assert parse_spec(format_spec(parse_spec(zeros))) == parse_spec(zeros)


@pytest.mark.parametrize(("text", "rate"), [("1", 1.0), ("+.5", 0.5), ("1.", 1.0), ("1E-3", 1e-3), ("010", 10.0)])
def test_plain_decimals_are_numbers(tmp_path: Path, text: str, rate: float) -> None:
    file = tmp_path / "channel.yml"
    file.write_text(f"impairments: [{{packet_erasure: {{rate: {text}}}}}]")
    for spec in (f"packet_erasure:rate={text}", str(file)):
        assert parse_spec(spec).impairments[0].packet_erasure.rate == rate


@pytest.mark.parametrize(
    ("text", "chain"),
    [
        ("lossy+bit_flip:rate=1e-4", "packet_erasure:rate=0.2+bit_flip:rate=1e-4"),
        ("bit_flip:rate=1e-4 + bursty", "bit_flip:rate=1e-4+gilbert_elliott:p=0.02,r=0.2"),
        ("light+noisy", "packet_erasure:rate=0.05+bit_flip:rate=1e-3,damage=deliver"),
        ("clean+bit_flip:rate=1e-4+clean", "bit_flip:rate=1e-4"),
        ("clean+clean", "clean"),
        ("lossy+netem:loss 5%+heavy", "packet_erasure:rate=0.2+packet_erasure:rate=0.05+packet_erasure:rate=0.5"),
    ],
)
def test_presets_are_parts_of_chains(text: str, chain: str) -> None:
    assert parse_spec(text) == parse_spec(chain)


def test_a_preset_has_no_parameters() -> None:
    with pytest.raises(InvalidInput, match="lossy: is a preset and has no parameters; it stands for packet_erasure:ra"):
        parse_spec("bit_flip:rate=0.1+lossy:rate=0.3")
