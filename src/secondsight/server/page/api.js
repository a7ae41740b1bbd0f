// Talking to the server: JSON, events, and what it says when something is wrong.

import { byId } from "./dom.js";

export class ServerError extends Error {
  constructor(status, error, wait) {
    super(error?.message ?? `The server answered ${status}.`);
    this.status = status;
    this.code = error?.code ?? null;
    this.param = error?.param ?? null;
    this.wait = wait;
  }

  /** All that the server said, in a line or two. */
  get words() {
    const where = this.param ? ` (${this.param})` : "";
    const when = this.wait ? ` Try again in ${this.wait} s.` : "";
    return `${this.message}${where}${when} [${this.status}${this.code ? ` ${this.code}` : ""}]`;
  }
}

const KEY = "secondsight-key";
export const key = () => sessionStorage.getItem(KEY);

function headers() {
  return { "content-type": "application/json", ...(key() ? { authorization: `Bearer ${key()}` } : {}) };
}

/** Ask for a key until one is given; the page is open, what is behind it may not be. */
function askForKey() {
  const dialog = byId("key-dialog");
  return new Promise((resolve) => {
    dialog.addEventListener("close", () => {
      const given = byId("key").value.trim();
      if (given) sessionStorage.setItem(KEY, given);
      resolve(Boolean(given));
    }, { once: true });
    if (!dialog.open) dialog.showModal();
  });
}

async function request(path, options) {
  for (;;) {
    let response;
    try {
      response = await fetch(path, { ...options, headers: headers() });
    } catch (error) {
      if (error.name === "AbortError") throw error;
      throw new ServerError(0, { message: "The server cannot be reached. Is it still running?" });
    }
    if (response.ok) return response;
    let body = null;
    try { body = await response.json(); } catch { /* not ours: a proxy's page */ }
    const error = new ServerError(response.status, body?.error, response.headers.get("retry-after"));
    if (response.status === 401 && await askForKey()) continue;
    throw error;
  }
}

export const get = async (path) => (await request(path, {})).json();

export const post = async (path, body, signal) =>
  (await request(path, { method: "POST", body: JSON.stringify(body), signal })).json();

/** The events of a stream, one after the other. */
export async function* events(path, body, signal) {
  const response = await request(path, { method: "POST", body: JSON.stringify({ ...body, stream: true }), signal });
  const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
  let text = "";
  try {
    for (;;) {
      const { value, done } = await reader.read();
      if (done) return;
      text += value;
      let end;
      while ((end = text.indexOf("\n\n")) >= 0) {
        const line = text.slice(0, end);
        text = text.slice(end + 2);
        if (!line.startsWith("data: ")) continue;
        if (line === "data: [DONE]") return;
        const data = JSON.parse(line.slice(6));
        if (data.error) throw new ServerError(response.status, data.error);
        yield data;
      }
    }
  } finally {
    reader.cancel().catch(() => {});
  }
}
