"""Receiver, emulator and transmitter in a loop of their own, around codecs without nets; called with plain bytes."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import grpc
import numpy as np
import torch
import toy_tasks  # noqa: F401 - registers the tasks
from fuzz_recordings import SESSION, open_without_nets
from generative_codecs import GENERATIVE
from google.protobuf.message import Message
from grpc_health.v1 import health_pb2
from toy_codec import NAME as TOY
from toy_codec import ToyDecoder
from toy_world import World, free_port, request

import gocom.channel_emulator.service
from gocom.common.codec_interfaces import Analysis
from gocom.common.errors import DecodeFailed
from gocom.common.nets.latent_imputer import LatentImputer
from gocom.common.rounds import merge_rounds
from gocom.common.settings import ChannelSettings
from gocom.common.types import Reconstruction
from gocom.common.wire.frame_messages import MAX_ROUNDS
from gocom.receiver.decoders import DECODERS
from gocom.receiver.decoders.feature_imputing import FeatureImputingDecoder
from gocom.receiver.decoders.lami_go import LamiGoDecoder
from gocom.receiver.sampling_decoder import SamplingDecoder
from gocom.transmitter.encoders import ENCODERS
from gocom.v1 import channel_pb2, link_pb2, link_pb2_grpc, receiver_pb2, transmitter_pb2

DEADLINE_S = 15
STREAMS = 8
"""Streams each service takes at a time."""
TYPED = {
    grpc.StatusCode.OK, grpc.StatusCode.CANCELLED, grpc.StatusCode.INVALID_ARGUMENT, grpc.StatusCode.NOT_FOUND,
    grpc.StatusCode.UNIMPLEMENTED, grpc.StatusCode.RESOURCE_EXHAUSTED, grpc.StatusCode.FAILED_PRECONDITION,
}  # fmt: skip
"""What a service may answer while it is well. UNAVAILABLE and DEADLINE_EXCEEDED are not among them."""
TRANSMIT = "/gocom.v1.TransmitterService/Transmit"
SUBSCRIBE = "/gocom.v1.ReceiverService/Subscribe"
WATCH = "/gocom.v1.ChannelControlService/WatchStatistics"
RECORD = "/gocom.v1.ChannelControlService/RecordTrace"
ENDLESS = (SUBSCRIBE, WATCH, RECORD, "/grpc.health.v1.Health/Watch")
PROFILE = "packet_erasure:rate=0.2"


@dataclass(frozen=True, slots=True)
class Answer:
    """How a call ended, and what came before that, serialized."""

    code: grpc.StatusCode
    details: str
    responses: list[bytes]


NETLESS = {
    "lami_go": LamiGoDecoder(None, None, torch.device("cpu")),
    "feature_imputing": FeatureImputingDecoder(None, LatentImputer(None), torch.device("cpu")),
}
"""Decoders that can look at what arrived, and no more."""


class Encoder:
    """A codec's, as far as it goes without nets."""

    def __init__(self, codec: str) -> None:
        self.analyse, self._open = Analysis, open_without_nets(codec)

    def open(self, analysis, goal):
        return self._open(analysis.image, goal)


class Decoder:
    """A SamplingDecoder's, as far as it goes without nets: everything that looks at what arrived."""

    def __init__(self, decoder: SamplingDecoder) -> None:
        self.arrived_frame = decoder.arrived_frame

    def reconstruct(self, rounds, *, generator, previews=False):
        frame = self.arrived_frame(rounds, generator)
        provenance = frame.provenance()
        grey = np.full((3, *provenance.shape), 0.5, np.float32)
        yield Reconstruction(grey, provenance, wanted=frame.wanted(), caption=frame.caption)


def without_nets(end, of):
    """A class as registries have it."""
    return lambda zoo: end(of)


