"""What the channel emulator is compared with: a relay that parses and forwards, and a sink that counts.

    python -m gocom.evaluation.benches.relay --next-hop 127.0.0.1:50053    the relay
    python -m gocom.evaluation.benches.relay                               the sink

The relay does what any proxy of LinkService must: read an item, parse it, serialise it, write it on, and carry the
answers back. No packet is looked at. Both print their port as the first line, and end when standard input does.
"""

from __future__ import annotations

import asyncio
import sys
from collections.abc import AsyncIterator
from typing import Annotated, Any

import grpc
import typer

from gocom.client.command_process import run_command
from gocom.common.rpc.client_channels import MAX_MESSAGE_BYTES, open_channel
from gocom.v1 import link_pb2, link_pb2_grpc

Context = grpc.aio.ServicerContext[Any, Any]
Requests = AsyncIterator[link_pb2.SendRequest]


class Relay(link_pb2_grpc.LinkServiceServicer):
    """LinkService.Send, forwarded item by item."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._stub: Any = link_pb2_grpc.LinkServiceStub(channel)

    async def Send(self, request_iterator: Requests, context: Context) -> None:  # type: ignore[override]
        """One session."""
        call = self._stub.Send(timeout=context.time_remaining())
        back = asyncio.create_task(_copy_back(call, context))
        try:
            async for request in request_iterator:
                await call.write(request)
            await call.done_writing()
            await back
        finally:
            call.cancel()
            await asyncio.gather(back, return_exceptions=True)


async def _copy_back(call: Any, context: Context) -> None:
    async for response in call:
        await context.write(response)


class Sink(link_pb2_grpc.LinkServiceServicer):
    """Counts packets, and acknowledges rounds with their number."""

    async def Send(self, request_iterator: Requests, context: Context) -> AsyncIterator[link_pb2.SendResponse]:
        """One session."""
        frame_index = packets = 0
        async for request in request_iterator:
            item = request.WhichOneof("item")
            if item == "batch":
                packets += len(request.batch.sequence)
            elif item == "header":
                frame_index, packets = request.header.frame_index, 0
            elif item == "end":
                ack = link_pb2.FrameAck(frame_index=frame_index, packets_received=packets)
                yield link_pb2.SendResponse(ack=ack)


def main(
    next_hop: Annotated[str | None, typer.Option(help="host:port of the sink; none: be the sink.")] = None,
) -> None:
    """Forward everything, or count it."""
    asyncio.run(_serve(next_hop))


async def _serve(next_hop: str | None) -> None:
    """Run one of them until standard input ends."""
    names = ("grpc.max_receive_message_length", "grpc.max_send_message_length")
    server = grpc.aio.server(options=[*((name, MAX_MESSAGE_BYTES) for name in names), ("grpc.so_reuseport", 0)])
    channel = open_channel(next_hop) if next_hop else None
    link_pb2_grpc.add_LinkServiceServicer_to_server(Relay(channel) if channel else Sink(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    print(port, flush=True)
    await asyncio.to_thread(sys.stdin.buffer.read)
    await server.stop(0)
    if channel:
        await channel.close()


if __name__ == "__main__":
    run_command(main)
