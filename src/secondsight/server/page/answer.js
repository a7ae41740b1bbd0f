// One answer: its words as they come, their marks, and moving among them by keyboard.

import { h, percent } from "./dom.js";
import { differing } from "./diff.js";

const FINISHED = { eos: "ended by itself", length: "cut at the length limit", stop: "ended at a stop string", cancelled: "stopped" };

export class Answer {
  /**
   * @param {object} about What was asked: method, control, turn.
   * @param {object} hooks `inspect(answer, index)`, `look(answer, index)`, `goOn(answer)`.
   */
  constructor(about, hooks) {
    Object.assign(this, about);
    this.hooks = hooks;
    this.pieces = [];
    this.text = "";
    this.done = false;
    this.failed = null;
    this.facts = null;
    this.started = performance.now();
    this.body = h("p", { class: "text", role: "group", "aria-label": `Answer of ${this.method}. Arrow keys go from word to word.` });
    this.foot = h("span", {}, "waiting …");
    this.radio = h("input", { type: "radio", name: `go-on-${this.turn}`, checked: this.first, onchange: () => hooks.goOn(this) });
    this.compared = h("span", { class: "tag", hidden: true });
    this.head = h("header", {}, h("h3", {}, this.method), this.control && h("span", { class: "tag control", title: "A control: what a real method must beat" }, "control"), this.compared);
    this.element = h("article", { class: `answer writing${this.control ? " control" : ""}`, "data-method": this.method, "aria-busy": "true" },
      this.head,
      this.body,
      h("footer", {}, this.foot, h("span", { class: "grow" }),
        h("label", { title: "The answer that the next question follows" }, this.radio, "goes on")));
    this.body.addEventListener("mouseover", (event) => this.#over(event));
    this.body.addEventListener("focusin", (event) => this.#over(event));
    this.body.addEventListener("click", (event) => { if (this.#index(event) >= 0) hooks.look(this, this.#index(event)); });
    this.body.addEventListener("keydown", (event) => this.#key(event));
  }

  #index(event) {
    const word = event.target.closest(".word");
    return word ? Number(word.dataset.index) : -1;
  }

  #over(event) {
    const index = this.#index(event);
    if (index >= 0) this.hooks.inspect(this, index);
  }

  #key(event) {
    const index = this.#index(event), last = this.pieces.length - 1;
    const to = { ArrowRight: index + 1, ArrowLeft: index - 1, Home: 0, End: last }[event.key];
    if (event.key === "Enter" || event.key === " ") { event.preventDefault(); this.hooks.look(this, index); return; }
    if (to === undefined || index < 0) return;
    event.preventDefault();
    this.focus(Math.max(0, Math.min(last, to)));
  }

  focus(index) {
    const word = this.body.children[index];
    if (!word) return;
    for (const one of this.body.children) one.tabIndex = -1;
    word.tabIndex = 0;
    word.focus();
  }

  /** Text that became readable, and what is known of its tokens. */
  add(text, tokens) {
    if (!text && !tokens.length) return;
    const index = this.pieces.length;
    this.pieces.push({ text, tokens, start: this.text.length });
    this.text += text;
    const lead = text.length - text.trimStart().length;
    const word = h("span", { class: "word", role: "button", tabindex: index ? -1 : 0, "data-index": index }, text.slice(lead));
    if (tokens.some((token) => token.changed)) word.classList.add("changed");
    this.body.append(text.slice(0, lead), word);  // blanks outside, where no mark shows
    this.count();
  }

  get tokens() { return this.pieces.reduce((sum, piece) => sum + Math.max(piece.tokens.length, 1), 0); }

  get length() { return this.tokens === 1 ? "1 token" : `${this.tokens} tokens`; }

  count() {
    const seconds = (performance.now() - this.started) / 1000;
    if (!this.done) this.foot.textContent = `${this.length}, ${(this.tokens / Math.max(seconds, 0.001)).toFixed(1)}/s`;
  }

  /** The whole answer is there. */
  end(facts) {
    this.facts = facts;
    this.finish(`${this.length}, ${FINISHED[facts.finish_reason] ?? facts.finish_reason}`, `seed ${facts.seed}`);
    this.#doubts((facts.doubts ?? []).filter((one) => one.probability > facts.doubtful));
  }

  /** It will not become whole. */
  fail(message) {
    this.failed = message;
    this.body.append(h("span", { class: "problem", role: "alert" }, message));
    this.finish("failed");
  }

  stop() { if (!this.done) this.finish(`${this.length}, stopped`); }

  finish(...words) {
    this.done = true;
    this.seconds = (performance.now() - this.started) / 1000;
    this.element.classList.remove("writing");
    this.element.setAttribute("aria-busy", "false");
    this.foot.textContent = [...words, `${this.seconds.toFixed(1)} s`].join(" · ");
  }

  /** A word about the whole answer, at its head. */
  note(text, kind) { this.head.append(h("span", { class: `tag ${kind}` }, text)); }

  #doubts(doubts) {
    for (const doubt of doubts) {
      this.#over_characters(doubt, "doubtful", `Doubtful: ${percent(doubt.probability)} likely made up`);
    }
  }

  /** Mark objects that are not in the image. */
  invented(mentions) {
    for (const one of mentions) this.#over_characters(one, "invented", `There is no ${one.name} in the image.`);
  }

  /** Ranges of the server's count characters; those of a browser's texts count halves of some. */
  #over_characters({ start, end }, name, title) {
    const letters = [...this.text];
    const at = (place) => letters.slice(0, place).join("").length;
    this.#over_range(at(start), at(end), (word) => {
      word.classList.add(name);
      word.title = title;
    });
  }

  #over_range(start, end, act) {
    this.pieces.forEach((piece, index) => {
      const lead = piece.text.length - piece.text.trimStart().length;
      if (piece.start + lead < end && piece.start + piece.text.length > start) act(this.body.children[index]);
    });
  }

  /** Mark its words: by what differs from `base`, by how sure they are, or by how the views disagree. */
  mark(by, base) {
    for (const word of this.body.children) {
      word.classList.remove("differs", "tint");
      word.style.removeProperty("--t");
    }
    const ranges = base && base !== this ? differing(this.text, base.text) : [];
    if (by === "difference") {
      for (const [start, end] of ranges) this.#over_range(start, end, (word) => word.classList.add("differs"));
    }
    this.compared.hidden = !base || base === this;
    this.compared.textContent = ranges.length ? `${ranges.length} word${ranges.length > 1 ? "s differ" : " differs"}` : "as regular";
    if (by !== "confidence" && by !== "views") return;
    this.pieces.forEach((piece, index) => {
      const strength = Math.max(0, ...piece.tokens.map((token) => by === "confidence" ? 1 - token.probability : spread(token)));
      const word = this.body.children[index];
      word.classList.add("tint");
      word.style.setProperty("--t", `${Math.round(75 * strength)}%`);
    });
  }
}

/** How far apart the views are about a token. */
function spread(token) {
  const given = token.views.map((view) => view.probability);
  return given.length < 2 ? 0 : Math.max(...given) - Math.min(...given);
}