class CarefulToy(ToyDecoder):
    """The toy, for frames that do not fit it."""

    def reconstruct(self, rounds, *, generator, previews=False):
        frame, values = rounds[0].frame, merge_rounds(rounds).get(0)
        patches = -(-frame.height_px // 8) * -(-frame.width_px // 8)
        if values is None or len(values.elements) != patches:
            raise DecodeFailed(f"toy: not the {patches} values of this picture")
        yield from super().reconstruct(rounds, generator=generator, previews=previews)


@contextlib.contextmanager
def codecs_without_nets() -> Iterator[None]:
    """Every codec without its nets, for a while."""
    with contextlib.ExitStack() as stack:
        encoders = {codec: without_nets(Encoder, codec) for codec in GENERATIVE}
        decoders = {codec: without_nets(Decoder, decoder) for codec, decoder in NETLESS.items()} | {TOY: CarefulToy}
        for registry, stand_ins in ((ENCODERS, encoders), (DECODERS, decoders)):
            registry.load()
            real = {name: registry.get(name) for name in stand_ins}
            registry._items.update(stand_ins)
            stack.callback(registry._items.update, real)
        yield


class Silent(link_pb2_grpc.LinkServiceServicer):
    """A receiver that accepts sessions, and says no more."""

    async def Send(self, requests, context):
        async for item in requests:
            if item.HasField("open"):
                yield link_pb2.SendResponse(accepted=link_pb2.SessionAccepted())


class Liar:
    """A receiver that answers the opening of a session, and each frame, with bytes that a test has chosen, and leaves.

    Attributes:
        opening: answers to the opening.
        frame: answers to the end of a frame.
    """

    def __init__(self) -> None:
        self.opening: list[bytes] = []
        self.frame: list[bytes] = []

    def add_to(self, _, server: grpc.aio.Server) -> None:
        """Serve LinkService.Send there."""
        method = grpc.stream_stream_rpc_method_handler(self._send)
        server.add_generic_rpc_handlers(
            (grpc.method_handlers_generic_handler("gocom.v1.LinkService", {"Send": method}),)
        )

    async def _send(self, requests, context):
        async for data in requests:
            item = link_pb2.SendRequest.FromString(data)
            for answer in self.opening if item.HasField("open") else self.frame if item.HasField("end") else []:
                yield answer
            if item.HasField("end"):
                return


class FuzzStack:
    """A context manager around running services: `call` them, and ask whether they are well."""

    def __init__(self) -> None:
        self.liar = Liar()
        self._numbers = itertools.count()
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="services")

    def __enter__(self) -> FuzzStack:
        with contextlib.ExitStack() as stack:
            stack.enter_context(codecs_without_nets())
            self._thread.start()
            stack.callback(self._end_loop)
            services = contextlib.AsyncExitStack()
            stack.callback(lambda: self._run(services.aclose()))
            self.channels = {}
            for name, address in self._run(_start(World(services), self.liar)).items():
                self.channels[name] = grpc.insecure_channel(address, options=[("grpc.enable_http_proxy", 0)])
                stack.callback(self.channels[name].close)
            self._open_frame(stack)
            self._stack = stack.pop_all()
        return self

    def _open_frame(self, stack: contextlib.ExitStack) -> None:
        """A frame at the `waiting` transmitter that never ends, so that there is something to give feedback on."""
        frame = request(0, session=SESSION, max_rounds=MAX_ROUNDS)
        over = threading.Event()

        def requests():
            yield frame.SerializeToString()
            over.wait()

        call = self.channels["waiting"].stream_stream(TRANSMIT)(requests())
        stack.callback(call.cancel)
        stack.callback(over.set)
        for event in map(transmitter_pb2.TransmitResponse.FromString, call):
            if event.HasField("sent"):
                return

    def __exit__(self, *exc) -> None:
        self._stack.close()

    def _end_loop(self) -> None:
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def _run(self, coroutine):
        return asyncio.run_coroutine_threadsafe(coroutine, self._loop).result(60)

    def name(self) -> bytes:
        """A session's name that was not used before, of four letters."""
        return np.base_repr(next(self._numbers), 36).lower().rjust(4, "_").encode()

    def call(self, service: str, method: str, requests: Sequence[bytes]) -> Answer:
        """One call to its end; one that does not end by itself until it is known to have begun."""
        call = self.channels[service].stream_stream(method)(iter(requests), timeout=DEADLINE_S)
        responses = []
        with contextlib.suppress(grpc.RpcError, StopIteration):
            if method in ENDLESS:
                call.initial_metadata()
                if method not in (SUBSCRIBE, RECORD):
                    responses.append(next(call))
                call.cancel()
            responses += call
        return Answer(call.code(), call.details() or "", responses)

    def check_well(self) -> None:
        """All services say SERVING, no stream is held by a call that has ended, and a good frame gets through."""
        for service in self.channels:
            answer = self.call(service, "/grpc.health.v1.Health/Check", [b""])
            health = health_pb2.HealthCheckResponse.FromString(answer.responses[0])
            assert health.status == health_pb2.HealthCheckResponse.SERVING, service
        name = self.name().decode()
        self._check_slots("receiver", SUBSCRIBE, receiver_pb2.SubscribeRequest(session_id=name))
        self._check_slots("emulator", WATCH, channel_pb2.WatchStatisticsRequest())
        good = request(0, session=name, max_rounds=5).SerializeToString()
        answer = self.call("transmitter", TRANSMIT, [good])
        events = [transmitter_pb2.TransmitResponse.FromString(r) for r in answer.responses]
        assert answer.code is grpc.StatusCode.OK and events[-1].HasField("completed"), (answer, events)
        picture = self._first_picture(name)
        assert picture.final and picture.status == link_pb2.FRAME_STATUS_RECONSTRUCTED and picture.image_png

    def _first_picture(self, name: str) -> receiver_pb2.Reconstruction:
        subscribe = self.channels["receiver"].unary_stream(SUBSCRIBE)
        call = subscribe(receiver_pb2.SubscribeRequest(session_id=name).SerializeToString(), timeout=DEADLINE_S)
        picture = receiver_pb2.SubscribeResponse.FromString(next(call)).reconstruction
        call.cancel()
        return picture

    def _check_slots(self, service: str, method: str, message: Message) -> None:
        """As many streams as are allowed can be opened, soon: a call that was cancelled ends a little later."""
        until, held = time.monotonic() + 5, []
        while len(held) < STREAMS:
            call = self.channels[service].unary_stream(method)(message.SerializeToString(), timeout=DEADLINE_S)
            call.initial_metadata()
            if call.is_active():
                held.append(call)
            else:
                assert time.monotonic() < until, f"{service}: only {len(held)} of {STREAMS} streams are free"
        for call in held:
            call.cancel()


