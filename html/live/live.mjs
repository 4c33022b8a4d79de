// Sends the requests of the buttons, and shows each request and its response.

const MAX_SHOWN_BYTES = 400; // of a response's content

/** Sends one request past the browser's cache. */
async function send(method, target, fields) {
  const start = performance.now();
  const response = await fetch(target, { method, headers: fields, cache: "no-store" });
  const content = new Uint8Array(await response.arrayBuffer());
  return { response, content, milliseconds: performance.now() - start };
}

/** One line of output. Its kind is the class that styles it: "asked", "status", "field", "content", "bytes". */
const line = (kind, text) => Object.assign(document.createElement("span"), { className: kind, textContent: `${text}\n` });

/** The element for a section's output, created on first use. */
function output(demo) {
  const existing = demo.querySelector(".wire");
  if (existing) return existing;
  const pre = Object.assign(document.createElement("pre"), { className: "wire" });
  pre.setAttribute("role", "status");
  demo.querySelector(".asks").after(pre);
  return pre;
}

/** Bytes as text. Characters outside of printable ASCII are dots. */
const readable = (bytes) => new TextDecoder("latin1").decode(bytes).replace(/[^\n\x20-\x7e]/g, (c) => (c === "\r" ? "" : "·"));

function exchange(method, target, fields, { response, content, milliseconds }) {
  const lines = [line("asked", `${method} ${new URL(target, location).pathname}`)];
  for (const [name, value] of fields) lines.push(line("asked", `${name}: ${value}`));
  lines.push(line("status", `${response.status} ${response.statusText}`));
  for (const [name, value] of response.headers) lines.push(line("field", `${name}: ${value}`));
  const bytes = content.length === 1 ? "1 byte" : `${content.length} bytes`;
  lines.push(line("content", `${bytes} of content, ${milliseconds.toFixed(1)} ms`));
  if (response.status === 206 && content.length <= MAX_SHOWN_BYTES) lines.push(line("bytes", readable(content).trim()));
  return lines;
}

/** Sends requests one after the other, and reports times and new connections. */
async function repeated(target, times) {
  performance.clearResourceTimings();
  performance.setResourceTimingBufferSize(times * 2);
  const durations = [];
  for (let n = 0; n < times; n += 1) {
    const { response, milliseconds } = await send("GET", target, []);
    if (!response.ok) throw new Error(`response ${n + 1} is ${response.status}`);
    durations.push(milliseconds);
  }
  const entries = performance.getEntriesByName(new URL(target, location).href);
  const connected = entries.filter((entry) => entry.connectEnd > entry.connectStart).length;
  durations.sort((a, b) => a - b);
  const sum = durations.reduce((a, b) => a + b);
  return [
    line("asked", `GET ${new URL(target, location).pathname}, ${times} times`),
    line("status", `${times} responses in ${sum.toFixed(0)} ms`),
    line("field", `median ${durations[times / 2].toFixed(2)} ms`),
    line("field", `slowest ${durations[times - 1].toFixed(2)} ms`),
    line("field", connected ? `new connections: ${connected}` : "no new connection: all used one that was open"),
  ];
}

async function run(demo, { method = "GET", target, fields = "", times }) {
  if (times) return repeated(target, Number(times));
  // {etag} is the ETag of the last response of this section, or of a HEAD request.
  if (fields.includes("{etag}")) {
    demo.dataset.etag ??= (await send("HEAD", target, [])).response.headers.get("etag");
    fields = fields.replace("{etag}", demo.dataset.etag);
  }
  const pairs = fields ? [fields.split(/: (.*)/s).slice(0, 2)] : [];
  const received = await send(method, target, pairs);
  demo.dataset.etag = received.response.headers.get("etag") ?? demo.dataset.etag ?? "";
  return exchange(method, target, pairs, received);
}

for (const demo of document.querySelectorAll(".demo")) {
  for (const button of demo.querySelectorAll("button")) {
    button.addEventListener("click", async () => {
      const wire = output(demo);
      demo.setAttribute("aria-busy", "true");
      const lines = await run(demo, button.dataset).catch((error) => [line("status", `No response: ${error.message}`)]);
      wire.replaceChildren(...lines);
      demo.removeAttribute("aria-busy");
    });
  }
}

// The video: buttons that seek, and a line with its position and how much of it is loaded.
const video = document.querySelector("video");
const position = document.querySelector("[data-film-say]");
const bufferedSeconds = () => {
  let seconds = 0;
  for (let n = 0; n < video.buffered.length; n += 1) seconds += video.buffered.end(n) - video.buffered.start(n);
  return seconds;
};
const showPosition = () => {
  if (!Number.isFinite(video.duration)) return;
  position.textContent = `At ${video.currentTime.toFixed(1)} of ${video.duration.toFixed(0)} seconds; ${bufferedSeconds().toFixed(1)} seconds loaded.`;
};
for (const event of ["seeked", "timeupdate", "progress"]) video.addEventListener(event, showPosition);
for (const button of document.querySelectorAll("[data-film] button")) {
  button.addEventListener("click", () => {
    video.currentTime = Number(button.dataset.seconds);
    video.play().catch(() => {}); // Where the browser forbids to play, the video stays at this position.
  });
}

for (const asks of document.querySelectorAll(".asks")) asks.hidden = false;
document.querySelector("[data-live]").remove();
