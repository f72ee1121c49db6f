// Keeps the page of bulk runs up to date: fetches the page itself and replaces the list.

const INTERVAL_MS = 2000;
const IDLE_INTERVAL_MS = 15_000;

const unreachable = document.getElementById("unreachable");

/** What a link or a button of the list leads to, by which it is found again in another version of the list. */
function target(element) {
  return element?.closest("#runs") ? (element.form?.action ?? element.href) : undefined;
}

async function update() {
  try {
    const response = await fetch(location.href, { headers: { Accept: "text/html" } });
    if (!response.ok) throw new Error(response.statusText);
    const page = new DOMParser().parseFromString(await response.text(), "text/html");
    const runs = page.getElementById("runs");
    if (runs === null) throw new Error("no list of runs");
    const focused = target(document.activeElement);
    document.getElementById("runs").replaceWith(document.adoptNode(runs));
    if (focused) [...runs.querySelectorAll("a, button")].find((element) => target(element) === focused)?.focus();
    unreachable.hidden = true;
  } catch {
    unreachable.hidden = false;
  }
}

for (;;) {
  const running = Number(document.getElementById("runs").dataset.running) > 0;
  await new Promise((resolve) => setTimeout(resolve, running && !document.hidden ? INTERVAL_MS : IDLE_INTERVAL_MS));
  await update();
}
