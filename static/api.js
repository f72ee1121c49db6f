// Requests to the web tier.

// Beside the folder of the scripts, whatever prefix a proxy puts in front.
const HEALTH_URL = new URL("../healthz", import.meta.url);

// Fetches JSON.  Returns null if the server cannot be reached or refuses.
export async function getJson(url) {
  try {
    const response = await fetch(url);
    return response.ok ? await response.json() : null;
  } catch {
    return null;
  }
}

// Posts JSON, or an empty body; returns the response's JSON.  Throws an error whose message is a sentence.
export async function post(url, fields = null) {
  const options = { method: "POST" };
  if (fields) {
    options.body = JSON.stringify(fields);
    options.headers = { "Content-Type": "application/json" };
  }
  const response = await fetch(url, options);
  const body = await response.json().catch(() => ({}));
  if (!response.ok) throw new Error(body.detail ?? response.statusText);
  return body;
}

// Posts a form and reports the progress of the upload, which fetch cannot.  Resolves to {status, body, reason}; status 0
// means that no response arrived.
export function sendForm(url, form, { progress, signal }) {
  return new Promise((resolve) => {
    const request = new XMLHttpRequest();
    const finish = () => {
      let body = {};
      try {
        body = JSON.parse(request.responseText);
      } catch {
        // Not JSON: a proxy's error page.
      }
      resolve({ status: request.status, body, reason: request.statusText });
    };
    request.upload.addEventListener("progress", (event) => progress(event.loaded));
    request.addEventListener("loadend", finish);
    signal.addEventListener("abort", () => request.abort(), { once: true });
    request.open("POST", url);
    request.send(form);
  });
}

// Returns whether the server can be reached.
export async function reachable() {
  try {
    return (await fetch(HEALTH_URL, { signal: AbortSignal.timeout(5000) })).ok;
  } catch {
    return false;
  }
}
