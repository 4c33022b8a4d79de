// Asks the server, and shows what was asked and what came back.

const MOST = 400; // bytes of content that are shown

/** One request, never answered by the browser's cache. */
async function ask(method, target, fields) {
  const start = performance.now();
  const answer = await fetch(target, { method, headers: fields, cache: "no-store" });
  const content = new Uint8Array(await answer.arrayBuffer());
  return { answer, content, milliseconds: performance.now() - start };
}

/** A line, with its class: "asked", "status", "field", "content". */
const line = (kind, text) => Object.assign(document.createElement("span"), { className: kind, textContent: `${text}\n` });

/** Where the answers of a demonstration are shown; made when it is first needed. */
function place(demo) {
  const there = demo.querySelector(".wire");
  if (there) return there;
  const pre = Object.assign(document.createElement("pre"), { className: "wire" });
  pre.setAttribute("role", "status");
  demo.querySelector(".asks").after(pre);
  return pre;
}

/** Bytes as text, with a dot for what cannot be seen. */
const readable = (bytes) => new TextDecoder("latin1").decode(bytes).replace(/[^\n\x20-\x7e]/g, (c) => (c === "\r" ? "" : "·"));

function shown(method, target, fields, { answer, content, milliseconds }) {
  const lines = [line("asked", `${method} ${new URL(target, location).pathname}`)];
  for (const [name, value] of fields) lines.push(line("asked", `${name}: ${value}`));
  lines.push(line("status", `${answer.status} ${answer.statusText}`));
  for (const [name, value] of answer.headers) lines.push(line("field", `${name}: ${value}`));
  const bytes = content.length === 1 ? "1 byte" : `${content.length} bytes`;
  lines.push(line("content", `${bytes} of content, ${milliseconds.toFixed(1)} ms`));
  if (answer.status === 206 && content.length <= MOST) lines.push(line("bytes", readable(content).trim()));
  return lines;
}

/** How a hundred requests went, one after the other. */
async function repeated(target, times) {
  performance.clearResourceTimings();
  performance.setResourceTimingBufferSize(times * 2);
  const durations = [];
  for (let n = 0; n < times; n += 1) {
    const { answer, milliseconds } = await ask("GET", target, []);
    if (!answer.ok) throw new Error(`answer ${n + 1} is ${answer.status}`);
    durations.push(milliseconds);
  }
  const entries = performance.getEntriesByName(new URL(target, location).href);
  const connected = entries.filter((entry) => entry.connectEnd > entry.connectStart).length;
  durations.sort((a, b) => a - b);
  const sum = durations.reduce((a, b) => a + b);
  return [
    line("asked", `GET ${new URL(target, location).pathname}, ${times} times`),
    line("status", `${times} answers in ${sum.toFixed(0)} ms`),
    line("field", `half of them within ${durations[times / 2].toFixed(2)} ms`),
    line("field", `the slowest within ${durations[times - 1].toFixed(2)} ms`),
    line("field", connected ? `new connections: ${connected}` : "no new connection: all went over one that was open"),
  ];
}

async function run(demo, { method = "GET", target, fields = "", times }) {
  if (times) return repeated(target, Number(times));
  // What is asked with a tag is asked with that of the last answer, or of one that is fetched for it.
  if (fields.includes("{etag}")) {
    demo.dataset.etag ??= (await ask("HEAD", target, [])).answer.headers.get("etag");
    fields = fields.replace("{etag}", demo.dataset.etag);
  }
  const pairs = fields ? [fields.split(/: (.*)/s).slice(0, 2)] : [];
  const came = await ask(method, target, pairs);
  demo.dataset.etag = came.answer.headers.get("etag") ?? demo.dataset.etag ?? "";
  return shown(method, target, pairs, came);
}

for (const demo of document.querySelectorAll(".demo")) {
  for (const button of demo.querySelectorAll("button")) {
    button.addEventListener("click", async () => {
      const wire = place(demo);
      demo.setAttribute("aria-busy", "true");
      const lines = await run(demo, button.dataset).catch((error) => [line("status", `No answer: ${error.message}`)]);
      wire.replaceChildren(...lines);
      demo.removeAttribute("aria-busy");
    });
  }
}

// The film: buttons that jump, and a line that says where it is and how much of it has come.
const film = document.querySelector("video");
const said = document.querySelector("[data-film-say]");
const buffered = () => {
  let seconds = 0;
  for (let n = 0; n < film.buffered.length; n += 1) seconds += film.buffered.end(n) - film.buffered.start(n);
  return seconds;
};
const tell = () => {
  if (!Number.isFinite(film.duration)) return;
  said.textContent = `At ${film.currentTime.toFixed(1)} of ${film.duration.toFixed(0)} seconds. ${buffered().toFixed(1)} of them have come.`;
};
for (const event of ["seeked", "timeupdate", "progress"]) film.addEventListener(event, tell);
for (const button of document.querySelectorAll("[data-film] button")) {
  button.addEventListener("click", () => {
    film.currentTime = Number(button.dataset.seconds);
    film.play().catch(() => {}); // (A browser may have reasons not to; then it stands there.)
  });
}

for (const asks of document.querySelectorAll(".asks")) asks.hidden = false;
document.querySelector("[data-live]").remove();
