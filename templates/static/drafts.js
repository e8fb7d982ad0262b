// Keeps what is typed on this page in this tab, for the case that its session ends meanwhile: when
// the same person is back on the page it is filled in again, and forgotten. Never kept are passwords,
// codes and hidden fields; nothing is kept after somebody signed out, for somebody else, or by the
// server. Without this script nothing is kept here; a form that was sent is, by the server.
const KEY = "draft";
const session = document.getElementById("session");
const SECRET = /password|one-time-code/;

function read() {
  try {
    return JSON.parse(sessionStorage.getItem(KEY));
  } catch {
    return null;
  }
}

function write(draft) {
  sessionStorage.setItem(KEY, JSON.stringify(draft));
}

// Only what is restored at the next visit: leaving a page by a link is not being thrown out.
function comesBack() {
  const draft = read();
  if (draft) write({ ...draft, isReturning: true });
  return draft !== null;
}

function watch({ id, person, here }) {
  const draft = read();
  sessionStorage.removeItem(KEY);
  if (draft?.isReturning && draft.person === person && draft.here === here) restore(draft.fields);

  document.addEventListener("input", () => {
    const fields = Object.fromEntries(keepable().filter((one) => one.value !== one.defaultValue).map((one) => [name(one), one.value]));
    if (Object.keys(fields).length) write({ person, here, fields });
    else sessionStorage.removeItem(KEY);
  });
  // A form that was sent is the server's to keep.
  document.addEventListener("submit", (event) => {
    if (!event.target.closest("#session-idle") || event.target.action.endsWith(`/${id}/end`)) sessionStorage.removeItem(KEY);
  });
  document.addEventListener("session-over", ({ detail }) => {
    if (detail.is_deliberate) sessionStorage.removeItem(KEY);
    else if (comesBack()) document.querySelector("#session-over [data-kept]").hidden = false;
  });
  document.addEventListener("comes-back", comesBack);
  for (const link of document.querySelectorAll("[data-comes-back]")) link.addEventListener("click", comesBack);
}

function keepable() {
  return [...document.querySelectorAll("main form :is(input[type=text], input[type=email], textarea)")].filter(
    (field) => field.name && !SECRET.test(`${field.autocomplete} ${field.name}`),
  );
}

function name(field) {
  return `${new URL(field.form.action).pathname} ${field.name}`;
}

function restore(fields) {
  const found = keepable().filter((field) => name(field) in fields);
  for (const field of found) {
    field.value = fields[name(field)];
    const around = field.closest("details");
    if (around) around.open = true;
    delete fields[name(field)];
  }
  const note = document.createElement("p");
  Object.assign(note, { className: "note kept", id: "restored" });
  note.setAttribute("role", "status");
  // What its field is gone for, as the session it was to rename, is shown at least.
  const left = Object.values(fields).map((value) => `“${value}”`).join(" ");
  const sentences = [found.length && session.dataset.sayRestored, left && `${session.dataset.sayLeft} ${left}`];
  note.textContent = sentences.filter(Boolean).join(" ");
  if (found.length) found[0].form.before(note);
  else document.getElementById("main").prepend(note);
  found[0]?.focus();
}

if (session) watch(session.dataset);
// The page that says why the session is over; the one that says that somebody signed out.
else if (document.getElementById("over")) comesBack();
else if (document.querySelector("[data-signed-out]")) sessionStorage.removeItem(KEY);
