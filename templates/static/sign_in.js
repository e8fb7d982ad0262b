// The sign-in form: shows the password on request, says when caps lock is on, leads to the error.
const password = document.getElementById("password");
const reveal = document.querySelector(".reveal");
const capsLock = document.getElementById("caps-lock");

reveal.hidden = false;
reveal.addEventListener("click", () => {
  const shown = password.type === "text";
  password.type = shown ? "password" : "text";
  reveal.setAttribute("aria-pressed", String(!shown));
  password.focus();
});
// A browser must not offer to remember the password as plain text.
password.form.addEventListener("submit", () => { password.type = "password"; });
for (const name of ["keydown", "keyup"]) {
  password.addEventListener(name, (event) => {
    capsLock.hidden = !event.getModifierState?.("CapsLock");
  });
}
// Nobody stays signed in on a device that others use.
const [stay, shared] = ["stay", "shared"].map((id) => document.getElementById(id));
stay?.addEventListener("change", () => { if (stay.checked) shared.checked = false; });
shared?.addEventListener("change", () => { if (stay && shared.checked) stay.checked = false; });
document.getElementById("error")?.focus();
