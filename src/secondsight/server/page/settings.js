// Parameters and seed: what the server's defaults are, and what was set.

import { byId, h } from "./dom.js";

const FIELDS = [
  ["temperature", "Temperature", { min: 0, max: 2, step: "any" }],
  ["top_p", "Top p", { min: 0, max: 1, step: "any" }],
  ["top_k", "Top k", { min: 0, step: 1 }],
  ["repetition_penalty", "Repetition penalty", { min: 0, step: "any" }],
  ["max_completion_tokens", "Longest answer", { min: 1, step: 1 }],
  ["num_beams", "Beams", { min: 1, max: 16, step: 1 }],
  ["seed", "Seed", { step: 1 }],
];

export function fill(defaults, changed) {
  byId("settings").replaceChildren(...FIELDS.map(([name, label, bounds]) => h("label", {}, label,
    h("input", { type: "number", id: `set-${name}`, placeholder: ({ top_k: "all", num_beams: "1" })[name] ?? String(defaults[name] ?? ""), ...bounds, onchange: changed }))),
  h("label", {}, "Stop before", h("input", { type: "text", id: "set-stop", placeholder: "nothing", onchange: changed })));
}

/** What was set, as fields of a request. */
export function chosen() {
  const fields = {};
  for (const [name] of FIELDS) {
    const text = byId(`set-${name}`).value;
    if (text !== "") fields[name] = Number(text);
  }
  if (byId("set-stop").value) fields.stop = byId("set-stop").value;
  if (byId("share").checked) fields.share_views = true;
  return fields;
}

export function put(fields) {
  for (const [name] of FIELDS) byId(`set-${name}`).value = fields[name] ?? "";
  byId("set-stop").value = fields.stop ?? "";
  byId("share").checked = Boolean(fields.share_views);
}
