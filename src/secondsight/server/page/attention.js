// Where in the image the model looked when it wrote a token: by view, layer and head.

import { byId, h } from "./dom.js";
import { ServerError, post } from "./api.js";

const bytes = (text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
const state = { trace: null, token: 0, layer: "mean", head: "mean", relative: true };

/** Ask for the trace of an answer, once, and show a token of it. */
export async function look(answer, index) {
  byId("inspector").hidden = false;
  const place = byId("attention");
  const token = answer.pieces.slice(0, index).reduce((sum, piece) => sum + piece.tokens.length, 0);
  if (!answer.pieces[index].tokens.length) {
    place.replaceChildren(h("p", { class: "dim" }, "Attention is shown for answers with evidence: turn it on under Parameters."));
    return;
  }
  if (!answer.images.length) {
    place.replaceChildren(h("p", { class: "dim" }, "There is no image to look at in this question."));
    return;
  }
  place.replaceChildren(h("h3", {}, "Attention"), h("p", { class: "dim", role: "status" }, "Answering again, and recording where the model looks …"));
  try {
    answer.trace ??= post("/v1/secondsight/trace", { ...answer.request, format: "attention" });
    state.trace = await answer.trace;
  } catch (error) {
    answer.trace = null;
    const words = error instanceof ServerError ? error.words : String(error);
    place.replaceChildren(h("h3", {}, "Attention"), h("p", { class: "problem", role: "alert" }, words));
    return;
  }
  state.token = token;
  render(place);
  await Promise.allSettled([...place.querySelectorAll("img")].map((image) => image.decode()));
  byId("inspector").scrollTo({ top: place.offsetTop - 12 });
}

function render(place) {
  const { trace } = state;
  const drawn = trace.attention.filter((view) => view.grid);
  if (state.token >= trace.tokens.length || !drawn.length) {
    const why = drawn.length ? `Traces reach ${trace.tokens.length} tokens; this one is further on.` : ["This model's attention has no map of patches.", ...trace.notes].join(" ");
    place.replaceChildren(h("h3", {}, "Attention"), h("p", { class: "dim" }, why));
    return;
  }
  const first = drawn[0], layers = first.layers.shape[0];
  const heads = first.heads[state.layer]?.shape[0] ?? 0;
  if (state.layer !== "mean" && Number(state.layer) >= layers) state.layer = "mean";
  if (state.head !== "mean" && Number(state.head) >= heads) state.head = "mean";
  const choice = (id, label, values, chosen, set) => h("label", { class: "small" }, label,
    h("select", { id, onchange: (event) => { set(event.target.value); render(place); byId(id).focus(); } },
      values.map(([value, text]) => h("option", { value, selected: value === chosen }, text))));
  const numbers = (count) => Array.from({ length: count }, (_, n) => [String(n), String(n)]);
  const last = trace.tokens.length - 1;
  place.replaceChildren(
    h("h3", {}, "Attention to the image for ", h("code", {}, trace.tokens[state.token].text.trim() || "·")),
    h("div", { class: "choose" },
      choice("layer", "Layer ", [["mean", "mean of all"], ...numbers(layers)], state.layer, (value) => { state.layer = value; }),
      choice("head", "Head ", [["mean", "mean of all"], ...numbers(heads)], state.head, (value) => { state.head = value; })),
    h("label", { class: "small" }, `Token ${state.token + 1} of ${last + 1}`,
      h("input", { type: "range", id: "token", min: 0, max: last, value: state.token, class: "wide",
        oninput: (event) => { state.token = Number(event.target.value); render(place); byId("token").focus(); } })),
    h("label", { class: "check small" }, h("input", { type: "checkbox", id: "relative", checked: state.relative,
      onchange: (event) => { state.relative = event.target.checked; render(place); byId("relative").focus(); } }),
    "Less the answer's average, which every token shares"),
    h("div", { class: "maps" }, drawn.map((view) => figure(view))));
}

function figure(view) {
  const facts = state.trace.views.find((one) => one.view === view.view);
  const image = facts?.images.at(-1);
  const map = state.relative ? relative(view) : values(view, state.token);
  const share = 100 * (state.relative ? values(view, state.token) : map).reduce((sum, one) => sum + one, 0);
  const canvas = h("canvas", { role: "img", "aria-label": `Attention of the view ${view.view}` });
  draw(canvas, view.grid, map);
  return h("figure", { "data-view": view.view },
    h("div", { class: "stack" }, image && h("img", { src: image.uri, alt: `The image as the view ${view.view} sees it` }), canvas),
    h("figcaption", {}, `${view.view}${facts?.choice ? `: ${facts.choice}` : ""} · ${share.toFixed(1)}% of attention goes to the image`));
}

/** The map of a token: one number per patch. */
function values(view, token) {
  if (state.layer === "mean") return view.mean[token];
  const packed = state.head === "mean" ? view.layers : view.heads[state.layer];
  const row = (state.head === "mean" ? Number(state.layer) : Number(state.head)) * state.trace.tokens.length + token;
  const patches = packed.shape.at(-1), scale = packed.peaks[row] / 255;
  packed.bytes ??= bytes(packed.uint8_base64);
  return Array.from(packed.bytes.subarray(row * patches, (row + 1) * patches), (byte) => byte * scale);
}

function relative(view) {
  const tokens = state.trace.tokens.length, own = values(view, state.token);
  const average = own.map(() => 0);
  for (let token = 0; token < tokens; token += 1) {
    values(view, token).forEach((value, patch) => { average[patch] += value / tokens; });
  }
  return own.map((value, patch) => Math.max(value - average[patch], 0));
}

/** Dark where the model does not look, clear where it does. */
function draw(canvas, [rows, columns], map) {
  canvas.width = columns;
  canvas.height = rows;
  const pen = canvas.getContext("2d"), picture = pen.createImageData(columns, rows);
  const peak = Math.max(...map, 1e-12);
  for (let patch = 0; patch < rows * columns; patch += 1) {
    picture.data.set([14, 20, 30, Math.round(205 * (1 - Math.sqrt((map[patch] ?? 0) / peak)))], 4 * patch);
  }
  pen.putImageData(picture, 0, 0);
}
