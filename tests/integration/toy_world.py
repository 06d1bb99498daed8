"""Receiver, emulator and transmitter around a toy codec, and the requests that tests send them."""

import contextlib
import io
import random
import socket

import grpc
import numpy as np
import pytest
from PIL import Image
from toy_codec import NAME, ToyHeader

import gocom.channel_emulator.service
import gocom.receiver.service
import gocom.transmitter.service
from gocom.common.byte_account import frame_items
from gocom.common.packetizer import packetize
from gocom.common.rpc.call_status import CallStatus
from gocom.common.rpc.client_channels import open_channel
from gocom.common.settings import ChannelSettings, ReceiverSettings, TransmitterSettings
from gocom.common.types import (
    ElementCoding,
    FrameDefaults,
    GoMessage,
    LinkSettings,
    RoundSettings,
    Segment,
    SegmentForm,
    StreamPosition,
)
from gocom.common.wire.frame_headers import WIRE_VERSION, defaults_to_proto
from gocom.common.wire.frame_messages import link_to_proto
from gocom.v1 import (
    feedback_pb2_grpc,
    link_pb2,
    link_pb2_grpc,
    receiver_pb2,
    receiver_pb2_grpc,
    transmitter_pb2,
    transmitter_pb2_grpc,
)

LINK = LinkSettings(max_payload_bytes=32)
DEFAULTS = FrameDefaults(NAME, ToyHeader(), 128, 128, (SegmentForm(0, ElementCoding.FIXED),))
"""What the sessions of `opening` say of their frames."""
NAMED = StreamPosition(DEFAULTS, last_frame=-2)
"""Where every header says which frame it is of, so that rounds may be put in any order."""
SEND = "/gocom.v1.LinkService/Send"


def free_port():
    """A port that is free, below those that the kernel gives to connections: nobody takes it before it is used."""
    while True:
        with socket.socket() as s, contextlib.suppress(OSError):
            s.bind(("127.0.0.1", random.SystemRandom().randrange(20_000, 32_000)))
            return s.getsockname()[1]


def png(size=128):
    out = io.BytesIO()
    row = np.linspace(0, 255, size).astype(np.uint8)
    Image.fromarray(np.stack([np.tile(row, (size, 1))] * 3, -1)).save(out, "PNG")
    return out.getvalue()


def request(index=0, *, session="s", image=None, codec=NAME, options=None, **fields):
    of_rounds = set(link_pb2.RoundSettings.DESCRIPTOR.fields_by_name) & set(fields)
    if of_rounds:
        fields["rounds"] = {name: fields.pop(name) for name in of_rounds}
    message = transmitter_pb2.TransmitRequest(
        session_id=session,
        frame_index=index,
        image=png() if image is None else image,
        link=link_to_proto(LINK),
        **fields,
    )
    message.codec.extension.codec = codec
    message.codec.extension.fields.update(options or {})
    return message


def toy_round(index=0, round_=0, max_rounds=1, count=256, decode="picture", spans=None):
    elements = np.arange(count, dtype=np.int64) % 256
    segment = Segment(0, elements, np.ones(count, np.float32), ElementCoding.FIXED, spans=spans)
    message = GoMessage(
        NAME, ToyHeader(decode=decode), 128, 128, (segment,), index, round_, RoundSettings(max_rounds), position=NAMED
    )
    header, batch = packetize(message, LINK)
    return frame_items(header, batch, 4)


def opening(session="s", **fields):
    usual = {"link": link_to_proto(LINK), "wire_version": WIRE_VERSION, "defaults": defaults_to_proto(DEFAULTS)}
    return link_pb2.SendRequest(open=link_pb2.SessionOpen(session_id=session, **(usual | fields)))


class World:
    """Receiver, emulator, transmitter; each with channels to it."""

    def __init__(self, stack):
        self.stack = stack

    async def channel(self, address):
        channel = open_channel(address)
        self.stack.push_async_callback(channel.close)
        return channel

    async def start(self, module, settings):
        running = await module.serve(settings)
        self.stack.push_async_callback(running.stop, 0)
        return running

    async def receiver(self, port=0, **settings):
        settings = {"feedback_address": f"127.0.0.1:{free_port()}", "feedback_timeout_s": 3, **settings}
        self.receiving = await self.start(
            gocom.receiver.service, ReceiverSettings(port=port, warm_codecs=(NAME,), **settings)
        )
        channel = await self.channel(self.receiving.address)
        self.link, self.pictures = (
            link_pb2_grpc.LinkServiceStub(channel),
            receiver_pb2_grpc.ReceiverServiceStub(channel),
        )
        self.link_channel = channel
        return self

    async def all(self, profile="clean", receiver=None, link=None, **settings):
        port = free_port()
        await self.receiver(feedback_address=f"127.0.0.1:{port}", **(receiver or {}))
        emulator = await self.emulator(profile)
        return await self.transmitter(link or emulator.address, port=port, **settings)

    async def emulator(self, profile="clean"):
        settings = ChannelSettings(port=0, next_hop=self.receiving.address, profile=profile)
        return await self.start(gocom.channel_emulator.service, settings)

    async def transmitter(self, link_address, port=0, **settings):
        self.transmitting = await self.start(
            gocom.transmitter.service,
            TransmitterSettings(port=port, link_address=link_address, warm_codecs=(NAME,), **settings),
        )
        channel = await self.channel(self.transmitting.address)
        self.images = transmitter_pb2_grpc.TransmitterServiceStub(channel)
        self.feedback = feedback_pb2_grpc.FeedbackServiceStub(channel)
        return self

    async def bare(self, add, servicer, port=0):
        """A server without anything of ours around the servicer but patience with pings; returns its address."""
        server = grpc.aio.server(options=[("grpc.http2.max_ping_strikes", 0)])
        add(servicer, server)
        port = server.add_insecure_port(f"127.0.0.1:{port}")
        await server.start()
        self.stack.push_async_callback(server.stop, 0)
        return f"127.0.0.1:{port}"

    async def transmit(self, *requests):
        return [event async for event in self.images.Transmit(iter(requests), timeout=100)]

    async def subscribe(self, count, session="s", cursor=0, previews=False):
        call = self.pictures.Subscribe(
            receiver_pb2.SubscribeRequest(session_id=session, cursor=cursor, previews=previews), timeout=20
        )
        got = [await call.read() for _ in range(count)]
        call.cancel()
        return got

    async def send(self, *items, link=None):
        """Responses of the receiver, or of another LinkService; an error has the status that the server gave."""
        call = (link or self.link).Send(iter(items), timeout=100)
        status = CallStatus(call)
        try:
            return [response async for response in call]
        except grpc.aio.AioRpcError as error:
            # A refusal while items are still being written would show as INTERNAL: see call_status.py.
            code, details, trailing = status.of(error)
            metadata = grpc.aio.Metadata(*trailing)
            raise grpc.aio.AioRpcError(code, grpc.aio.Metadata(), metadata, details) from error


def kinds(events, index=None):
    return [e.WhichOneof("event") for e in events if index is None or e.frame_index == index]


async def refused(awaitable):
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await awaitable
    return caught.value.code(), caught.value.details()
