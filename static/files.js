// Selects the files to upload: the images of a folder, without its other files.

const IMAGE_ENDING = /\.(jpe?g|jpe|jfif|png|gif|webp|avif|bmp|dib|tiff?|mpo|ico|ppm|pgm|pbm|pnm|jp2|j2k|jpx)$/i;
const collator = new Intl.Collator(undefined, { numeric: true });

// Keeps a folder's files that have an image's extension and are not hidden.  Returns {files, others}: others is a count.
export function keepImages(files) {
  const kept = files.filter((file) => !file.name.startsWith(".") && IMAGE_ENDING.test(file.name));
  kept.sort((a, b) => collator.compare(a.name, b.name));
  return { files: kept, others: files.length - kept.length };
}

// Reads dropped files and folders: all files, and the images of folders.  Returns {files, others, name}; name is that of
// a single folder.
export async function filesFromDrop(transfer) {
  // The transfer is readable only until the first await.
  const entries = [...transfer.items].map((item) => item.webkitGetAsEntry?.()).filter(Boolean);
  const plain = [...transfer.files];
  if (!entries.some((entry) => entry.isDirectory)) return { files: plain, others: 0, name: "" };
  const direct = [];
  const inFolders = [];
  for (const entry of entries) {
    if (entry.isDirectory) await readFolder(entry, inFolders);
    else direct.push(await fileOf(entry));
  }
  const kept = keepImages(inFolders);
  const name = entries.length === 1 ? entries[0].name : "";
  return { files: [...direct, ...kept.files], others: kept.others, name };
}

async function readFolder(folder, found) {
  const reader = folder.createReader();
  for (;;) {
    // A reader returns a hundred entries at a time, and an empty list at the end.
    const entries = await new Promise((resolve, reject) => reader.readEntries(resolve, reject));
    if (!entries.length) return;
    for (const entry of entries) {
      if (entry.isDirectory) await readFolder(entry, found);
      else found.push(await fileOf(entry));
    }
  }
}

function fileOf(entry) {
  return new Promise((resolve, reject) => entry.file(resolve, reject));
}
