// The list of sessions: selecting several, asking back in a dialog, renaming in place, and keeping the
// list true while the page is open. Everything here also works without this script.
const all = document.getElementById("select-all");
const count = document.querySelector("[data-count]");
const endSelected = document.getElementById("end-selected");
const dialog = document.getElementById("ask");
const LIST = "/account/sessions/live";
const boxes = () => [...document.querySelectorAll("input[type=checkbox][name^='select.']")];

function recount() {
  const chosen = boxes().filter((box) => box.checked).length;
  all.checked = chosen > 0 && chosen === boxes().length;
  all.indeterminate = chosen > 0 && chosen < boxes().length;
  endSelected.disabled = chosen === 0;
  count.textContent = chosen ? count.dataset.some.replace("{n}", chosen) : count.dataset.none;
}

if (all) {
  all.hidden = false;
  document.addEventListener("change", ({ target }) => {
    if (target === all) for (const box of boxes()) box.checked = all.checked;
    if (target === all || boxes().includes(target)) recount();
  });
  recount();
}

// The page that asks back is fetched and shown here: the same words, the same form, no detour.
async function ask(form, submitter) {
  const body = new URLSearchParams(new FormData(form, submitter));
  const answer = await fetch(form.action, { method: "POST", body, redirect: "manual" });
  const page = new DOMParser().parseFromString(await answer.text(), "text/html");
  const card = page.getElementById("ask-card");
  if (!answer.ok || !card) throw new Error("no question to show");
  dialog.replaceChildren(document.adoptNode(card));
  dialog.showModal();
  const cancel = dialog.querySelector("#ask-cancel");
  cancel.addEventListener("click", (event) => {
    event.preventDefault();
    dialog.close();
  });
  cancel.focus();
}

document.addEventListener("submit", (event) => {
  const { target: form, submitter } = event;
  if (!form.matches("form[data-ask]")) return;
  event.preventDefault();
  ask(form, submitter).catch(() => {
    // Whatever went wrong, the page of its own says it. `submit()` would lose the button.
    const hidden = document.createElement("input");
    Object.assign(hidden, { type: "hidden", name: submitter.name, value: submitter.value });
    if (submitter.name) form.append(hidden);
    form.submit();
  });
});
dialog?.addEventListener("click", (event) => {
  if (event.target === dialog) dialog.close();
});

document.addEventListener("click", (event) => {
  const pencil = event.target.closest(".rename");
  if (!pencil) return;
  const form = document.getElementById(pencil.hash.slice(1));
  event.preventDefault();
  form.closest("details").open = true;
  form.querySelector("input[type=text]").focus();
});

// The list as it is now, put in the place of the one that is shown; asking for it is no activity. Not
// while somebody is choosing, typing or answering: then it waits.
let isAsking = false;
// A click is two events: what it was for must still be there at the second.
let isPressed = false;
document.addEventListener("pointerdown", () => { isPressed = true; });
document.addEventListener("click", () => { isPressed = false; });
document.addEventListener("pointercancel", () => { isPressed = false; });

function isInUse(list) {
  const isTyping = [...list.querySelectorAll("input[type=text]")].some((one) => one.value !== one.defaultValue);
  return isTyping || isPressed || dialog.open || boxes().some((box) => box.checked);
}

// Where the keyboard is in the list: the row, and the how many-th thing of it that can be reached.
const REACHED = "a, button, input, summary";
const reached = (row) => [...row.querySelectorAll(REACHED)];

function placeOf(element) {
  const row = element.closest("ul.rows > .row");
  return row && { id: row.id, nth: reached(row).indexOf(element) };
}

async function follow() {
  const list = document.querySelector("ul.rows");
  if (!list || isAsking || isInUse(list) || document.hidden) return;
  isAsking = true;
  const answer = await fetch(LIST).catch(() => null);
  isAsking = false;
  if (answer?.status !== 200) return;
  const page = new DOMParser().parseFromString(await answer.text(), "text/html");
  // Meanwhile the page may have been emptied, or somebody may have begun to choose.
  if (!list.isConnected || isInUse(list)) return;
  for (const row of list.querySelectorAll(".row:has(details[open])")) {
    page.getElementById(row.id)?.querySelector("details")?.setAttribute("open", "");
  }
  const place = placeOf(document.activeElement);
  for (const part of ["ul.rows", ".heading", ".tabs"]) {
    document.querySelector(part).replaceWith(document.adoptNode(page.querySelector(part)));
  }
  const row = place && document.getElementById(place.id);
  if (row) reached(row)[place.nth]?.focus({ preventScroll: true });
  recount();
  document.dispatchEvent(new CustomEvent("refreshed"));
}

if (all) {
  document.addEventListener("sessions-changed", follow);
  // Also for what is told by nobody: who was active when.
  setInterval(follow, 60000);
}
