"""One environment's part in a differential run: it calls over gRPC, runs commands, or holds the hook's middleware.

    python -P agent.py calls | commands | uploads

One request a line comes on standard input, as JSON, and its answer goes to standard output. The interpreter of that
environment runs it; it imports nothing but what is installed there.
"""

from __future__ import annotations

import asyncio
import base64
import io
import json
import os
import sys
import traceback
from collections.abc import Callable, Iterator
from importlib import import_module
from pathlib import Path
from pkgutil import iter_modules
from typing import Any, NoReturn

_MOST_MESSAGES = 100  # of a stream, which may have no end
_SECONDS = 60.0


class Calls:
    """Every call of the contract as this environment has it."""

    def __init__(self) -> None:
        import grpc
        from google.protobuf.message_factory import GetMessageClass

        v1 = import_module("hashhub.v1")
        files = [import_module(f"hashhub.v1.{m.name}") for m in iter_modules(v1.__path__) if m.name.endswith("_pb2")]
        services = [service for file in files for service in file.DESCRIPTOR.services_by_name.values()]
        self._rpcs = {f"{s.name}/{rpc.name}": rpc for s in services for rpc in s.methods}
        self._class = GetMessageClass
        self._open = grpc.insecure_channel
        self._channels: dict[str, Any] = {}

    def __call__(self, asked: dict[str, Any]) -> Any:
        import grpc
        from google.protobuf.json_format import MessageToDict, ParseDict, ParseError

        rpc = self._rpcs.get(asked["call"])
        if rpc is None:
            return {"error": "there is no such call"}
        answer = self._class(rpc.output_type)
        try:
            sent = [ParseDict(r, self._class(rpc.input_type)(), ignore_unknown_fields=True) for r in asked["requests"]]
        except ParseError as e:
            return {"error": "cannot be sent", "message": str(e)}
        address = asked["address"]
        if address not in self._channels:
            self._channels[address] = self._open(address)
        kind = ("stream" if rpc.client_streaming else "unary") + "_" + ("stream" if rpc.server_streaming else "unary")
        path = f"/hashhub.v1.{asked['call']}"
        made = getattr(self._channels[address], kind)(path, type(sent[0]).SerializeToString, answer.FromString)
        token = asked["token"]
        metadata = (("authorization", f"Bearer {token}"),) if token else ()
        messages: list[Any] = []
        try:
            given = iter(sent) if rpc.client_streaming else sent[0]
            got = made(given, metadata=metadata, timeout=asked.get("seconds", _SECONDS))
            if not rpc.server_streaming:
                messages.append(MessageToDict(got))
                return messages
            for one in got:
                told = MessageToDict(one)
                messages += [told] if told else []  # empty: a sign of life
                if len(messages) == _MOST_MESSAGES or getattr(one, "complete", False):
                    got.cancel()
                    break
        except grpc.RpcError as e:
            messages.append(_refusal(e))
        return messages


def _refusal(error: Any) -> dict[str, Any]:
    from google.protobuf.json_format import MessageToDict
    from google.rpc import error_details_pb2
    from grpc_status import rpc_status

    told = {"error": error.code().name, "message": error.details()}
    status = rpc_status.from_call(error)
    for detail in status.details if status is not None else ():
        name = detail.type_url.rpartition(".")[2]
        message = getattr(error_details_pb2, name)()
        detail.Unpack(message)
        told[name] = MessageToDict(message)
    return told


class Commands:
    """`hashhub ARGUMENTS`, each in a process forked from one that has loaded it."""

    def __init__(self) -> None:
        for name in ("hashhub.cli", "hashhub.client", "grpc._channel"):
            import_module(name)
        connector: Any = import_module("hashhub.connector")
        connector.discover()
        connector.writers()

    def __call__(self, asked: dict[str, Any]) -> Any:
        directory = Path(asked["directory"])
        out, err = directory / ".stdout", directory / ".stderr"
        child = os.fork()
        if child == 0:
            self._run(asked, out, err)
        _, status = os.waitpid(child, 0)
        code = os.waitstatus_to_exitcode(status)
        return {"code": code, "stdout": out.read_text("utf-8", "replace"), "stderr": err.read_text("utf-8", "replace")}

    @staticmethod
    def _run(asked: dict[str, Any], out: Path, err: Path) -> NoReturn:
        code: Any = 1
        try:
            os.chdir(asked["directory"])
            for number, file in enumerate((os.devnull, str(out), str(err))):
                flags = os.O_WRONLY | os.O_CREAT | os.O_TRUNC if number else os.O_RDONLY
                os.dup2(os.open(file, flags, 0o600), number)
            for number, name in enumerate(("stdin", "stdout", "stderr")):
                setattr(sys, name, os.fdopen(number, "w" if number else "r", closefd=False))
            for name in [n for n in os.environ if n.startswith("HASHHUB_") and n != "HASHHUB_KERNEL_CACHE"]:
                del os.environ[name]
            os.environ.update(asked["environment"])
            sys.argv[:] = ["hashhub", *asked["arguments"]]
            import_module("hashhub.cli").main()
            code = 0
        except SystemExit as e:
            code = e.code if isinstance(e.code, int) else int(e.code is not None)
        except BaseException:  # noqa: BLE001 - told as an interpreter does
            traceback.print_exc()
        finally:
            import_module("threading")._shutdown()
            sys.stdout.flush()
            sys.stderr.flush()
            os._exit(code or 0)


