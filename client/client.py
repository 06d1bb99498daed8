"""The client library: AsyncClient for asyncio programs, Client for everybody else.

with Client(channel="127.0.0.1:50052") as client:
    client.set_channel("packet_erasure:rate=0.2", seed=7)
    for result in client.send(["a.jpg", "b.png"], codec="lami_go"):
        print(result.frame_id, result.bytes_total, result.psnr_db)
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import threading
from collections.abc import AsyncIterable, AsyncIterator, Callable, Coroutine, Iterable, Iterator, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, TypeVar

import numpy as np

from gocom.client.callers_code import was_cancelled
from gocom.client.channel_control import ChannelControl
from gocom.client.channel_recording import Recording
from gocom.client.goal_control import GoalControl
from gocom.client.picture_input import Source, check_sources
from gocom.client.results import SendResult
from gocom.client.send_options import send_options
from gocom.client.transfer import SendOptions, Transfer
from gocom.common.errors import InvalidInput
from gocom.common.goals import ConsumerGoal, GoalState
from gocom.common.rpc.addresses import check_address
from gocom.common.rpc.client_channels import open_channel
from gocom.common.rpc.credentials import check_peers
from gocom.common.rpc.own_process import OwnProcess, check_use
from gocom.common.settings import ClientSettings
from gocom.v1 import channel_pb2, channel_pb2_grpc, receiver_pb2_grpc, transmitter_pb2_grpc

T = TypeVar("T")


class AsyncClient(ChannelControl):
    """A client of a transmitter, a receiver and, if its address is given, a channel emulator. Close it after use.

    It belongs to its process and event loop. In a fork of the process every method raises InvalidInput.

    Args:
        transmitter: host:port of TransmitterService.
        receiver: host:port of ReceiverService.
        channel: host:port of ChannelControlService; None: the channel cannot be read or set.
        security: certificates and token (docs/security.md); None: plain text, no token.

    Raises:
        InvalidInput: an address or a security setting is invalid, or they do not fit together.
    """

    def __init__(
        self, transmitter: str = "127.0.0.1:50051", receiver: str = "127.0.0.1:50053", channel: str | None = None,
        security: ClientSettings | None = None,
    ) -> None:  # fmt: skip
        self._addresses = {"transmitter": transmitter, "receiver": receiver, "channel": channel}
        _check_addresses(self._addresses)
        check_peers(security, (transmitter, receiver, channel))
        given = [address for address in self._addresses.values() if address is not None]
        self._channels = [open_channel(address, security=security) for address in given]
        self._transmitter = transmitter_pb2_grpc.TransmitterServiceStub(self._channels[0])
        self._receiver = receiver_pb2_grpc.ReceiverServiceStub(self._channels[1])
        self._process = OwnProcess("client")
        self._goals = GoalControl(self._receiver, receiver, self._process)
        control: Any = None
        if channel is not None:
            control = channel_pb2_grpc.ChannelControlServiceStub(self._channels[2])
        super().__init__(control, channel, self._process)

    async def __aenter__(self) -> AsyncClient:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        """Close all connections. In a fork of the process it does nothing, since the connections are not the fork's."""
        if not self._process.is_this:
            return
        self._process.closed = True
        for channel in self._channels:
            await channel.close()

    def open_transfer(
        self, images: Iterable[Source] | AsyncIterable[Source], codec: str = "lami_go", **arguments: Any
    ) -> Transfer:
        """Begin a send with the arguments of `send`. Await the transfer's next() for each result, then its close()."""
        options = send_options(codec, **arguments)
        self._process.check()
        return self._begin(_iterator(images), options)

    def _begin(self, images: Iterator[Source] | AsyncIterable[Source], options: SendOptions) -> Transfer:
        iterator = aiter(images) if isinstance(images, AsyncIterable) else images
        return Transfer(self._transmitter, self._receiver, iterator, options, self._addresses, self._process)

    def send(
        self, images: Iterable[Source] | AsyncIterable[Source], codec: str = "lami_go", **arguments: Any
    ) -> AsyncIterator[SendResult]:
        """Send pictures, and yield exactly one result for each, in order; at most MAX_IN_FLIGHT are read ahead.

        The arguments are checked at once; the pictures are sent while the results are taken.

        Args:
            images: one picture or many: paths, file bytes, or uint8 arrays [H, W, 3]. The bytes of a file are sent
                unchanged unless `size` asks for other pixels, or they are more than the pixels need. A picture that
                cannot be read has a result too, whose failure is "invalid"; the others are sent.
            codec: name of a codec; `gocom codecs` lists them.
            options: codec options by name.
            seed: seed of the receiver's samplers; the same seed gives the same picture.
            max_rounds: largest number of transmissions of a picture, the first included.
            budget_bytes: largest size of the first round in bytes, everything counted; None: no limit.
            round_budget_bytes: largest size of each later round in bytes; None: no limit.
            feedback_policy: which elements the receiver asks for in later rounds: those "erased" by the channel, or
                those its decoder is most "uncertain" of, as many as round_budget_bytes pays for.
            quality_target: estimated quality (SendResult.quality_estimate), 0 to 1, at which the receiver stops asking;
                0: the receiver does not stop for that. A goal takes its place.
            goal: what the consumer wants the pictures for (docs/goals.md), set at the receiver before the first picture
                is sent; it asks in up to max_rounds rounds. None: the receiver asks as feedback_policy says.
            power_allocation: how the power of packets is chosen: "equal", "water_filling" (most capacity) or "semantic"
                (least importance lost); the mean power is 1.
            unequal_protection: share of the budget, 0 to 0.9, that the codec leaves for repair packets, which are then
                spread over segments by their expected benefit on the channel; needs budget_bytes. None: repair packets
                follow the codec's options.
            link: how elements are cut into packets.
            size: None: pixels as they are; "fit": shrunk to at most 1024 px; a number: centre square crop of
                that many px.
            first_index: frame index of the first picture; the frame index keys the channel's randomness.
            timeout_s: seconds that one picture may take from when it was read and queued; after them its outcome is
                "failed".
            patience_s: seconds that a service which has answered before may be out of reach. Meanwhile the client
                reconnects, and hands frames that were not finished over again.
            on_preview: called with the pictures between two steps of the sampler, or between two rounds.

        Raises:
            InvalidInput, UnknownName: the codec, an option or a range is invalid, or a list of pictures has something
                that is none, such as None. Raised before anything is sent.
            GoComError: a service is out of reach or refused the session.
            Exception: whatever the iterator of the pictures or on_preview raised, as it is.
        """
        return self._results(images, send_options(codec, **arguments))

    async def _results(
        self, images: Iterable[Source] | AsyncIterable[Source], options: SendOptions
    ) -> AsyncIterator[SendResult]:
        self._process.check()
        transfer = self._begin(_iterator(images), options)
        try:
            while (result := await transfer.next()) is not None:
                yield result
        finally:
            await transfer.close()

    async def get_goal(self, session_id: str) -> GoalState:
        """Return the goal of a session at the receiver: see GoalControl.get."""
        return await self._goals.get(session_id)

    async def set_goal(self, session_id: str, goal: ConsumerGoal | None) -> GoalState:
        """Replace or clear the goal of a session, such as SendResult.session_id: see GoalControl.set."""
        return await self._goals.set(session_id, goal)

    async def label_names(self, task: str) -> tuple[str, ...]:
        """Return the names of the labels of a task at the receiver, by index: see GoalControl.label_names."""
        return await self._goals.label_names(task)


