"""Interceptor of every server: checks the token, decodes requests, maps exceptions to statuses, limits streams.

By default gRPC decodes a request before the handler runs, and answers UNKNOWN if that fails. Here gRPC passes the bytes
on and the wrapped handler decodes them, so that bad bytes become INVALID_ARGUMENT like every other bad request.
"""

from __future__ import annotations

from collections.abc import AsyncIterable, AsyncIterator, Awaitable, Callable
from contextlib import AbstractContextManager, contextmanager
from typing import Any

import grpc
from google.protobuf.message import DecodeError

from gocom.common.errors import Busy, InvalidInput, Unauthenticated
from gocom.common.logs import get_logger
from gocom.common.rpc.bearer_token import check_token
from gocom.common.rpc.status_mapping import abort_with
from gocom.common.service_metrics import STREAMS

log = get_logger("rpc")

Context = grpc.aio.ServicerContext[Any, Any]
Decode = Callable[[bytes], Any]
Behaviour = Callable[[Any, Context], Any]


class ServiceInterceptor(grpc.aio.ServerInterceptor):
    """Interceptor that wraps every handler of a server.

    Args:
        max_streams: limit on concurrent streaming calls of GO-COM services; one more gets RESOURCE_EXHAUSTED.
        token: token that calls must carry; None: no token.
    """

    def __init__(self, max_streams: int, token: str | None = None) -> None:
        self.max_streams = max_streams
        self._token = token
        self._streams = 0

    async def intercept_service(
        self,
        continuation: Callable[[grpc.HandlerCallDetails], Awaitable[grpc.RpcMethodHandler[Any, Any] | None]],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> grpc.RpcMethodHandler[Any, Any] | None:
        method = str(handler_call_details.method)
        if self._token is not None:
            try:
                check_token(self._token, method, handler_call_details.invocation_metadata or ())
            except Unauthenticated as error:
                return _refusal(error, method)
        handler: Any = await continuation(handler_call_details)
        if handler is None or handler.request_deserializer is None:
            return handler  # type: ignore[no-any-return]
        kind = f"{'stream' if handler.request_streaming else 'unary'}_" + (
            "stream" if handler.response_streaming else "unary"
        )
        inner: Behaviour = getattr(handler, kind)
        decode: Decode = (
            _decode_stream(handler.request_deserializer)
            if handler.request_streaming
            else _decode_one(handler.request_deserializer)
        )
        wrapped = self._streaming(inner, decode, method) if handler.response_streaming else _single(inner, decode)
        make: Callable[..., Any] = getattr(grpc, f"{kind}_rpc_method_handler")
        result: grpc.RpcMethodHandler[Any, Any] = make(
            wrapped, request_deserializer=_identity, response_serializer=handler.response_serializer
        )
        return result

    def _streaming(self, inner: Behaviour, decode: Decode, method: str) -> Behaviour:
        counted = method.startswith("/gocom.")

        async def run(request: Any, context: Context) -> None:
            try:
                with self._slot(method, counted):
                    result = inner(decode(request), context)
                    if not isinstance(result, AsyncIterator):
                        await result
                        return
                    await _write_all(result, context)
            except grpc.aio.AbortError:
                raise
            except Exception as error:
                await abort_with(context, error)

        return run

    def _slot(self, method: str, counted: bool) -> AbstractContextManager[None]:
        @contextmanager
        def hold() -> Any:
            if counted and self._streams >= self.max_streams:
                raise Busy(f"all {self.max_streams} streams of this service are taken")
            self._streams += counted
            STREAMS.labels(method).inc()
            try:
                yield
            finally:
                self._streams -= counted
                STREAMS.labels(method).dec()

        return hold()


async def _write_all(responses: AsyncIterator[Any], context: Context) -> None:
    try:
        async for response in responses:
            await context.write(response)
    finally:
        # If the call is cancelled, the handler must clean up now, not when the generator is garbage-collected.
        close = getattr(responses, "aclose", None)
        if close is not None:
            await close()


def _refusal(error: Unauthenticated, method: str) -> grpc.RpcMethodHandler[Any, Any]:
    """Return a handler that refuses a call of any kind before a request is read."""

    async def refuse(_: Any, context: Context) -> None:
        log.warning("call refused", method=method, peer=context.peer(), error=str(error))
        await abort_with(context, error)

    handler: grpc.RpcMethodHandler[Any, Any] = grpc.stream_stream_rpc_method_handler(refuse)
    return handler


def _single(inner: Behaviour, decode: Decode) -> Behaviour:
    async def run(request: Any, context: Context) -> Any:
        try:
            return await inner(decode(request), context)
        except grpc.aio.AbortError:
            raise
        except Exception as error:
            await abort_with(context, error)

    return run


def _identity(data: bytes) -> bytes:
    return data


def _decode_one(deserialize: Decode) -> Decode:
    def decode(data: bytes) -> Any:
        try:
            return deserialize(data)
        except DecodeError as error:
            raise InvalidInput(f"request: not a valid message ({error})") from error

    return decode


def _decode_stream(deserialize: Decode) -> Callable[[Any], AsyncIterator[Any]]:
    decode = _decode_one(deserialize)

    async def decoded(requests: AsyncIterable[bytes]) -> AsyncIterator[Any]:
        async for data in requests:
            yield decode(data)

    return decoded
