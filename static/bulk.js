// Keeps the page of bulk runs up to date: fetches the page itself and replaces the list.

const INTERVAL_MS = 2000;
const IDLE_INTERVAL_MS = 15_000;

const unreachable = document.getElementById("unreachable");

async function update() {
  try {
    const response = await fetch(location.href, { headers: { Accept: "text/html" } });
    if (!response.ok) throw new Error(response.statusText);
    const page = new DOMParser().parseFromString(await response.text(), "text/html");
    const runs = page.getElementById("runs");
    if (runs === null) throw new Error("no list of runs");
    document.getElementById("runs").replaceWith(document.adoptNode(runs));
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
