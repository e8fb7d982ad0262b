// Keeps an open page of administrators true: the ticker grows, and parts that are marked
// (data-refresh) are asked for again when something happened that they are about (data-about).
// Without this script the page shows what was when it was loaded.
const ticker = document.getElementById("ticker");
const pause = document.getElementById("pause");
const parts = () => document.querySelectorAll("[data-refresh]");
const tabs = new BroadcastChannel("administrators");
const MOST = 40;
const REST = 500;
const MINUTE = 60000;
const SETTLED = 1500;
const PATIENCE = MINUTE;
const titles = JSON.parse(document.getElementById("event-titles")?.textContent ?? "{}");
let paused = false;
let due = false;
let asked = -REST;
let isAsking = false;
let timer;
let sealing;
let oldest;
let unsealedSince;

// --- what happens ---------------------------------------------------------------------------------

// One tab listens for all: browsers have few connections to a server at once.
function listen() {
  return new Promise((done) => {
    let stream;
    let pause;
    const open = () => {
      stream = new EventSource("/admin/stream");
      stream.addEventListener("happened", (message) => {
        const happened = JSON.parse(message.data);
        const news = { id: happened.id, happened };
        take(news);
        tabs.postMessage(news);
      });
      stream.addEventListener("open", () => {
        // What happened between two listeners was heard by neither.
        if (performance.now() > MINUTE) look();
      });
      // Closed for good: too many listen, or this browser is in no session any more.
      stream.addEventListener("error", () => {
        if (stream.readyState === EventSource.CLOSED) pause = setTimeout(open, MINUTE);
      });
    };
    const stop = () => {
      stream.close();
      clearTimeout(pause);
      done();
    };
    addEventListener("pagehide", stop);
    document.addEventListener("session-over", stop);
    open();
  });
}

function look() {
  due = true;
  soon();
}

function take({ id, happened }) {
  if (ticker && !paused && happened.at && !ticker.querySelector(`[data-id="${id}"]`)) tell(id, happened);
  if ([...parts()].some((part) => isAbout(part, happened.type))) look();
}

function isAbout(part, type) {
  return !part.dataset.about || part.dataset.about.split(" ").some((start) => type.startsWith(start));
}

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

// --- asking again ---------------------------------------------------------------------------------

// Twice a second at most, and not while nobody sees it.
function soon() {
  if (!due || paused || document.hidden || isAsking) return;
  clearTimeout(timer);
  timer = setTimeout(refresh, Math.max(0, asked + REST - performance.now()));
}

async function refresh() {
  if (!due || paused) return;
  due = false;
  isAsking = true;
  asked = performance.now();
  const text = await page().catch(() => null);
  isAsking = false;
  if (text) {
    const fresh = new DOMParser().parseFromString(text, "text/html");
    for (const part of parts()) {
      const now = fresh.getElementById(part.id);
      if (now) renew(part, now);
    }
    document.dispatchEvent(new CustomEvent("content-changed"));
    awaitSeals();
  }
  soon();
}

// What is not sealed yet has no address: it will have one in a moment. After a minute nobody seals at
// all, which is said, and no longer asked about.
function awaitSeals() {
  clearTimeout(sealing);
  const last = [...document.querySelectorAll("[data-unsettled]")].pop()?.id;
  if (last !== oldest) unsealedSince = performance.now();
  oldest = last;
  const waited = performance.now() - unsealedSince;
  const isLate = Boolean(last) && waited >= PATIENCE;
  const unsealed = document.getElementById("unsealed");
  if (unsealed) unsealed.hidden = !isLate;
  if (last && !isLate) sealing = setTimeout(look, Math.max(SETTLED, waited));
}

async function page() {
  const answer = await fetch(location.href, { headers: { "X-Looking": "1" } });
  return answer.ok && !answer.redirected ? answer.text() : null;
}

// Whoever reads, selects or types there is not disturbed: rows come and go around them.
function renew(part, fresh) {
  if (part.innerHTML === fresh.innerHTML) return;
  const [rows, freshRows] = [part.querySelector("[data-rows]"), fresh.querySelector("[data-rows]")];
  if (rows && freshRows) {
    renewRows(rows, freshRows);
    for (const one of part.querySelectorAll("[data-renew]")) {
      const now = fresh.querySelector(`[data-renew="${one.dataset.renew}"]`);
      if (now && !isInUse(one)) one.replaceWith(now);
    }
  } else if (!isInUse(part)) part.replaceChildren(...fresh.childNodes);
}

function renewRows(rows, fresh) {
  const wanted = new Map([...fresh.children].map((row) => [row.id, row]));
  for (const row of [...rows.children]) {
    if (wanted.has(row.id)) continue;
    const next = row.nextElementSibling ?? row.previousElementSibling;
    const had = row.contains(document.activeElement);
    row.remove();
    if (had) next?.querySelector("a, button")?.focus();
  }
  let place = null;
  for (const [id, row] of wanted) {
    let shown = [...rows.children].find((one) => one.id === id);
    if (!shown) {
      shown = row;
      shown.classList.add("fresh");
    } else if (shown.innerHTML !== row.innerHTML && !isInUse(shown)) {
      shown.replaceWith(row);
      shown = row;
    }
    const after = place ? place.nextElementSibling : rows.firstElementChild;
    if (after !== shown && !isInUse(shown)) rows.insertBefore(shown, after);
    place = shown;
  }
}

function isInUse(element) {
  const selection = getSelection();
  return (
    (element.contains(document.activeElement) && document.activeElement.matches(":focus-visible")) ||
    (selection && !selection.isCollapsed && selection.containsNode(element, true)) ||
    element.querySelector("details[open], input:checked") !== null
  );
}

tabs.addEventListener("message", ({ data }) => take(data));
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
awaitSeals();
if (navigator.locks) navigator.locks.request("administrators", listen);
else listen();
