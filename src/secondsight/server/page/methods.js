// The methods to choose from, and their parameters.

import { byId, h } from "./dom.js";

const USUAL = ["regular", "vcd", "ritual"];
let known = [];
let changed = () => {};

/** Fill the list from what the server lists. */
export function fill(models, onChange) {
  changed = onChange;
  known = models.map((model) => model.secondsight).filter((method, place, all) => all.findIndex((one) => one.name === method.name) === place);
  const pills = (methods) => h("div", { class: "pills" }, methods.map(pill));
  const controls = known.filter((one) => one.control);
  byId("methods").replaceChildren(
    pills(known.filter((one) => !one.control)),
    ...(controls.length ? [h("h3", {}, "Controls, which a method must beat"), pills(controls)] : []),
    ...known.map(details));
  byId("methods").addEventListener("change", refresh);
  byId("own").addEventListener("input", () => changed());
  refresh();
}

const pill = (method) => h("label", { class: `pill${method.control ? " control" : ""}`, title: `${method.summary}${method.source ? ` (${method.source})` : ""}` },
  h("input", { type: "checkbox", class: "hide", value: method.name, checked: USUAL.includes(method.name) }), method.name);

/** What a chosen method is, and its parameters. */
function details(method) {
  const inputs = method.parameters.map((one) => {
    const number = typeof one.default === "number";
    return h("label", {}, `${one.name} `, h("span", { class: "dim" }, one.help),
      h("input", { type: number ? "number" : "text", step: "any", min: one.low, max: one.high, "data-name": one.name,
        placeholder: one.default === null ? "none" : String(one.default) }));
  });
  return h("details", { class: "chosen", "data-method": method.name, hidden: true },
    h("summary", {}, h("code", {}, method.name), " ", method.summary), h("div", { class: "params" }, inputs));
}

const boxes = () => [...document.querySelectorAll("#methods .pill input")];
const detailsOf = (name) => document.querySelector(`#methods details[data-method="${CSS.escape(name)}"]`);

function refresh() {
  for (const box of boxes()) detailsOf(box.value).hidden = !box.checked;
  changed();
}

/** The chosen methods as text, with the parameters that were set. */
export function chosen() {
  const own = byId("own").value.split(";").map((spec) => spec.trim()).filter(Boolean);
  return [...boxes().filter((box) => box.checked).map((box) => {
    const set = [...detailsOf(box.value).querySelectorAll("input")].filter((input) => input.value.trim() !== "");
    const text = set.map((input) => `${input.dataset.name}=${input.value.trim()}`).join(",");
    return box.value + (text ? `:${text}` : "");
  }), ...own].filter((spec, place, all) => all.indexOf(spec) === place);
}

/** Choose methods by their text; those that the server does not have are returned. */
export function choose(specs) {
  const unknown = [], own = [];
  for (const box of boxes()) box.checked = false;
  for (const spec of specs) {
    const [name, ...rest] = spec.split(":");
    const box = boxes().find((one) => one.value === name);
    if (!box || rest.join(":").includes("+")) {
      (spec.includes("+") ? own : unknown).push(spec);
      continue;
    }
    box.checked = true;
    for (const pair of rest.join(":").split(",").filter(Boolean)) {
      const [key, ...value] = pair.split("=");
      const input = detailsOf(name).querySelector(`input[data-name="${CSS.escape(key)}"]`);
      if (input) { input.value = value.join("="); detailsOf(name).open = true; }
    }
  }
  byId("own").value = own.join("; ");
  refresh();
  return unknown;
}

export const isControl = (spec) => known.find((one) => one.name === spec.split(":")[0])?.control ?? false;
