// The list of sessions: selecting several, asking back in a dialog, and renaming in place.
// Everything here also works without this script, on pages of its own.
const boxes = [...document.querySelectorAll("input[type=checkbox][name^='select.']")];
const all = document.getElementById("select-all");
const count = document.querySelector("[data-count]");
const endSelected = document.getElementById("end-selected");
const dialog = document.getElementById("ask");

function recount() {
  const chosen = boxes.filter((box) => box.checked).length;
  all.checked = chosen === boxes.length;
  all.indeterminate = chosen > 0 && chosen < boxes.length;
  endSelected.disabled = chosen === 0;
  count.textContent = chosen ? count.dataset.some.replace("{n}", chosen) : count.dataset.none;
}

if (all) {
  all.hidden = false;
  all.addEventListener("change", () => {
    for (const box of boxes) box.checked = all.checked;
    recount();
  });
  for (const box of boxes) box.addEventListener("change", recount);
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

for (const form of document.querySelectorAll("form[data-ask]")) {
  form.addEventListener("submit", (event) => {
    const { submitter } = event;
    event.preventDefault();
    ask(form, submitter).catch(() => {
      // Whatever went wrong, the page of its own says it. `submit()` would lose the button.
      const hidden = document.createElement("input");
      Object.assign(hidden, { type: "hidden", name: submitter.name, value: submitter.value });
      if (submitter.name) form.append(hidden);
      form.submit();
    });
  });
}
dialog?.addEventListener("click", (event) => {
  if (event.target === dialog) dialog.close();
});

for (const pencil of document.querySelectorAll(".rename")) {
  pencil.addEventListener("click", (event) => {
    const form = document.getElementById(pencil.hash.slice(1));
    event.preventDefault();
    form.closest("details").open = true;
    form.querySelector("input[type=text]").focus();
  });
}
