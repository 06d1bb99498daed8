"""What the transmitter knows of the channel: from the emulator before each round, or from the receiver's reports."""

import grpc
import numpy as np
import pytest
from pydantic import ValidationError
from test_services import Silent
from toy_codec import ToyEncoder, ToySession
from toy_world import LINK, kinds, refused, request

from gocom.channel_emulator.chain import Chain
from gocom.channel_emulator.channel_state import InstantaneousCsiQuery, compute_csi
from gocom.common.channel_spec import parse_spec
from gocom.common.csi import Csi, CsiSource
from gocom.common.settings import TransmitterSettings
from gocom.common.types import Budget
from gocom.transmitter import transmit_session as session
from gocom.transmitter.channel_state import CSI_PACKETS, ChannelStateSource
from gocom.v1 import channel_pb2, channel_pb2_grpc, feedback_pb2, link_pb2_grpc, transmitter_pb2

EMULATOR, RECEIVER = transmitter_pb2.CSI_SOURCE_EMULATOR, transmitter_pb2.CSI_SOURCE_RECEIVER
FADING = "coded_fading:snr_db=-1,code_rate=1,coherence=2,limit=outage"


@pytest.fixture
def known(monkeypatch):
    """The Csi that each round was encoded with, by (frame, round)."""
    found = {}

    def spy(encode):
        def encoding(*arguments):
            made = encode(*arguments)
            encoded = made[1] if isinstance(made, tuple) else made
            found[encoded.header.frame_index, encoded.header.round] = encoded.csi
            return made

        return encoding

    for name in ("encode_first", "encode_next"):
        monkeypatch.setattr(session, name, spy(getattr(session, name)))
    return found


def rounds(events):
    """{(frame, round): (packets sent, packets received, the channel as it was known)}"""
    sent = {(e.frame_index, e.sent.round): e.sent for e in events if e.HasField("sent")}
    received = {(e.frame_index, e.received.round): e.received for e in events if e.HasField("received")}
    assert sent.keys() == received.keys()
    return {key: (sent[key].packets, received[key].packets_received, sent[key].channel) for key in sent}


async def test_the_emulator_tells_of_each_round_what_will_happen_to_it(world, known):
    await world.all(FADING, csi_kind="instantaneous")
    chain = Chain.from_profile(parse_spec(FADING))
    seen = rounds(await world.transmit(request(0, max_rounds=20), request(1, max_rounds=20)))
    assert seen.keys() == known.keys() and max(round_ for _, round_ in seen) >= 2
    for key, (sent, received, channel) in seen.items():
        csi = known[key]
        query = InstantaneousCsiQuery(*key, CSI_PACKETS)
        assert csi == compute_csi(chain, LINK.max_payload_bytes, query), "as in one process"
        assert received == sum(snr >= csi.threshold_snr_db for snr in csi.snr_db[:sent]), key
        assert channel.source == EMULATOR and channel.mean_snr_db == -1.0
        assert channel.packet_erasure_rate == pytest.approx(1 - np.exp(-(10**0.1)))
    assert any(received < sent for sent, received, _ in seen.values())


async def test_age_and_error_are_asked_for(world, known):
    perfect, settings = await world.all(FADING, csi_kind="instantaneous"), {"csi_kind": "instantaneous"}
    await world.transmit(request(0))
    (exact,) = (csi.snr_db for csi in known.values())
    await perfect.all(FADING, csi_age_packets=2, **settings)
    await world.transmit(request(0))
    assert known[0, 0].snr_db[2:] == exact[:-2] and known[0, 0].snr_db[:2] != exact[:2]
    await perfect.all(FADING, csi_nmse_db=-30, **settings)
    await world.transmit(request(0))
    error = np.abs(np.array(known[0, 0].snr_db) - exact)
    assert 0 < np.median(error) < 1


async def test_statistical_knowledge_is_for_the_sessions_payloads(world, known):
    await world.all("bit_flip:rate=1e-3")
    await world.transmit(request(0))
    assert known[0, 0].source is CsiSource.EMULATOR and not known[0, 0].snr_db
    assert known[0, 0].packet_erasure_rate == pytest.approx(1 - 0.999**256)  # 32 bytes


