// A page that waits for another device: looks whether something happened there, and replaces a code
// that has run out by a new one. Without this script there are buttons for both.
const page = document.getElementById("stage");
const EVERY = 2000;
// Ten minutes of codes; then somebody must press a button.
let renewals = 10;

async function look() {
  const answer = await fetch(page.dataset.ask, { headers: { Accept: "application/json" } });
  if (!answer.ok) return location.reload();
  const { stage } = await answer.json();
  if (stage !== page.dataset.stage) return location.reload();
  setTimeout(() => look().catch(later), EVERY);
}

function later() {
  setTimeout(() => look().catch(later), 3 * EVERY);
}

// The form's own answer is the page with the new code; only the code is taken over from it.
async function renew() {
  const button = document.getElementById("handoff-renew");
  if (!button || renewals-- <= 0) return;
  const body = new URLSearchParams(new FormData(button.form, button));
  // Not `form.action`: that is the buttons of this name.
  const answer = await fetch(button.form.getAttribute("action"), {
    method: "POST",
    // A script that looks at the page that comes back is nobody's activity.
    headers: { "X-Looking": "1" },
    body,
  });
  const fresh = new DOMParser().parseFromString(await answer.text(), "text/html");
  const stage = fresh.getElementById("stage");
  if (stage?.dataset.stage !== "pending" || !(Number(stage.dataset.shownFor) > 0)) return location.reload();
  for (const id of ["qr", "user-code"]) {
    document.getElementById(id)?.replaceWith(document.adoptNode(fresh.getElementById(id)));
  }
  wait(Number(stage.dataset.shownFor));
}

function wait(seconds) {
  setTimeout(() => renew().catch(() => location.reload()), Math.max(seconds, 1) * 1000);
}

if (page.dataset.stage === "pending") wait(Number(page.dataset.shownFor));
setTimeout(() => look().catch(later), EVERY);
// A page that comes back by "Back" may be long over.
addEventListener("pageshow", (event) => {
  if (event.persisted) location.reload();
});