async def _bare(world: World, add, servicer) -> str:
    """A server without anything of ours but its patience with keepalive pings; its address."""
    server = grpc.aio.server(options=[("grpc.http2.max_ping_strikes", 0)])
    add(servicer, server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    world.stack.push_async_callback(server.stop, 0)
    return f"127.0.0.1:{port}"


async def _start(world: World, liar: Liar) -> dict[str, str]:
    """Start the services; their addresses."""
    limits = {"max_streams": STREAMS, "max_message_bytes": 1 << 20}
    port = free_port()
    await world.receiver(feedback_address=f"127.0.0.1:{port}", feedback_timeout_s=1, max_frame_bytes=1 << 16, **limits)
    emulator = await world.start(
        gocom.channel_emulator.service,
        ChannelSettings(port=0, next_hop=world.receiving.address, profile=PROFILE, **limits),
    )
    silent = await _bare(world, link_pb2_grpc.add_LinkServiceServicer_to_server, Silent())
    waiting = await world.transmitter(silent, outbox="off", outcome_timeout_s=3600)
    addresses = {"waiting": waiting.transmitting.address}
    lying = await _bare(world, liar.add_to, None)
    await world.transmitter(lying, outbox="off", link_patience_s=0.01, outcome_timeout_s=0.5, **limits)
    addresses["lied to"] = world.transmitting.address
    await world.transmitter(emulator.address, port, outbox="off", link_patience_s=2, outcome_timeout_s=5, **limits)
    return addresses | {
        "transmitter": world.transmitting.address, "emulator": emulator.address, "receiver": world.receiving.address,
    }  # fmt: skip