async def test_the_capacity_of_a_round_is_known_to_its_encoder(world, known):
    spec = "coded_fading:snr_db=6,code_rate=auto,coherence=2,limit=outage,symbols_per_round=800"
    perfect, chain = (
        await world.all(spec, csi_kind="instantaneous", csi_outage_target=0.3),
        Chain.from_profile(parse_spec(spec)),
    )
    await world.transmit(request(0, max_rounds=20), request(1, max_rounds=20))
    assert len(known) > 2
    for key, csi in known.items():
        query = InstantaneousCsiQuery(*key, CSI_PACKETS)
        assert csi == compute_csi(chain, LINK.max_payload_bytes, query, outage_target=0.3)
    assert len({csi.capacity_bytes for csi in known.values()}) > 1
    await perfect.all(spec, csi_outage_target=0.02)
    await world.transmit(request(0))
    assert known[0, 0] == compute_csi(chain, LINK.max_payload_bytes, outage_target=0.02)


async def test_the_receiver_reports_what_it_saw(world, known):
    await world.all("packet_erasure:rate=0.4", csi_source="receiver")
    events = await world.transmit(request(0, max_rounds=20))
    assert kinds(events)[-1] == "completed"
    seen = rounds(events)
    assert len(seen) > 2
    sent = lost = 0
    for (_, round_), (packets, received, channel) in sorted(seen.items()):
        if round_ == 0:
            assert known[0, 0] == Csi() and not channel.source
        else:
            assert channel.source == RECEIVER and channel.packet_erasure_rate == lost / sent
            assert 1 <= channel.mean_burst_packets <= lost
            assert channel.HasField("mean_snr_db") == (0 < lost < sent)
        sent, lost = sent + packets, lost + packets - received
    # A session to come begins with what is known.
    (_, _, channel) = rounds(await world.transmit(request(0, session="t")))[0, 0]
    assert channel.source == RECEIVER


async def test_a_report_that_cannot_be_is_refused(world):
    address = await world.bare(link_pb2_grpc.add_LinkServiceServicer_to_server, Silent())
    await world.transmitter(address, outcome_timeout_s=1, csi_source="receiver")
    call = world.images.Transmit(timeout=100)
    await call.write(request(0, max_rounds=2))
    events = []
    while "sent" not in kinds(events):
        events.append(await call.read())
    report = feedback_pb2.LinkReport(packets=8, lost=9, mean_burst_permille=1000)
    code, details = await refused(
        world.feedback.SendFeedback(feedback_pb2.SendFeedbackRequest(session_id="s", link=report))
    )
    assert code == grpc.StatusCode.INVALID_ARGUMENT and details.startswith("link.lost: ")
    call.cancel()


class Moody(channel_pb2_grpc.ChannelControlServiceServicer):
    """Tells the state of a channel, or nothing."""

    def __init__(self):
        self.away, self.asked = False, []

    async def GetChannelState(self, request, context):
        self.asked.append(request)
        if self.away:
            await context.abort(grpc.StatusCode.UNAVAILABLE, "away")
        snr_db = [float(request.round)] * request.packets
        return channel_pb2.GetChannelStateResponse(
            packet_erasure_rate=0.25, mean_burst_packets=2, snr_db=snr_db, capacity_bytes=1000 + request.round
        )


async def test_an_emulator_that_went_away_leaves_what_holds_in_the_long_run(world):
    moody = Moody()
    channel = await world.channel(await world.bare(channel_pb2_grpc.add_ChannelControlServiceServicer_to_server, moody))
    settings = TransmitterSettings(
        csi_kind="instantaneous", csi_age_packets=3, csi_nmse_db=-10, csi_outage_target=0.02, csi_refresh_s=100
    )
    source = ChannelStateSource(channel, settings)
    first = await source.get(7, 1, 60, packets=5)
    assert (first.snr_db, first.capacity_bytes) == ((1.0,) * 5, 1001)
    asked = moody.asked[0]
    assert asked.outage_target == 0.02
    assert (asked.frame_index, asked.payload_bytes, asked.age_packets, asked.nmse_db) == (7, 60, 3, -10)
    assert (await source.get(7, 2, 60, packets=5)).snr_db == (2.0,) * 5
    moody.away = True
    for _ in range(3):
        left = await source.get(8, 0, 60)
        assert (left.packet_erasure_rate, left.mean_burst_packets, left.snr_db) == (0.25, 2.0, ())
        assert left.capacity_bytes is None, "it followed from the gains of another round"
    assert len(moody.asked) == 3, "one that is away is not asked before each frame"
    assert await source.get(8, 0, 70) == Csi()


