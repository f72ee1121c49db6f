// Which files a person means: a folder's images without the odds and ends beside them.

const IMAGE_ENDING = /\.(jpe?g|jpe|jfif|png|gif|webp|avif|bmp|dib|tiff?|mpo|ico|ppm|pgm|pbm|pnm|jp2|j2k|jpx)$/i;
const collator = new Intl.Collator(undefined, { numeric: true });

// Of a folder's files, those that look like images and are not hidden.  -> {files, others}
export function keepImages(files) {
  const kept = files.filter((file) => !file.name.startsWith(".") && IMAGE_ENDING.test(file.name));
  kept.sort((a, b) => collator.compare(a.name, b.name));
  return { files: kept, others: files.length - kept.length };
}

// What was dropped: files as they are, of folders the images.  -> {files, others, name}: a single folder's name
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
    // A reader hands out a hundred entries at a time, then none.
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
