// Scanning the other device's code in the page, where the browser can read codes. The camera is asked
// for when somebody presses the button, and let go of with the first code.
const part = document.getElementById("scan");
const start = document.getElementById("scan-start");
const view = document.getElementById("scan-view");
const said = document.getElementById("scan-said");
const EVERY = 250;

// A code leads to a page of ours that changes nothing by itself, or nowhere.
function ours(text) {
  if (!URL.canParse(text)) return null;
  const address = new URL(text);
  const leads = address.pathname.startsWith("/qr/") || address.pathname === "/device";
  return leads && address.origin === location.origin ? address : null;
}

async function scan(reader) {
  start.disabled = true;
  const camera = await navigator.mediaDevices.getUserMedia({ video: { facingMode: "environment" } });
  view.srcObject = camera;
  view.hidden = false;
  try {
    await view.play();
    location.assign(await codeOfOurs(reader));
  } finally {
    for (const track of camera.getTracks()) track.stop();
  }
}

async function codeOfOurs(reader) {
  for (;;) {
    const [found] = await reader.detect(view);
    const address = found && ours(found.rawValue);
    if (address) return address;
    said.textContent = found ? part.dataset.foreign : "";
    await new Promise((next) => setTimeout(next, EVERY));
  }
}

async function offer() {
  if (!window.BarcodeDetector || !navigator.mediaDevices) return;
  if (!(await BarcodeDetector.getSupportedFormats()).includes("qr_code")) return;
  const reader = new BarcodeDetector({ formats: ["qr_code"] });
  start.addEventListener("click", () => {
    scan(reader).catch(() => {
      view.hidden = true;
      start.disabled = false;
      said.textContent = part.dataset.none;
    });
  });
  part.hidden = false;
}

offer();
