// What speaks for a word: every view's say, the final distribution, and regular's choice.

import { byId, h, percent, visible } from "./dom.js";

let shown = null;

export function close() {
  byId("inspector").hidden = true;
  shown?.classList.remove("on");
  shown = null;
}

/** Show what is known of a piece of an answer. */
export function inspect(answer, index) {
  const word = answer.body.children[index], piece = answer.pieces[index];
  if (!word || word === shown) return;
  shown?.classList.remove("on");
  shown = word;
  word.classList.add("on");
  byId("inspector").hidden = false;
  byId("detail").replaceChildren(...(piece.tokens.length ? piece.tokens.flatMap((token) => facts(answer, token)) : without(answer, piece)));
  if (innerWidth <= 800) word.scrollIntoView({ block: "nearest" });  // the sheet must not cover it
  byId("spoken").textContent = piece.tokens.map(spoken).join(" ");
}

function without(answer, piece) {
  return [
    h("h2", {}, visible(piece.text)),
    h("p", { class: "dim" }, `${answer.method} wrote it. Nothing more is known: turn on “Evidence for every token” under Parameters and ask again.`),
  ];
}

function spoken(token) {
  const views = token.views.map((view) => `${view.view} ${percent(view.probability)}`).join(", ");
  const regular = token.changed ? ` Regular would have said ${token.regular.token.trim()}.` : "";
  return `${token.token.trim()}: ${percent(token.probability)}. ${views}.${regular}`;
}

function facts(answer, token) {
  const list = [
    ["final distribution", percent(token.probability)],
    ...token.views.map((view) => [view.view, percent(view.probability)]),
    ["plausible tokens", token.plausible === null ? "all" : String(token.plausible)],
    ["regular would say", token.changed ? visible(token.regular.token) : "the same"],
  ];
  return [
    h("h2", {}, visible(token.token)),
    h("dl", { class: "facts" }, list.flatMap(([name, value]) => [h("dt", {}, name), h("dd", {}, value)])),
    token.plausible === 1 && h("p", { class: "dim small" }, "Only one token was plausible, so the other views had no say here."),
    bars("final distribution", token.top, token.id, "--final"),
    ...token.views.map((view, number) => bars(view.view, view.top, token.id, `--view${Math.min(number, 2)}`)),
  ].filter(Boolean);
}

function bars(title, candidates, chosen, colour) {
  return h("section", { class: "bars" }, h("h3", {}, title),
    h("table", {}, h("tbody", {}, candidates.map((one) =>
      h("tr", { class: one.id === chosen ? "said" : null },
        h("th", { scope: "row" }, visible(one.token)),
        h("td", { class: "gauge" }, h("span", { class: "fill", vars: { "--w": `${(100 * one.probability).toFixed(1)}%`, "--c": `var(${colour})` } })),
        h("td", { class: "p" }, percent(one.probability)))))));
}
