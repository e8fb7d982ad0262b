// Keeps an open page of administrators true: the ticker grows, figures are asked for again.
// Without this script the page shows what was when it was loaded.
const ticker = document.getElementById("ticker");
const pause = document.getElementById("pause");
const parts = () => document.querySelectorAll("[data-refresh]");
const MOST = 40;
const REST = 1000;
let paused = false;
let due = false;
let asked = 0;
let last = 0;
for (const row of ticker?.children ?? []) last = Math.max(last, Number(row.dataset.id));

const stream = new EventSource("/admin/stream");
stream.addEventListener("happened", (message) => {
  const id = Number(message.lastEventId);
  const happened = JSON.parse(message.data);
  if (ticker && !paused && happened.at && !ticker.querySelector(`[data-id="${id}"]`)) tell(id, happened);
  due = true;
  soon();
});

function tell(id, happened) {
  const row = document.createElement("li");
  row.dataset.id = id;
  row.className = "fresh";
  const kind = document.createElement("span");
  kind.className = "kind";
  kind.textContent = titles[happened.type] ?? happened.type;
  const who = document.createElement("span");
  who.textContent = happened.who ?? "";
  const where = document.createElement("span");
  where.className = "number quiet";
  where.textContent = happened.ip ?? "";
  const when = document.createElement("time");
  when.dateTime = happened.at;
  when.textContent = new Date(happened.at).toLocaleTimeString(document.documentElement.lang);
  row.append(kind, " ", who, " ", where, " ", when);
  ticker.prepend(row);
  while (ticker.children.length > MOST) ticker.lastElementChild.remove();
}

const titles = JSON.parse(document.getElementById("event-titles")?.textContent ?? "{}");

// At most once a second, and not while somebody reads an opened table or types.
function soon() {
  if (!due || paused || document.hidden) return;
  const wait = Math.max(0, asked + REST - performance.now());
  setTimeout(refresh, wait);
}

async function refresh() {
  if (!due || paused) return;
  if (document.querySelector("[data-refresh] details[open], [data-refresh] :focus-visible, [data-refresh] input:checked")) return;
  due = false;
  asked = performance.now();
  const answer = await fetch(location.href, { headers: { "X-Looking": "1" } }).catch(() => null);
  if (!answer?.ok || answer.redirected) return;
  const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
  for (const part of parts()) {
    const now = fresh.getElementById(part.id);
    if (now && now.innerHTML !== part.innerHTML) part.replaceChildren(...now.childNodes);
  }
  document.dispatchEvent(new Event("refreshed"));
}

document.addEventListener("visibilitychange", soon);
if (pause) {
  pause.hidden = false;
  pause.addEventListener("click", () => {
    paused = !paused;
    pause.setAttribute("aria-pressed", String(paused));
    pause.textContent = paused ? pause.dataset.resume : pause.dataset.pause;
    soon();
  });
}
addEventListener("pagehide", () => stream.close());
