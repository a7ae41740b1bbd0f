// One HTML file with everything that is on the page: it opens anywhere, offline, without scripts.

import { percent, visible } from "./dom.js";

const escaped = (text) => String(text).replace(/[&<>"']/g, (letter) => `&#${letter.charCodeAt(0)};`);

const STYLE = `body{font:16px/1.6 system-ui,sans-serif;max-width:70rem;margin:2rem auto;padding:0 1rem;color:#1c2024;background:#faf9f6}
img{max-height:14rem;border-radius:.4rem}.columns{display:grid;gap:1rem;grid-template-columns:repeat(auto-fit,minmax(17rem,1fr))}
article{border:1px solid #dcd9d1;border-top:3px solid #0f766e;border-radius:.5rem;padding:.6rem .9rem;background:#fff}
.control{border-top-style:dashed;border-top-color:#5b636d}.text{white-space:pre-wrap}.dim{color:#5b636d;font-size:.85rem}
.differs{background:#fde9b8}.changed{text-decoration:underline dotted 2px #b45309}.doubtful{text-decoration:underline wavy #b42318}.invented{text-decoration:underline 2px #b42318}
[title]{cursor:help}pre{white-space:pre-wrap;overflow-wrap:anywhere;font-size:.8rem}h3{font-family:monospace}table{border-collapse:collapse;font-size:.85rem}td,th{padding:.1rem .7rem .1rem 0;text-align:left;font-weight:400}
@media(prefers-color-scheme:dark){body{background:#121517;color:#e7e5df}article{background:#1a1e21;border-color:#30363b}.differs{background:#5a4508}}`;

function tooltip(tokens) {
  return tokens.map((token) => {
    const views = token.views.map((view) => `${view.view} ${percent(view.probability)}`).join("\n");
    const plausible = token.plausible === null ? "" : `\n${token.plausible} plausible`;
    const regular = token.changed ? `\nregular would have said ${visible(token.regular.token)}` : "";
    return `${visible(token.token)}: ${percent(token.probability)}\n${views}${plausible}${regular}`;
  }).join("\n\n");
}

function words(answer) {
  return answer.pieces.map((piece, index) => {
    const classes = [...answer.body.children[index].classList].filter((name) => ["differs", "changed", "doubtful", "invented"].includes(name));
    const title = piece.tokens.length ? ` title="${escaped(tooltip(piece.tokens))}"` : "";
    return classes.length || title ? `<span class="${classes.join(" ")}"${title}>${escaped(piece.text)}</span>` : escaped(piece.text);
  }).join("");
}

function article(answer) {
  const tag = answer.control ? ' <span class="dim">control</span>' : "";
  const provenance = answer.facts ? `<details><summary class="dim">Provenance</summary><pre>${escaped(JSON.stringify(answer.facts.provenance, null, 1))}</pre></details>` : "";
  const body = answer.failed ? `<p><b>${escaped(answer.failed)}</b></p>` : `<p class="text">${words(answer)}</p>`;
  return `<article class="${answer.control ? "control" : ""}"><h3>${escaped(answer.method)}${tag}</h3>${body}<p class="dim">${escaped(answer.foot.textContent)}</p>${provenance}</article>`;
}

function turn(one) {
  const images = one.images.map((image) => `<img src="${escaped(image.url)}" alt="${escaped(image.name)}">`).join(" ");
  return `<section><p>${images}</p><h2>${escaped(one.question)}</h2><div class="columns">${one.answers.map(article).join("")}</div></section>`;
}

/** The whole conversation as one file. */
export function html(turns, server, link) {
  const raw = turns.map((one) => ({
    question: one.question,
    answers: one.answers.map((answer) => ({ method: answer.method, text: answer.text, facts: answer.facts, tokens: answer.pieces.flatMap((piece) => piece.tokens) })),
  }));
  const data = JSON.stringify(raw).replaceAll("<", "\\u003c");
  return `<!doctype html><html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width,initial-scale=1">
<meta http-equiv="Content-Security-Policy" content="default-src 'none'; style-src 'unsafe-inline'; img-src data:">
<title>secondsight: ${escaped(turns[0]?.question ?? "")}</title><style>${STYLE}</style></head><body>
<p class="dim">secondsight ${escaped(server.version)} · ${escaped(server.model)} · ${escaped(server.fingerprint)} · <a href="${escaped(link)}">the same again</a></p>
${turns.map(turn).join("\n")}
<p class="dim">Point at a word for what every view gave it. Yellow: differs from regular. Dotted: the method overruled the original view. Everything as data is in this file's last element.</p>
<script type="application/json" id="data">${data}</script></body></html>`;
}

export function download(name, text) {
  const url = URL.createObjectURL(new Blob([text], { type: "text/html" }));
  const anchor = document.createElement("a");
  anchor.href = url;
  anchor.download = name;
  anchor.click();
  setTimeout(() => URL.revokeObjectURL(url), 10000);
}
