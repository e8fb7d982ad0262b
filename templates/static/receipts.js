// After a sign-out: asks until every app was told, or could not be.
const region = document.getElementById("receipts");
const WAITS = [300, 500, 800, 1200, 2000, 3000, 5000, 5000, 10000, 10000, 20000, 30000];

async function ask(turn) {
  const answer = await fetch(region.dataset.from, { headers: { Accept: "text/html" } });
  if (answer.status === 200) {
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    const shown = page.querySelector("[data-settled]");
    const before = region.querySelector("[data-settled]");
    // Only a change is announced: replacing equal text would be read out again.
    if (shown && shown.textContent !== before.textContent) before.replaceWith(document.adoptNode(shown));
  }
  if (answer.status !== 200 || region.querySelector("[data-settled=no]")) next(turn + 1);
}

function next(turn) {
  if (turn < WAITS.length) setTimeout(() => ask(turn).catch(() => next(turn + 1)), WAITS[turn]);
}

if (region?.querySelector("[data-settled=no]")) next(0);
