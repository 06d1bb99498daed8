"""Tests of a service of your own under a bad network: copy this file, and put your service where `my_...` stands.

Needs gocom and pytest; the fixtures `gocom_stack` and `channel` come with gocom. Run: pytest test_under_faults.py
"""

import io
import threading
from concurrent.futures import ThreadPoolExecutor

import grpc
from PIL import Image

from gocom.v1 import link_pb2, link_pb2_grpc


def my_pictures(count):
    """What your application sends."""
    for index in range(count):
        out = io.BytesIO()
        Image.new("RGB", (64, 64), (index * 5 % 256, 90, 160)).save(out, "PNG")
        yield out.getvalue()


def my_application(client, count):
    """Your code that uses a client of GO-COM: here it counts the pictures it got, and asks twice for what was lost."""
    results = list(client.send(my_pictures(count), codec="jpeg", max_rounds=3))
    return sum(result.outcome == "reconstructed" for result in results)


def test_loss_is_repaired_and_was_as_ordered(gocom_stack, channel):
    channel.set("packet_erasure:rate=0.2")
    with gocom_stack.client() as client:
        assert my_application(client, 40) >= 36
    counts = channel.statistics()
    counts.assert_as_expected()  # within 4 standard deviations of 20 %
    assert counts.packets_in > 100


def test_an_outage_passes(gocom_stack, channel):
    script = channel.play([(0.5, "packet_erasure:rate=0.2"), (0.5, "outage"), (0.5, "clean")])
    with gocom_stack.client() as client:
        while script.running:
            my_application(client, 5)
        assert my_application(client, 5) == 5, "all is well again"
    script.wait()
    for step, counts in script.counts:
        if step.spec == "outage" and counts.packets_in:
            assert counts.loss == 1


def test_a_receiver_that_is_killed_costs_no_picture(gocom_stack, channel):
    def kill_and_restart():
        gocom_stack.kill("receiver")
        gocom_stack.start_one("receiver")

    with gocom_stack.client() as client:
        stream = client.send(my_pictures(30), codec="jpeg")
        first = [next(stream) for _ in range(5)]
        killer = threading.Thread(target=kill_and_restart)
        killer.start()
        rest = list(stream)
        killer.join()
    assert [result.outcome for result in first + rest] == ["reconstructed"] * 30


class MyLinkService(link_pb2_grpc.LinkServiceServicer):
    """A data plane of your own: anything that serves LinkService can stand behind an emulator."""

    packets = 0

    def Send(self, requests, context):
        for request in requests:
            if request.HasField("open"):
                yield link_pb2.SendResponse(accepted=link_pb2.SessionAccepted())
            elif request.HasField("batch"):
                self.packets += len(request.batch.sequence)
            elif request.HasField("end"):
                yield link_pb2.SendResponse(outcome=link_pb2.FrameOutcome(status=link_pb2.FRAME_STATUS_FAILED))


def my_frame(index, packets):
    """One frame of so many packets of 10 bytes."""
    header = link_pb2.FrameHeader(frame_index=index, element_count=[10 * packets], source_packets=[packets])
    batch = link_pb2.PacketBatch(
        payload=bytes(10 * packets), length_bytes=[10] * (packets - 1), sequence=range(packets)
    )
    batch.first_element.extend(range(0, 10 * packets, 10))
    batch.element_count.extend([10] * packets)
    batch.checksum.extend([0] * packets)
    yield link_pb2.SendRequest(header=header)
    yield link_pb2.SendRequest(batch=batch)
    yield link_pb2.SendRequest(end=link_pb2.FrameEnd())


def test_a_link_service_of_my_own(channel):
    service, server = MyLinkService(), grpc.server(ThreadPoolExecutor(4))
    link_pb2_grpc.add_LinkServiceServicer_to_server(service, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    defaults = link_pb2.FrameDefaults(width_px=64, height_px=64, codec={"jpeg": {}}, segments=[{"kind": 0}])
    opening = link_pb2.SessionOpen(session_id="mine", wire_version=2, defaults=defaults)
    items = [link_pb2.SendRequest(open=opening)]
    items += [item for index in range(100) for item in my_frame(index, packets=50)]
    with (
        channel.in_front_of(f"127.0.0.1:{port}", "gilbert_elliott:p=0.05,r=0.2") as mine,
        grpc.insecure_channel(mine.address) as wire,
    ):
        outcomes = [r for r in link_pb2_grpc.LinkServiceStub(wire).Send(iter(items)) if r.HasField("outcome")]
        counts = mine.statistics()
    server.stop(None)
    assert len(outcomes) == 100
    assert counts.packets_in == 5000 and counts.packets_out == service.packets
    counts.assert_as_expected()  # bursts and all: z counts their memory
