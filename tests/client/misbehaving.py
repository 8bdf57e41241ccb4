"""A real gRPC server that answers as a test says."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager

import grpc
from google.protobuf.message import Message

from hashhub import v1, wire
from hashhub.errors import HashHubError

Answer = Callable[[str, bytes, grpc.ServicerContext], Message]


class _Handler(grpc.GenericRpcHandler):
    def __init__(self, answer: Answer) -> None:
        self._answer = answer

    def service(self, handler_call_details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler[bytes, bytes]:
        method = handler_call_details.method.removeprefix("/hashhub.v1.")
        return grpc.unary_unary_rpc_method_handler(
            lambda request, context: self._answer(method, request, context),
            request_deserializer=None,
            response_serializer=lambda message: message.SerializeToString(),
        )


@contextmanager
def served(answer: Answer) -> Iterator[str]:
    server = grpc.server(ThreadPoolExecutor(4), handlers=[_Handler(answer)])
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    try:
        yield f"127.0.0.1:{port}"
    finally:
        server.stop(None).wait()


def refuse(context: grpc.ServicerContext, error: HashHubError) -> Message:
    """End a call as the hub does."""
    status = wire.error_to_status(error)
    context.set_code(next(c for c in grpc.StatusCode if c.value[0] == status.code))
    context.set_details(status.message)
    context.set_trailing_metadata((("grpc-status-details-bin", status.SerializeToString()),))
    return v1.Status()
