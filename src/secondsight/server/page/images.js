// The images of the next question: dropped, pasted, chosen, or the example.

import { byId, h, say } from "./dom.js";
import { fetchScene } from "./scenes.js";

let images = [];
let limits = { images: 8, image_bytes: 20 * 2 ** 20, pixels: 25e6 };
let changed = () => {};

export const current = () => images;

async function digest(buffer) {
  if (!crypto.subtle) return "";  // only over https or on this machine
  const hash = await crypto.subtle.digest("SHA-256", buffer);
  return [...new Uint8Array(hash)].map((byte) => byte.toString(16).padStart(2, "0")).join("");
}

const dataURL = (file) => new Promise((resolve, reject) => {
  const reader = new FileReader();
  reader.onload = () => resolve(reader.result);
  reader.onerror = () => reject(reader.error);
  reader.readAsDataURL(file);
});

/** Take files as images, as they are: not a pixel is changed. */
export async function take(files) {
  for (const file of files) {
    if (!file.type.startsWith("image/")) { say(`${file.name} is not an image.`); continue; }
    if (file.size > limits.image_bytes) { say(`${file.name} is larger than ${Math.floor(limits.image_bytes / 2 ** 20)} MB.`); continue; }
    if (images.length >= limits.images) { say(`At most ${limits.images} images per question.`); break; }
    const url = await dataURL(file);
    images.push({ name: file.name || "pasted image", url, sha: await digest(await file.arrayBuffer()) });
  }
  render();
}

export async function takeExample() {
  const response = await fetch("/page/demo.png");
  const blob = await response.blob();
  await take([new File([blob], "example.png", { type: "image/png" })]);
}

/** Take a scene that the server draws. */
export async function takeScene(index) {
  const scene = await fetchScene(index);
  images = [{ name: `scene-${index}.png`, url: scene.image, sha: "", scene }];
  render();
}

export function clear() { images = []; render(); }
export function put(list) { images = [...list]; render(); }

function render() {
  byId("images").replaceChildren(...images.map((image, place) => h("li", {},
    h("img", { src: image.url, alt: image.name, title: image.name }),
    h("button", { type: "button", "aria-label": `Remove ${image.name}`, onclick: () => { images.splice(place, 1); render(); } }, "×"))));
  changed();
}

export function set_up(ofServer, onChange) {
  limits = { ...limits, ...ofServer };
  changed = onChange;
}

export function listen() {
  byId("file").addEventListener("change", async (event) => { await take(event.target.files); event.target.value = ""; });
  byId("demo").addEventListener("click", takeExample);
  let depth = 0;
  const over = (on) => document.body.classList.toggle("over", on);
  addEventListener("dragenter", (event) => { event.preventDefault(); depth += 1; over(true); });
  addEventListener("dragleave", () => { depth -= 1; over(depth > 0); });
  addEventListener("dragover", (event) => event.preventDefault());
  addEventListener("drop", (event) => { event.preventDefault(); depth = 0; over(false); take(event.dataTransfer.files); });
  addEventListener("paste", (event) => { if (event.clipboardData.files.length) take(event.clipboardData.files); });
}
