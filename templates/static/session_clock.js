// Warns before the session of this page ends, in every open tab, and locks the page when it is over.
// The server's word counts: it comes with the page, by the live stream (one tab listens for all), from
// the other tabs, and as the answer to "Stay signed in". Without any of it the page goes on as it is.
const session = document.getElementById("session");
const { dataset } = session;
const said = document.getElementById("session-said");
const idle = document.getElementById("session-idle");
const end = document.getElementById("session-end");
const over = document.getElementById("session-over");
const title = document.title;
const tabs = new BroadcastChannel(`session ${dataset.id}`);
const MARKS = [120, 60, 30, 10];
const MINUTE = 60000;
// Milliseconds between two questions whether it is really over, and after which no answer is one.
const ASK_EVERY = 3000;
const PATIENCE = 15000;

const deadlines = { idle: 0, end: 0, behind: 0 };
let announced = Infinity;
let putOffAt = Infinity;
let ranOutAt = null;
let askedAt = 0;
let isOver = false;

// How far this machine's clock is behind the server's does not matter: it is measured each time.
function learn({ now, idle_expires_at, expires_at }) {
  if (idle_expires_at !== deadlines.idle) announced = Infinity;
  Object.assign(deadlines, { idle: idle_expires_at, end: expires_at, behind: now - Date.now() });
  tick();
}

const told = ({ now, idleExpiresAt, expiresAt }) => ({
  now: Number(now), idle_expires_at: Number(idleExpiresAt), expires_at: Number(expiresAt),
});

const serverTime = () => Date.now() + deadlines.behind;

function clock(milliseconds) {
  const seconds = Math.max(0, Math.ceil(milliseconds / 1000));
  return `${Math.floor(seconds / 60)}:${String(seconds % 60).padStart(2, "0")}`;
}

function tick() {
  if (isOver) return;
  const now = serverTime();
  const left = Math.min(deadlines.idle, deadlines.end) - now;
  // At the end no activity helps; before, the idle deadline is the one to speak of.
  const isEnd = deadlines.end <= deadlines.idle;
  const isNear = left <= Number(isEnd ? dataset.warnEnd : dataset.warn);
  document.title = isNear ? `(${clock(left)}) ${title}` : title;
  for (const element of document.querySelectorAll("[data-left]")) element.textContent = clock(left);
  show(idle, isNear && !isEnd);
  // Once it was put off, only the last minute asks again.
  show(end, isNear && isEnd && (left <= MINUTE ? putOffAt > MINUTE : putOffAt === Infinity));
  if (isNear && !isEnd) announce(left / 1000);
  if (left > 0) ranOutAt = null;
  else runOut(now + left);
}

// The server says whether it is over, and why: this machine may have slept, or its clock been set. One
// that cannot be reached is not waited for.
function runOut(endedAt) {
  const now = Date.now();
  ranOutAt ??= now;
  if (now - ranOutAt > PATIENCE) return lock({ ended_at: endedAt });
  if (Math.abs(now - askedAt) < ASK_EVERY) return;
  askedAt = now;
  check();
}

function show(dialog, isWanted) {
  if (isWanted && !dialog.open) dialog.showModal();
  if (!isWanted && dialog.open) dialog.close();
}

function announce(seconds) {
  const mark = MARKS.findLast((one) => seconds <= one);
  if (mark === undefined || mark >= announced) return;
  announced = mark;
  said.textContent = dataset[`say-${mark}`] ?? "";
}

// --- staying, and going on ------------------------------------------------------------------------

const stay = idle.querySelector("form");

async function extend() {
  const body = new URLSearchParams(new FormData(stay));
  const headers = { Accept: "application/json" };
  const answer = await fetch(stay.action, { method: "POST", body, headers });
  if (answer.status === 401) return lock(await answer.json());
  // Whatever else it is, a page of its own says it.
  if (!answer.ok) return HTMLFormElement.prototype.submit.call(stay);
  const deadline = await answer.json();
  learn(deadline);
  said.textContent = dataset.sayStayed;
  tabs.postMessage({ deadline });
}

stay.addEventListener("submit", (event) => {
  event.preventDefault();
  extend().catch(() => HTMLFormElement.prototype.submit.call(stay));
});
// Whoever closes it with the keyboard is there.
idle.addEventListener("cancel", (event) => {
  event.preventDefault();
  stay.requestSubmit();
});
function putOff() {
  putOffAt = deadlines.end - serverTime();
  end.close();
}
end.querySelector("[data-close]").addEventListener("click", putOff);
end.addEventListener("cancel", putOff);