class Client:
    """AsyncClient for programs without asyncio: the event loop runs in a thread.

    Use it as a context manager, or close it. Arguments and errors are those of AsyncClient. It belongs to its process:
    in a fork every method but `close` raises InvalidInput.
    """

    def __init__(
        self, transmitter: str = "127.0.0.1:50051", receiver: str = "127.0.0.1:50053", channel: str | None = None,
        security: ClientSettings | None = None,
    ) -> None:  # fmt: skip
        # Checked before a thread is started.
        check_use()
        _check_addresses({"transmitter": transmitter, "receiver": receiver, "channel": channel})
        check_peers(security, (transmitter, receiver, channel))
        self._process = OwnProcess("client")
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="gocom-client", daemon=True)
        self._thread.start()
        self._inner = self._run(_new_async_client(transmitter, receiver, channel, security))

    def __enter__(self) -> Client:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close all connections and end the thread. May be called twice. In a fork of the process it does nothing."""
        if self._loop.is_closed() or not self._process.is_this:
            return
        self._run(self._shut_down())
        self._process.closed = True
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join()
        self._loop.close()

    def send(
        self, images: Iterable[Source] | AsyncIterable[Source], codec: str = "lami_go", **arguments: Any
    ) -> Iterator[SendResult]:
        """Send pictures, and yield exactly one result for each, in order: see AsyncClient.send."""
        return self._results(images, send_options(codec, **arguments))

    def _results(self, images: Iterable[Source] | AsyncIterable[Source], options: SendOptions) -> Iterator[SendResult]:
        self._process.check()
        iterator = _iterator(images)  # in the caller's thread: it may take its time

        async def begin() -> Transfer:
            return self._inner._begin(iterator, options)

        transfer = self._run(begin())
        try:
            while (result := self._run(transfer.next())) is not None:
                yield result
        finally:
            self._finish(transfer.close)

    def get_goal(self, session_id: str) -> GoalState:
        """Return the goal of a session at the receiver: see GoalControl.get."""
        return self._run(self._inner.get_goal(session_id))

    def set_goal(self, session_id: str, goal: ConsumerGoal | None) -> GoalState:
        """Replace or clear the goal of a session, such as SendResult.session_id: see GoalControl.set."""
        return self._run(self._inner.set_goal(session_id, goal))

    def label_names(self, task: str) -> tuple[str, ...]:
        """Return the names of the labels of a task at the receiver, by index: see GoalControl.label_names."""
        return self._run(self._inner.label_names(task))

    def get_channel(self, reverse: bool = False) -> channel_pb2.ChannelProfile:
        """Return the profile of the channel, or of the reverse channel (which carries feedback). Raises GoComError."""
        return self._run(self._inner.get_channel(reverse))

    def set_channel(
        self, profile: str | channel_pb2.ChannelProfile, seed: int | None = None, reverse: bool = False
    ) -> int:
        """Replace the profile, and return its revision: see AsyncClient.set_channel."""
        return self._run(self._inner.set_channel(profile, seed, reverse))

    def get_channel_state(
        self, payload_bytes: int | None = None, outage_target: float | None = None
    ) -> channel_pb2.GetChannelStateResponse:
        """Return what a transmitter may know of the channel in the long run: see AsyncClient.get_channel_state."""
        return self._run(self._inner.get_channel_state(payload_bytes, outage_target))

    def watch_channel(
        self, interval_ms: int = 1000, reverse: bool = False
    ) -> Iterator[channel_pb2.WatchStatisticsResponse]:
        """Yield live counts of the channel, or of the reverse channel, every interval_ms ms. Raises GoComError."""
        reports: Any = self._inner.watch_channel(interval_ms, reverse)
        try:
            while (report := self._run(_next_or_none(reports))) is not None:
                yield report
        finally:
            self._finish(lambda: _close(reports))

    def record_channel(self) -> Recording:
        """Record what happens to every packet of the rounds that begin from now on: see AsyncClient.record_channel."""
        return Recording(self._run(self._inner.record_channel()), self._run, self._finish)

    def _run(self, work: Coroutine[Any, Any, T]) -> T:
        """Run a coroutine in the thread's loop, and return its result. Interrupting the wait (Ctrl-C) cancels it.

        Raises:
            InvalidInput: the loop cannot run it: the client is closed, belongs to another process, or is waited for.
        """
        try:
            self._process.check()
            if threading.current_thread() is self._thread:
                raise InvalidInput("client: on_preview must not call the client that waits for it to return")
        except InvalidInput:
            work.close()
            raise
        future = asyncio.run_coroutine_threadsafe(_caught(work), self._loop)
        try:
            result, error = future.result()
        except concurrent.futures.CancelledError:
            raise InvalidInput("client: was closed meanwhile") from None
        except BaseException:
            future.cancel()
            raise
        if error is not None:
            raise error
        return result  # type: ignore[return-value]  # there is a result where there is no error

    def _finish(self, close: Callable[[], Coroutine[Any, Any, None]]) -> None:
        """Close a stream, unless the client has been closed already or belongs to another process."""
        if not self._process.is_this or self._loop.is_closed():
            return
        if threading.current_thread() is self._thread:  # the garbage collector runs in any thread
            asyncio.run_coroutine_threadsafe(close(), self._loop)
        else:
            self._run(close())

    async def _shut_down(self) -> None:
        """Cancel the tasks still running, then close the connections."""
        tasks = asyncio.all_tasks() - {asyncio.current_task()}
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)
        await self._inner.close()
        await self._loop.shutdown_asyncgens()


def _iterator(images: Iterable[Source] | AsyncIterable[Source]) -> Iterator[Source] | AsyncIterable[Source]:
    """Return an iterator of pictures, for one picture too; an asynchronous iterable as it is.

    Raises:
        InvalidInput: this is neither, or a list or tuple has something that is no picture. Other sequences are not
            looked through, since they may load each picture only when it is asked for.
    """
    if isinstance(images, str | bytes | Path | np.ndarray):
        images = [images]
    if isinstance(images, AsyncIterable):
        return images
    if not isinstance(images, Iterable):
        raise InvalidInput(f"images: a {type(images).__name__} is neither a picture nor an iterable of pictures")
    if isinstance(images, list | tuple):
        check_sources(images)
    return iter(images)


def _check_addresses(addresses: Mapping[str, str | None]) -> None:
    """Raise InvalidInput, which names the service, for an address that is not host:port; a service may have none."""
    for name, address in addresses.items():
        if address is not None or name != "channel":
            check_address(name, address)


async def _new_async_client(
    transmitter: str, receiver: str, channel: str | None, security: ClientSettings | None
) -> AsyncClient:
    return AsyncClient(transmitter, receiver, channel, security)


async def _caught(work: Coroutine[Any, Any, T]) -> tuple[T | None, BaseException | None]:
    """Return the result of a coroutine, or its exception: SystemExit would end the thread of the loop."""
    try:
        return await work, None
    except BaseException as error:
        if was_cancelled():
            raise
        return None, error


async def _next_or_none(reports: AsyncIterator[T]) -> T | None:
    return await anext(reports, None)


async def _close(reports: Any) -> None:
    """Close an asynchronous generator. One that was interrupted in its anext(), as by Ctrl-C, has to end that first."""
    while reports.ag_running:
        await asyncio.sleep(0)
    await reports.aclose()