async def test_who_goes_by_the_state_is_told_of_it_as_it_is(world):
    moody = Moody()
    channel = await world.channel(await world.bare(channel_pb2_grpc.add_ChannelControlServiceServicer_to_server, moody))
    source = ChannelStateSource(channel, TransmitterSettings(csi_refresh_s=100))
    for refresh, asked in ((False, 1), (False, 1), (True, 2), (True, 3), (False, 3)):
        assert (await source.get(0, 0, 60, refresh=refresh)).packet_erasure_rate == 0.25
        assert len(moody.asked) == asked
    moody.away = True
    for _ in range(3):
        left = await source.get(0, 0, 60, refresh=True)
        assert (left.packet_erasure_rate, left.capacity_bytes) == (0.25, 1000)
    assert len(moody.asked) == 4, "one that is away is not asked before each frame"


async def test_a_channel_that_was_changed_is_known_at_once_where_it_matters(world, known, monkeypatch):
    await world.receiver(feedback_address="127.0.0.1:1")
    emulator = await world.emulator()
    await world.transmitter(emulator.address, csi_refresh_s=100)
    control = channel_pb2_grpc.ChannelControlServiceStub(await world.channel(emulator.address))
    chosen = {"power_allocation": transmitter_pb2.POWER_ALLOCATION_SEMANTIC}
    await world.transmit(request(0, **chosen))
    profile = parse_spec("packet_erasure:rate=0.25")
    await control.UpdateProfile(channel_pb2.UpdateProfileRequest(profile=profile))
    await world.transmit(request(0, session="t", **chosen))
    assert known[0, 0].packet_erasure_rate == 0.25
    await control.UpdateProfile(channel_pb2.UpdateProfileRequest(profile=parse_spec("clean")))
    await world.transmit(request(0, session="u"))
    assert known[0, 0].packet_erasure_rate == 0.25, "others do not ask each time"
    monkeypatch.setattr(ToyEncoder, "adapts_to_channel", True, raising=False)
    await world.transmit(request(0, session="v"))
    assert known[0, 0].packet_erasure_rate == 0, "but for a codec that adapts"


async def test_a_codec_is_told_of_the_channel_before_each_round(world, known, monkeypatch):
    told = {}
    first, refine = ToySession.first, ToySession.refine

    def noting_first(self, csi, budget):
        told[0] = csi, budget
        return first(self, csi, budget)

    def noting_refine(self, feedback, csi, budget):
        told[feedback.round + 1] = csi, budget
        return refine(self, feedback, csi, budget)

    monkeypatch.setattr(ToySession, "first", noting_first)
    monkeypatch.setattr(ToySession, "refine", noting_refine)
    monkeypatch.setattr(ToyEncoder, "adapts_to_channel", True, raising=False)
    await world.all("packet_erasure:rate=0.4")
    await world.transmit(request(0, max_rounds=3, round_budget_bytes=2000, budget_bytes=3000))
    assert told.keys() == {0, 1, 2}
    assert {round_: csi for round_, (csi, _) in told.items()} == {round_: csi for (_, round_), csi in known.items()}
    assert all(csi.packet_erasure_rate == pytest.approx(0.4) for csi, _ in told.values())
    assert [budget for _, budget in told.values()] == [Budget(3000), Budget(2000), Budget(2000)]


@pytest.mark.parametrize(
    ("settings", "field"),
    [
        ({"csi_kind": "instantaneous", "csi_source": "receiver"}, "csi_kind"),
        ({"csi_age_packets": 3}, "csi_age_packets"),
        ({"csi_nmse_db": 0.0}, "csi_nmse_db"),
        ({"csi_kind": "instantaneous", "csi_age_packets": 65537}, "csi_age_packets"),
        ({"csi_kind": "instantaneous", "csi_nmse_db": 21}, "csi_nmse_db"),
        ({"csi_kind": "perfect"}, "csi_kind"),
        ({"csi_outage_target": 0.0}, "csi_outage_target"),
        ({"csi_outage_target": 1.0}, "csi_outage_target"),
        ({"csi_outage_target": 0.2, "csi_source": "receiver"}, "csi_outage_target"),
        ({"csi_source": "oracle"}, "csi_source"),
    ],
)
def test_settings_that_do_not_fit(settings, field, monkeypatch):
    with pytest.raises(ValidationError) as caught:
        TransmitterSettings(**settings)
    assert [error["loc"] for error in caught.value.errors()] == [(field,)]
    for name, value in settings.items():
        monkeypatch.setenv(f"GOCOM_TRANSMITTER_{name.upper()}", str(value))
    with pytest.raises(ValidationError):
        TransmitterSettings()