// --- the end --------------------------------------------------------------------------------------

const shownTime = new Intl.DateTimeFormat(
  document.documentElement.lang === "en" ? "en-GB" : document.documentElement.lang,
  { day: "numeric", month: "short", hour: "2-digit", minute: "2-digit", hourCycle: "h23" },
);

function lock({ title: heading, sentence, ended_at, is_deliberate = false }) {
  if (isOver) return;
  isOver = true;
  // Drafts are saved, or forgotten, by whoever hears this, before the page goes.
  document.dispatchEvent(new CustomEvent("session-over", { detail: { is_deliberate } }));
  for (const dialog of [idle, end]) show(dialog, false);
  if (heading) over.querySelector("h1").textContent = heading;
  if (sentence) over.querySelector("[role=alert]").textContent = sentence;
  over.querySelector("[data-when]").textContent = shownTime.format(new Date(ended_at));
  // What stood here is no business of whoever comes next.
  for (const element of [...document.body.children]) if (element !== over) element.remove();
  document.title = `${over.querySelector("h1").textContent} · ${title.split(" · ").at(-1)}`;
  over.showModal();
}
over.addEventListener("cancel", (event) => event.preventDefault());
// A second Escape closes a dialog whatever the page says.
over.addEventListener("close", () => over.showModal());

// --- the server's word ----------------------------------------------------------------------------

function listen() {
  if (isOver) return Promise.resolve();
  return new Promise((done) => {
    let events;
    let pause;
    const open = () => {
      events = new EventSource(dataset.stream);
      events.addEventListener("deadline", ({ data }) => hear({ deadline: JSON.parse(data) }));
      events.addEventListener("sessions", () => hear({ sessions: true }));
      events.addEventListener("ended", ({ data }) => hear({ ended: JSON.parse(data) }));
      events.addEventListener("error", () => {
        // Closed for good: too many streams, or this browser is in no session any more. Or the page is
        // being left, which has no later.
        if (events.readyState !== EventSource.CLOSED || isOver) return;
        setTimeout(check, 1000);
        pause = setTimeout(open, MINUTE);
      });
    };
    document.addEventListener("session-over", () => {
      events.close();
      clearTimeout(pause);
      done();
    });
    open();
  });
}

// One tab hears it, all learn of it: browsers have few connections to a server at once.
function hear(message) {
  take(message);
  tabs.postMessage(message);
}

function take({ deadline, sessions, ended }) {
  if (deadline) learn(deadline);
  if (sessions) {
    refresh();
    document.dispatchEvent(new CustomEvent("sessions-changed"));
  }
  if (ended) lock(ended);
}

// Asks whether this browser is still in this session, and until when: gives the bell, which says so.
async function check() {
  const answer = await fetch(`${dataset.bell}&here=${encodeURIComponent(dataset.here)}`).catch(() => null);
  if (answer?.status === 401) return hear({ ended: await answer.json() });
  // Held until a proof: loaded again, the page leads to it, and back.
  if (answer?.status === 204 && location.pathname !== "/step-up") {
    document.dispatchEvent(new CustomEvent("comes-back"));
    location.replace(dataset.here);
  }
  if (answer?.status !== 200) return null;
  const bell = new DOMParser().parseFromString(await answer.text(), "text/html").getElementById("bell");
  // Somebody signed in anew with this browser: this page is of the session before.
  if (bell.dataset.session !== dataset.id) return location.reload();
  learn(told(bell.dataset));
  return bell;
}

async function refresh() {
  const fresh = await check();
  const shown = document.getElementById("bell");
  if (!fresh || !shown) return;
  const newest = (bell) => Number(bell.querySelector("[data-newest]")?.dataset.newest ?? 0);
  if (newest(fresh) > newest(shown)) said.textContent = fresh.querySelector("[data-newest]").textContent;
  const wasOpen = shown.querySelector("details")?.open;
  shown.replaceWith(document.adoptNode(fresh));
  if (wasOpen) fresh.querySelector("details")?.setAttribute("open", "");
  document.dispatchEvent(new CustomEvent("refreshed"));
}

tabs.addEventListener("message", ({ data }) => take(data));
learn(told(dataset));
setInterval(tick, 1000);
document.addEventListener("visibilitychange", tick);
addEventListener("pageshow", (event) => { if (event.persisted) location.reload(); });
if (navigator.locks) navigator.locks.request(`session ${dataset.id}`, listen);
else listen();
