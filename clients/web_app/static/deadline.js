// Warns two minutes before the provider ends a session that nobody uses, and offers to put it off.
// Asking the provider now would itself be use of it, so this goes by what the last token response
// said; where another app has used the session since, it lives on, and the warning goes away.
const form = document.getElementById("ending");
const WARN = 120;
const endsAt = Date.now() + Number(form.dataset.seconds) * 1000;
let spoken = null;

function tick() {
  const left = Math.ceil((endsAt - Date.now()) / 1000);
  form.hidden = left > WARN || left < 0 || document.getElementById("signed-in").hidden;
  if (form.hidden) return;
  const shown = `${Math.floor(left / 60)}:${String(left % 60).padStart(2, "0")}`;
  document.getElementById("ending-left").textContent = shown;
  // A screen reader is told at these moments, not every second.
  const mark = [10, 30, 60, WARN].find((one) => left <= one);
  if (mark === spoken) return;
  spoken = mark;
  document.getElementById("ending-said").textContent = `Your session ends in ${mark} seconds.`;
}
setInterval(tick, 1000);
tick();
