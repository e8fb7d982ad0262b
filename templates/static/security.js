// Recovery codes: copying and printing. They can be selected and printed without this script too.
const codes = document.getElementById("recovery-codes");
const tools = document.querySelector("[data-codes-tools]");
const copy = document.getElementById("codes-copy");

if (codes) {
  tools.hidden = false;
  // Browsers give the clipboard only to pages they call secure.
  copy.hidden = !navigator.clipboard;
  copy.addEventListener("click", async () => {
    const text = [...codes.querySelectorAll("code")].map((code) => code.textContent).join("\n");
    await navigator.clipboard.writeText(text);
    copy.querySelector("span").textContent = copy.dataset.copied;
  });
  document.getElementById("codes-print").addEventListener("click", () => window.print());
}
document.getElementById("error")?.focus();
