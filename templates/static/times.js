// Times in the reader's own time zone, and "3 minutes ago" that stays true while the page is open.
const language = document.documentElement.lang;
const year = new Date().getFullYear();
const parts = { day: "numeric", month: "short", hour: "2-digit", minute: "2-digit" };
// The English of these pages writes the day before the month.
const locale = language === "en" ? "en-GB" : language;
const short = new Intl.DateTimeFormat(locale, { ...parts, hourCycle: "h23" });
const long = new Intl.DateTimeFormat(locale, { ...parts, year: "numeric", hourCycle: "h23" });
const full = new Intl.DateTimeFormat(locale, { dateStyle: "full", timeStyle: "long" });
const relative = new Intl.RelativeTimeFormat(language);
const UNITS = [["day", 86400], ["hour", 3600], ["minute", 60]];

function draw() {
  for (const element of document.querySelectorAll("time[datetime]")) {
    const at = new Date(element.dateTime);
    element.title = full.format(at);
    if ("moment" in element.dataset) {
      element.textContent = (at.getFullYear() === year ? short : long).format(at);
    }
  }
}
draw();
// A part of the page was put in anew.
document.addEventListener("content-changed", draw);

function tick() {
  for (const element of document.querySelectorAll("time[data-ago]")) {
    const seconds = (Date.now() - new Date(element.dateTime)) / 1000;
    const unit = UNITS.find(([, size]) => seconds >= size * 1.5) ?? UNITS[2];
    if (seconds < 120) continue;
    element.textContent = relative.format(-Math.round(seconds / unit[1]), unit[0]);
    element.closest(".fact")?.querySelector(".dot")?.classList.add("past");
  }
}
setInterval(tick, 30000);
