// On pages that take no photos: a drop or a paste shows where to drop instead.

import { listenForFiles } from "./drops.js";
import { gettext } from "./messages.js";

// Below the same path prefix as this script.
const START_URL = new URL("../", import.meta.url);

function say(sentence) {
  let notice = document.getElementById("drop-notice");
  if (!notice) {
    notice = document.createElement("p");
    notice.id = "drop-notice";
    notice.setAttribute("role", "alert");
    // Not every page has the program's style sheet.
    Object.assign(notice.style, {
      position: "fixed", inset: "auto 1rem 1rem", zIndex: "10", margin: "0 auto", maxWidth: "40rem", padding: "1rem",
      borderRadius: "3px", background: "#1c1813", color: "#fff", font: "1rem/1.4 system-ui, sans-serif",
    });
    document.body.append(notice);
  }
  const link = document.createElement("a");
  link.href = START_URL;
  link.textContent = gettext("Open the page for a new batch");
  link.style.color = "inherit";
  notice.replaceChildren(`${sentence} `, link, gettext("."));
}

listenForFiles({
  take: () => say(gettext("This page takes no photos; nothing was uploaded. Drop them on the page for a new batch, or on that of your batch.")),
  refuse: say,
});
