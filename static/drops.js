// Files that are dropped or pasted anywhere on a page: each leads to something that can be seen, and none replaces the
// page.

import { filesFromDrop } from "./files.js";
import { gettext } from "./messages.js";

// on: take({files, others, name}), refuse(sentence), over(is): files are held above the page.
export function listenForFiles({ take, refuse, over = () => {} }) {
  // A picture of the page itself that is dragged is no upload.
  let own = false;
  addEventListener("dragstart", () => { own = true; });
  addEventListener("dragend", () => { own = false; });
  addEventListener("dragover", (event) => {
    if (!hasFiles(event.dataTransfer) && isEditable(event.target)) return;
    event.preventDefault();
    if (!own && hasFiles(event.dataTransfer)) over(true);
  });
  addEventListener("dragleave", (event) => event.relatedTarget ?? over(false));
  addEventListener("drop", async (event) => {
    over(false);
    if (!hasFiles(event.dataTransfer) && isEditable(event.target)) return;
    event.preventDefault();
    if (own) return;
    if (!hasFiles(event.dataTransfer)) {
      refuse(gettext("That was no file. Drop image files or folders from your computer."));
      return;
    }
    try {
      take(await filesFromDrop(event.dataTransfer));
    } catch {
      refuse(gettext("What was dropped could not be read. Drop it again, or choose it with a button."));
    }
  });
  addEventListener("paste", (event) => {
    const files = [...event.clipboardData.files];
    if (files.length) {
      event.preventDefault();
      take({ files: files.map((file, index) => named(file, index, new Date())), others: 0, name: "" });
    } else if (!isEditable(event.target)) {
      refuse(gettext("There is no image on the clipboard."));
    }
  });
}

function hasFiles(transfer) {
  return transfer.types.includes("Files");
}

function isEditable(target) {
  return Boolean(target.closest?.("input, textarea, [contenteditable]"));
}

// A picture on the clipboard is always called image.png: the time makes their names different.
export function named(file, index, now) {
  if (!/^image\.\w+$/.test(file.name)) return file;
  const two = (value) => String(value).padStart(2, "0");
  const day = [now.getFullYear(), two(now.getMonth() + 1), two(now.getDate())].join("-");
  const time = [now.getHours(), now.getMinutes(), now.getSeconds()].map(two).join("-");
  const which = index ? ` ${index + 1}` : "";
  return new File([file], `pasted ${day} ${time}${which}${file.name.slice(5)}`, { type: file.type });
}
