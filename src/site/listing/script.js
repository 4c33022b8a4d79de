// Sorts and filters the rows in place, once all of them have come. Without this, the heads are links.
"use strict";
const table = document.querySelector("table");
const filter = document.getElementById("filter");
const count = document.getElementById("count");
const heads = [...document.querySelectorAll("th")];
const total = count.textContent;

// Times come in UTC, and are shown in the reader's.
const two = (number) => String(number).padStart(2, "0");
function localise(time) {
  if (!time) return;
  const at = new Date(time.dateTime);
  const date = [at.getFullYear(), two(at.getMonth() + 1), two(at.getDate())].join("-");
  time.textContent = `${date} ${two(at.getHours())}:${two(at.getMinutes())}`;
}

const collator = new Intl.Collator(undefined, { numeric: true, sensitivity: "base" });
const entries = Array.from(table.querySelectorAll(".rows > tr"), (row) => {
  const [name, size, time] = row.cells;
  const text = name.textContent;
  localise(time.firstChild);
  return {
    row,
    name: text,
    folded: text.toLowerCase(),
    folder: text.endsWith("/"),
    size: Number(size.dataset.n ?? -1),
    time: time.firstChild?.dateTime ?? "",
  };
});

const order = {
  name: (a, b) => collator.compare(a.name, b.name),
  size: (a, b) => a.size - b.size,
  time: (a, b) => (a.time < b.time ? -1 : Number(a.time > b.time)),
};

// Shows the rows that the filter lets through, in bodies of some hundred, as they came.
function show() {
  const word = filter.value.trim().toLowerCase();
  const shown = entries.filter(({ folded }) => folded.includes(word));
  const bodies = document.createDocumentFragment();
  for (let start = 0; start < shown.length; start += 500) {
    const body = document.createElement("tbody");
    body.className = "rows";
    for (const { row } of shown.slice(start, start + 500)) body.append(row);
    body.style.containIntrinsicHeight = `auto ${body.rows.length * 2.1}rem`;
    bodies.append(body);
  }
  for (const body of table.querySelectorAll(".rows")) body.remove();
  table.append(bodies);
  count.textContent = word ? `${shown.length} of ${entries.length}` : total;
}

function sort(key, descending) {
  const sign = descending ? -1 : 1;
  const compare = order[key];
  entries.sort((a, b) => b.folder - a.folder || sign * compare(a, b) || order.name(a, b));
  show();
  for (const head of heads) {
    const link = head.firstChild;
    const here = link.dataset.key === key;
    if (here) head.setAttribute("aria-sort", descending ? "descending" : "ascending");
    else head.removeAttribute("aria-sort");
    const next = here ? !descending : link.dataset.key !== "name";
    link.search = `?sort=${link.dataset.key}&order=${next ? "desc" : "asc"}`;
  }
}

for (const head of heads) {
  head.firstChild.addEventListener("click", (event) => {
    if (event.ctrlKey || event.metaKey || event.shiftKey) return;
    event.preventDefault();
    const { search } = event.currentTarget;
    history.replaceState(null, "", search);
    const asked = new URLSearchParams(search);
    sort(asked.get("sort"), asked.get("order") === "desc");
  });
}

// It came in parts, each in order.
const note = document.getElementById("note");
if (note) {
  const head = heads.find((head) => head.ariaSort) ?? heads[0];
  sort(head.firstChild.dataset.key, head.ariaSort === "descending");
  note.remove();
}

let due = 0;
filter.hidden = false;
filter.addEventListener("input", () => {
  clearTimeout(due);
  due = setTimeout(show, entries.length > 5000 ? 150 : 0);
});
// A browser that comes back remembers what was typed.
if (filter.value) show();

// Arrows go from row to row, a slash to the filter, Escape out of it, and Enter opens, from the filter the first.
document.addEventListener("keydown", (event) => {
  if (event.altKey || event.ctrlKey || event.metaKey) return;
  const here = document.activeElement;
  if (event.key === "/" && here !== filter) {
    filter.select();
    filter.focus();
  } else if (event.key === "Escape" && here === filter) {
    filter.value = "";
    show();
    filter.blur();
  } else if (event.key === "Enter" && here === filter) {
    clearTimeout(due);
    show();
    table.querySelector(".rows a")?.click();
  } else if (event.key === "ArrowDown" || event.key === "ArrowUp") {
    const links = [...document.querySelectorAll("tbody a")];
    const place = links.indexOf(here);
    const step = event.key === "ArrowDown" ? 1 : -1;
    if (place >= 0) (links[place + step] ?? (step < 0 ? filter : here)).focus();
    else if (step > 0) (here === filter ? table.querySelector(".rows a") : links[0])?.focus();
  } else {
    return;
  }
  event.preventDefault();
});