class Uploads:
    """The hook's middleware for ASGI and WSGI around an app that says what it was told."""

    def __init__(self) -> None:
        self._hooks: dict[str, Any] = {}

    def __call__(self, asked: dict[str, Any]) -> Any:
        door, settings = asked["door"], asked["settings"]
        if asked.get("close"):
            self._hooks.pop(settings).close()
            return {}
        if settings not in self._hooks:
            given = import_module("hashhub.hook.settings").load(Path(settings), {})
            self._hooks[settings] = import_module("hashhub.hook").open_hook(given)
            self._hooks[settings].start(wait_seconds=30.0)
        module = import_module(f"hashhub.hook.{door}")
        middleware = getattr(module, "WSGIUploadHook", None) or module.UploadHook  # as it is called in an old hook
        made = middleware(getattr(self, f"_{door}"), hook=self._hooks[settings])
        return getattr(self, f"_to_{door}")(made, base64.b64decode(asked["body"]), asked["content_type"])

    @staticmethod
    async def _asgi(scope: Any, receive: Any, send: Any) -> None:
        seen = {k.decode(): v.decode() for k, v in scope["headers"] if k.startswith(b"hashhub-")}
        body, more = b"", True
        while more:
            message = await receive()
            body, more = body + message.get("body", b""), message.get("more_body", False)
        told = json.dumps(seen | {"size": len(body)}).encode()
        await send({"type": "http.response.start", "status": 200, "headers": []})
        await send({"type": "http.response.body", "body": told})

    @staticmethod
    def _to_asgi(hook: Any, body: bytes, content_type: str) -> Any:
        sent: list[Any] = []

        async def receive() -> Any:
            return {"type": "http.request", "body": body, "more_body": False}

        async def send(message: Any) -> None:
            sent.append(message)

        headers = [(b"content-type", content_type.encode()), (b"content-length", b"%d" % len(body))]
        asyncio.run(hook({"type": "http", "method": "POST", "path": "/", "headers": headers}, receive, send))
        return {"status": sent[0]["status"], "body": b"".join(m.get("body", b"") for m in sent[1:]).decode()}

    @staticmethod
    def _wsgi(environ: Any, start_response: Any) -> Any:
        seen = {k: v for k, v in environ.items() if k.startswith("HTTP_HASHHUB_")}
        told = seen | {"size": len(environ["wsgi.input"].read())}
        start_response("200 OK", [])
        return [json.dumps(told).encode()]

    @staticmethod
    def _to_wsgi(hook: Any, body: bytes, content_type: str) -> Any:
        status: list[str] = []
        environ = {"REQUEST_METHOD": "POST", "PATH_INFO": "/", "SCRIPT_NAME": "", "wsgi.input": io.BytesIO(body)}
        environ |= {"CONTENT_TYPE": content_type, "CONTENT_LENGTH": str(len(body))}
        answer: Iterator[bytes] = hook(environ, lambda s, *_: status.append(s))
        return {"status": int(status[0].split()[0]), "body": b"".join(answer).decode()}


def main() -> None:
    """Answer until the input ends."""
    parts: dict[str, Callable[[], Callable[[dict[str, Any]], Any]]] = {
        "calls": Calls,
        "commands": Commands,
        "uploads": Uploads,
    }
    answers = os.fdopen(os.dup(1), "w")  # what a library prints is no answer
    os.dup2(2, 1)
    part = parts[sys.argv[1]]()
    for line in sys.stdin:
        try:
            answer = part(json.loads(line))
        except Exception:  # noqa: BLE001 - told as what became of it
            answer = {"error": "AGENT", "message": traceback.format_exc()}
        answers.write(json.dumps(answer) + "\n")
        answers.flush()


if __name__ == "__main__":
    main()
