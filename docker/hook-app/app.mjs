// A small app with an upload form: what comes in is shown to nobody before the sidecar has been asked.
import { readFileSync } from "node:fs";
import { createServer } from "node:http";

const MOST_BYTES = 20 * 1024 * 1024;
const SECONDS = 30;
const hook = process.env.HASHHUB_HOOK_URL ?? "http://127.0.0.1:8472";
const file = process.env.HASHHUB_HOOK_SECRET_FILE;
const secret = file ? readFileSync(file, "utf8").trim() : "";
const published = []; // in memory: an example

const PAGE = `<!doctype html><title>Pictures</title><form method="post" action="/upload" enctype="multipart/form-data">
<input type="file" name="picture" required><button>Upload</button></form>`;

async function received(request) {
  const pieces = [];
  let size = 0;
  for await (const piece of request) {
    size += piece.length;
    if (size > MOST_BYTES) throw Object.assign(new Error("too large"), { status: 413 });
    pieces.push(piece);
  }
  return Buffer.concat(pieces);
}

// The form goes on as it came, so that the sidecar sees all that is in it.
async function decided(body, type) {
  try {
    const answer = await fetch(`${hook}/check`, {
      method: "POST",
      body,
      headers: { "content-type": type, ...(secret && { authorization: `Bearer ${secret}` }) },
      signal: AbortSignal.timeout(SECONDS * 1000),
    });
    const { action, reference } = await answer.json();
    return { action: ["ALLOW", "HOLD", "BLOCK"].includes(action) ? action : "HOLD", reference };
  } catch {
    return { action: "HOLD" }; // no answer at all: nobody sees it yet
  }
}

const server = createServer(async (request, response) => {
  const answer = (status, content, type = "application/json") => {
    response.writeHead(status, { "content-type": type });
    response.end(type === "application/json" ? JSON.stringify(content) : content);
  };
  try {
    if (request.method === "GET" && request.url === "/") return answer(200, PAGE, "text/html; charset=utf-8");
    if (request.method === "GET" && request.url === "/published") return answer(200, { count: published.length });
    if (request.method !== "POST" || request.url !== "/upload") return answer(404, { error: "not here" });
    const type = request.headers["content-type"] ?? "";
    const body = await received(request);
    const { action, reference } = await decided(body, type);
    if (action === "BLOCK") return answer(451, { error: "this upload cannot be published", reference });
    if (action === "HOLD") return answer(202, { published: false, reference });
    published.push(body);
    return answer(201, { published: true });
  } catch (error) {
    return answer(error.status ?? 500, { error: error.status ? error.message : "failed" });
  }
});
server.listen(Number(process.env.LISTEN_PORT ?? 8080), process.env.LISTEN_HOST ?? "127.0.0.1", () =>
  console.log(`listening on ${server.address().port}`),
);
for (const signal of ["SIGINT", "SIGTERM"]) process.on(signal, () => process.exit(0));
