// An operation under way: its page is asked for again until it is done and every app was told.
const WAITS = [500, 500, 1000, 1000, 2000, 2000, 3000, 5000];
const REST = 10000;
const HOUR = 3600000;
const began = performance.now();

async function look(turn) {
  const region = document.getElementById("progress");
  if (region.dataset.settled === "yes" || performance.now() - began > HOUR) return;
  const answer = await fetch(location.href, { headers: { "X-Looking": "1" } }).catch(() => null);
  if (answer?.redirected) return;
  if (answer?.ok) {
    const fresh = new DOMParser().parseFromString(await answer.text(), "text/html").getElementById("progress");
    if (fresh) region.replaceWith(document.adoptNode(fresh));
    document.dispatchEvent(new CustomEvent("content-changed"));
  }
  next(turn + 1);
}

function next(turn) {
  setTimeout(look, WAITS[turn] ?? REST, turn);
}
next(0);
