// Passkeys: signing in with one (also from the name field's autofill), adding one, and telling the
// browser which ones are still taken. The server makes the options and checks every answer; here
// they are only handed on. Sentences stand in data attributes, so that they can be translated.
const able = globalThis.PublicKeyCredential;
const KINDS = {
  get: { parse: "parseRequestOptionsFromJSON", call: (asked) => navigator.credentials.get(asked) },
  create: { parse: "parseCreationOptionsFromJSON", call: (asked) => navigator.credentials.create(asked) },
};
// What is left of a request that gave way to another.
const GAVE_WAY = "AbortError";

function prepare(form) {
  const kind = KINDS[form.dataset.passkey];
  const button = form.querySelector("[data-passkey-button]");
  if (!kind || !able?.[kind.parse]) {
    for (const note of form.querySelectorAll("[data-passkey-unsupported]")) note.hidden = false;
    return;
  }
  const isCreate = form.dataset.passkey === "create";
  let waiting = null;

  async function ask(more = {}, hints = []) {
    const publicKey = able[kind.parse](JSON.parse(form.dataset.options));
    if (hints.length) publicKey.hints = hints;
    const credential = await kind.call({ publicKey, ...more });
    form.elements.namedItem("credential").value = JSON.stringify(credential.toJSON());
    if (!isCreate) {
      const action = document.createElement("input");
      form.append(Object.assign(action, { type: "hidden", name: "action", value: "passkey" }));
    }
    // Not `requestSubmit()`: name and password need not be filled in beside a passkey.
    HTMLFormElement.prototype.submit.call(form);
  }

  // Waits until a passkey is chosen among the suggestions of the name field, or somebody clicks.
  async function suggest() {
    if (isCreate || !("conditional" in form.dataset)) return;
    if (!await able.isConditionalMediationAvailable?.()) return;
    waiting = new AbortController();
    // Nobody asked for this one, so nobody is told that it did not work.
    await ask({ mediation: "conditional", signal: waiting.signal }).catch(() => {});
  }

  // `hints` say where the browser looks first (WebAuthn Level 3, enumeration of credential hints).
  async function click(hints = []) {
    if (button?.disabled || (isCreate && !form.reportValidity())) return;
    if (button) button.disabled = true;
    tell(form, null);
    // A browser takes one request at a time.
    waiting?.abort();
    try {
      await ask({}, hints);
    } catch (error) {
      if (button) button.disabled = false;
      if (error.name !== GAVE_WAY) tell(form, error);
      suggest();
    }
  }

  // A challenge lasts for minutes, and a sign-in page may stay open for days: it takes the next one
  // from a page that was made now, and keeps what was typed.
  let madeAt = Date.now();
  const clock = "renewedAt" in form.dataset && setInterval(renewIfOld, 15_000);

  async function renew() {
    const answer = await fetch(form.dataset.renewedAt, { cache: "no-store" });
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    const fresh = page.querySelector("form[data-renewed-at]");
    // There is nothing to sign in to any more, or somebody did in another tab.
    if (!answer.ok || !fresh) return clearInterval(clock);
    form.dataset.options = fresh.dataset.options;
    for (const { name, value } of fresh.querySelectorAll("input[type=hidden]")) {
      if (value) form.elements.namedItem(name).value = value;
    }
    madeAt = Date.now();
    waiting?.abort();
    return suggest();
  }

  // In the background, or while the computer sleeps, it is put off until somebody looks.
  function renewIfOld() {
    const isOld = Date.now() - madeAt >= form.dataset.renewedAfter * 1000;
    if (isOld && !document.hidden && !button?.disabled) renew().catch(() => {});
  }

  if (button) {
    button.hidden = false;
    button.addEventListener("click", (event) => {
      event.preventDefault();
      click();
    });
    offerPhone(click).catch(() => {});
  }
  if (isCreate) {
    // Enter in the field for its name does what the button does.
    form.addEventListener("submit", (event) => {
      if (event.submitter && event.submitter !== button) return;
      event.preventDefault();
      click();
    });
  }
  suggest();
}

// A phone near here (hybrid transport), where the browser says that it can ask one; a phone itself
// does not look for another. Of browsers that do not say, people are told where to find it.
async function offerPhone(click) {
  const phone = document.querySelector("[data-passkey-phone]");
  if (!phone || matchMedia("(pointer: coarse)").matches) return;
  const can = able.getClientCapabilities ? await able.getClientCapabilities() : null;
  if (can?.hybridTransport) {
    phone.hidden = false;
    phone.addEventListener("click", () => click(["hybrid"]));
  }
  for (const hint of document.querySelectorAll("[data-passkey-hint]")) hint.hidden = can !== null;
}

function tell(form, error) {
  const problem = form.querySelector("[data-passkey-problem]");
  if (!problem) return;
  // Browsers do not say whether somebody changed their mind, waited too long, or was not recognised.
  const said = { InvalidStateError: "already", NotAllowedError: "cancelled" }[error?.name];
  const { dataset } = problem;
  problem.textContent = error === null ? "" : dataset[said] ?? dataset.failed ?? "";
  problem.hidden = problem.textContent === "";
}

// Password managers then offer no passkey that was removed, under no name that was changed.
function signal({ rpId, userId, accepted, name, displayName }) {
  const quietly = (promise) => promise?.catch(() => {});
  quietly(able?.signalAllAcceptedCredentials?.({ rpId, userId, allAcceptedCredentialIds: accepted }));
  quietly(able?.signalCurrentUserDetails?.({ rpId, userId, name, displayName }));
}

for (const form of document.querySelectorAll("form[data-passkey]")) prepare(form);
for (const element of document.querySelectorAll("[data-passkey-signal]")) {
  signal(JSON.parse(element.dataset.passkeySignal));
}
// A page that comes back by "Back" holds a challenge that was answered.
addEventListener("pageshow", (event) => {
  if (event.persisted) location.reload();
});
