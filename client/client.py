"""The client library: AsyncClient for asyncio programs, Client for everybody else.

with Client(channel="127.0.0.1:50052") as client:
    client.set_channel("packet_erasure:rate=0.2", seed=7)
    for result in client.send(["a.jpg", "b.png"], codec="lami_go"):
        print(result.frame_id, result.bytes_total, result.psnr_db)
"""

from __future__ import annotations

import asyncio
import threading
from collections.abc import AsyncIterable, AsyncIterator, Callable, Coroutine, Iterable, Iterator
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

import numpy as np

from gocom.client.channel_control import ChannelControl
from gocom.client.channel_recording import Recording
from gocom.client.picture_input import Source
from gocom.client.results import SendResult
from gocom.client.send_arguments import send_options
from gocom.client.transfer import Transfer
from gocom.common.rpc.client_channels import open_channel
from gocom.common.rpc.credentials import check_peers
from gocom.common.settings import ClientSettings
from gocom.v1 import channel_pb2, channel_pb2_grpc, receiver_pb2_grpc, transmitter_pb2_grpc

T = TypeVar("T")


class AsyncClient(ChannelControl):
    """Talks to a transmitter, a receiver and, if its address is given, a channel emulator. Close it.

    Args:
        transmitter: host:port of TransmitterService.
        receiver: host:port of ReceiverService.
        channel: host:port of ChannelControlService; None: the channel cannot be looked at or set.
        security: certificates and token (docs/security.md); None: plain text, no token. Raises InvalidInput.
    """

    def __init__(
        self, transmitter: str = "127.0.0.1:50051", receiver: str = "127.0.0.1:50053", channel: str | None = None,
        security: ClientSettings | None = None,
    ) -> None:  # fmt: skip
        check_peers(security, (transmitter, receiver, channel))
        self._addresses = {"transmitter": transmitter, "receiver": receiver, "channel": channel}
        given = [address for address in self._addresses.values() if address is not None]
        self._channels = [open_channel(address, security=security) for address in given]
        self._transmitter = transmitter_pb2_grpc.TransmitterServiceStub(self._channels[0])
        self._receiver = receiver_pb2_grpc.ReceiverServiceStub(self._channels[1])
        control: Any = None
        if channel is not None:
            control = channel_pb2_grpc.ChannelControlServiceStub(self._channels[2])
        super().__init__(control, channel)

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close all connections."""
        for channel in self._channels:
            await channel.close()

    def open_transfer(
        self, images: Iterable[Source] | AsyncIterable[Source], codec: str = "lami_go", **arguments: Any
    ) -> Transfer:
        """Begin a send; `send` says what the arguments mean. Await next() for results, then close()."""
        wanted = send_options(codec, **arguments)
        if isinstance(images, str | bytes | Path | np.ndarray):
            images = [images]
        iterator = aiter(images) if isinstance(images, AsyncIterable) else iter(images)
        return Transfer(self._transmitter, self._receiver, iterator, wanted, self._addresses)

    async def send(
        self, images: Iterable[Source] | AsyncIterable[Source], codec: str = "lami_go", **arguments: Any
    ) -> AsyncIterator[SendResult]:
        """Send pictures, and yield exactly one result each, in order. Input is read only as far as there is room.

        Args:
            images: paths, file bytes, or uint8 arrays [H, W, 3]; one, or many. Files are sent as they are.
            codec: a name that `gocom codecs` lists.
            options: of the codec, by name.
            seed: of the receiver's samplers; same seed, same picture.
            max_rounds: transmissions the receiver may ask for in all.
            budget_bytes: what the first round may cost, everything counted; round_budget_bytes: a later round.
            feedback_policy: what the receiver asks for: "erased" by the channel, or what its decoder is most
                "uncertain" of, within round_budget_bytes.
            quality_target: estimated quality (SendResult.quality_estimate), 0 to 1, at which it stops asking; 0: never.
            power_allocation: how the power of packets is chosen: "equal", "water_filling" (most capacity) or "semantic"
                (least importance lost); the mean is 1.
            unequal_protection: share of the budget, 0 to 0.9, that the codec leaves for repair packets, which are then
                chosen by what they are worth on the channel; needs budget_bytes. None: as the codec's options say.
            link: how packets are cut.
            size: None: as it is; "fit": shrunk to at most 1024 px; a number: centre square crop of so many px.
            first_index: frame index of the first picture; it keys the channel's randomness.
            timeout_s: for one picture, from being handed over; then its outcome is "failed".
            patience_s: how long a service that has answered before may be out of reach; it is tried again meanwhile,
                and what it had not finished is handed over again.
            on_preview: called with pictures from between the sampler's steps.

        Raises:
            InvalidInput, UnknownName: of codec, options and ranges; of a picture, after the results of those before it.
            GoComError: a service is out of reach or refused the session.
        """
        transfer = self.open_transfer(images, codec, **arguments)
        try:
            while (result := await transfer.next()) is not None:
                yield result
        finally:
            await transfer.close()


class Client:
    """The same without asyncio: an event loop in a thread of its own. Use it as a context manager, or close it."""

    def __init__(
        self, transmitter: str = "127.0.0.1:50051", receiver: str = "127.0.0.1:50053", channel: str | None = None,
        security: ClientSettings | None = None,
    ) -> None:  # fmt: skip
        check_peers(security, (transmitter, receiver, channel))  # before there is a thread to end
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="gocom-client", daemon=True)
        self._thread.start()
        self._inner = self._run(_made(transmitter, receiver, channel, security))

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close all connections and end the thread. May be called twice."""
        if self._loop.is_closed():
            return
        self._run(self._shut_down())
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def send(self, images: Iterable[Source], codec: str = "lami_go", **arguments: Any) -> Iterator[SendResult]:
        """Send pictures, and yield exactly one result each, in order: see AsyncClient.send for arguments and errors."""

        async def begin() -> Transfer:
            return self._inner.open_transfer(images, codec, **arguments)

        transfer = self._run(begin())
        try:
            while (result := self._run(transfer.next())) is not None:
                yield result
        finally:
            self._finish(transfer.close)

    def get_channel(self, reverse: bool = False) -> channel_pb2.ChannelProfile:
        """The channel's profile; `reverse`: what feedback meets. Raises GoComError."""
        return self._run(self._inner.get_channel(reverse))

    def set_channel(
        self, profile: str | channel_pb2.ChannelProfile, seed: int | None = None, reverse: bool = False
    ) -> int:
        """Replace the profile: see AsyncClient.set_channel."""
        return self._run(self._inner.set_channel(profile, seed, reverse))

    def watch_channel(
        self, interval_ms: int = 1000, reverse: bool = False
    ) -> Iterator[channel_pb2.WatchStatisticsResponse]:
        """Live counts, once an interval, until closed; `reverse`: of feedback. Raises GoComError."""
        reports: Any = self._inner.watch_channel(interval_ms, reverse)
        try:
            while (report := self._run(_next_or_none(reports))) is not None:
                yield report
        finally:
            self._finish(reports.aclose)

    def record_channel(self) -> Recording:
        """What happens to every packet of the rounds that begin from now on: see AsyncClient.record_channel."""
        return Recording(self._run(self._inner.record_channel()), self._run, self._finish)

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run in the thread's loop. What interrupts the wait (Ctrl-C) also cancels the work."""
        future = asyncio.run_coroutine_threadsafe(work, self._loop)
        try:
            return future.result()
        except BaseException:
            future.cancel()
            raise

    def _finish(self, close: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Close a stream, unless the client was closed before it."""
        if not self._loop.is_closed():
            self._run(close())

    async def _shut_down(self) -> None:
        """End what is still under way, then the connections."""
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._inner.close()
        await self._loop.shutdown_asyncgens()


async def _made(transmitter: str, receiver: str, channel: str | None, security: ClientSettings | None) -> AsyncClient:
    return AsyncClient(transmitter, receiver, channel, security)


async def _next_or_none(reports: AsyncIterator[T]) -> T | None:
    return await anext(reports, None)
