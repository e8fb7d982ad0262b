// Pages with passwords to choose or change: shows one on request, leads to the error.
for (const reveal of document.querySelectorAll(".reveal")) {
  const password = document.getElementById(reveal.getAttribute("aria-controls"));
  reveal.hidden = false;
  reveal.addEventListener("click", () => {
    const shown = password.type === "text";
    password.type = shown ? "password" : "text";
    reveal.setAttribute("aria-pressed", String(!shown));
    password.focus();
  });
  // A browser must not offer to remember the password as plain text.
  password.form.addEventListener("submit", () => { password.type = "password"; });
}
document.getElementById("error")?.focus();
