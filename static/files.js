// Selects the files to upload: the images of a folder, without its other files.

// The same rule as in core/file_selection.py, which the server applies to archives; a test compares them.
const IMAGE_ENDINGS = new Set((
  "jpg jpeg jpe jfif mpo png apng gif webp heic heif hif avif tif tiff btf tf8 bmp dib ico cur " +
  "ppm pgm pbm pnm pfm jp2 j2k jpx"
).split(" "));
// Below the chosen folder, whose own name does not matter.
const HIDDEN = /\/(\.|(__macosx|@eadir|\$recycle\.bin)\/)/i;
const collator = new Intl.Collator(undefined, { numeric: true });

const hasImageEnding = (name) => IMAGE_ENDINGS.has(name.slice(name.lastIndexOf(".") + 1).toLowerCase());

// The paths of files in dropped folders, which the files themselves do not have.
const paths = new WeakMap();

// A file's name with the folders that were chosen or dropped, such as "holiday/day 1/a.jpg".
export function pathOf(file) {
  return paths.get(file) || file.webkitRelativePath || file.name;
}

// Keeps a folder's files that have an image's extension and are not hidden, nor in a hidden folder.  Returns {files, others}: others is a count.
export function keepImages(files) {
  const kept = files.filter((file) => !isHidden(file) && hasImageEnding(file.name));
  kept.sort((a, b) => collator.compare(pathOf(a), pathOf(b)));
  return { files: kept, others: files.length - kept.length };
}

function isHidden(file) {
  return file.name.startsWith(".") || HIDDEN.test(pathOf(file));
}

// Whether the server opens a file as an archive of images.
export function isArchive(file) {
  return /\.zip$/i.test(file.name);
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

async function fileOf(entry) {
  const file = await new Promise((resolve, reject) => entry.file(resolve, reject));
  paths.set(file, entry.fullPath.replace(/^\/+/, ""));
  return file;
}
