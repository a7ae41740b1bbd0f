// Elements without markup: no text of a model or of a user is ever read as HTML.

export const byId = (id) => document.getElementById(id);

/** Make an element: h("p", { class: "x", onclick: f }, "text", child). */
export function h(name, attributes = {}, ...children) {
  const element = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) {
    if (key.startsWith("on")) element.addEventListener(key.slice(2), value);
    else if (key === "vars") for (const [name, set] of Object.entries(value)) element.style.setProperty(name, set);
    else if (typeof value === "boolean") element.toggleAttribute(key, value);
    else if (value !== null && value !== undefined) element.setAttribute(key, value);
  }
  element.append(...children.flat().filter((child) => child !== null && child !== undefined && child !== false));
  return element;
}

let quiet;
/** Say something for a moment, to the eye and to a screen reader. */
export function say(text) {
  byId("said").textContent = text;
  clearTimeout(quiet);
  quiet = setTimeout(() => { byId("said").textContent = ""; }, 3500);
}

export async function copy(text, what) {
  try {
    await navigator.clipboard.writeText(text);
  } catch {
    const area = h("textarea", { class: "hide" });
    area.value = text;
    document.body.append(area);
    area.select();
    const done = document.execCommand("copy");
    area.remove();
    if (!done) { say("The browser does not allow copying."); return; }
  }
  say(`${what} copied.`);
}

export const percent = (value) =>
  value >= 0.9995 ? "100%" : value >= 0.1 ? `${(100 * value).toFixed(1)}%` : value >= 0.001 ? `${(100 * value).toFixed(2)}%` : value > 0 ? "<0.1%" : "0%";

/** A token as a reader sees it: blanks and line ends made visible. */
export const visible = (text) => (text === "" ? "∅" : text.replaceAll("\n", "⏎").replace(/^ | $/g, "·"));
