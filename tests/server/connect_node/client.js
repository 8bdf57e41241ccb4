// Makes the calls that tests/server/test_connect_clients.py asks for, with the official client, and prints what came.
// Standard input: {"address", "token", "contract": a FileDescriptorSet in base64, "calls": [{"service", "method",
// "request", "json", "get", "compressed", "timeout"}]}.
import { createFileRegistry, fromBinary, fromJson, toJson } from "@bufbuild/protobuf";
import { FileDescriptorSetSchema } from "@bufbuild/protobuf/wkt";
import { Code, ConnectError, createClient } from "@connectrpc/connect";
import { compressionGzip, createConnectTransport } from "@connectrpc/connect-node";
import { readFileSync } from "node:fs";

const asked = JSON.parse(readFileSync(0, "utf8"));
const registry = createFileRegistry(fromBinary(FileDescriptorSetSchema, Buffer.from(asked.contract, "base64")));

async function make(call) {
  const transport = createConnectTransport({
    baseUrl: `http://${asked.address}`,
    httpVersion: "1.1",
    useBinaryFormat: !call.json,
    useHttpGet: Boolean(call.get),
    sendCompression: call.compressed ? compressionGzip : null,
    compressMinBytes: 0,
    interceptors: [(next) => (request) => {
      request.header.set("authorization", `Bearer ${call.token ?? asked.token}`);
      return next(request);
    }],
  });
  const service = registry.getService(`hashhub.v1.${call.service}`);
  const method = service.method[call.method];
  const request = fromJson(method.input, call.request);
  try {
    const started = createClient(service, transport)[call.method](request, { timeoutMs: call.timeout });
    if (method.methodKind === "unary") {
      return { answer: toJson(method.output, await started) };
    }
    for await (const _ of started) {
      return { answer: "the stream says something" };
    }
    return { answer: "the stream ended" };
  } catch (e) {
    const error = ConnectError.from(e);
    const info = error.findDetails(registry.getMessage("google.rpc.ErrorInfo"));
    return { code: Code[error.code], message: error.rawMessage, reasons: info.map((i) => i.reason) };
  }
}

const came = [];
for (const call of asked.calls) {
  came.push(await make(call));
}
console.log(JSON.stringify(came));
