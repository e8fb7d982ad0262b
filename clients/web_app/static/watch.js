// Tells a page that was left open that its session has ended, whoever ended it.
const events = new EventSource("/events");
events.addEventListener("signed-out", () => {
  events.close();
  document.getElementById("signed-in").hidden = true;
  document.getElementById("signed-out").hidden = false;
  document.getElementById("signed-out-notice").hidden = false;
});
