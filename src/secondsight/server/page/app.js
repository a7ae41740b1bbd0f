// The page: one question, several methods at once, their answers side by side.

import { ServerError, events, get } from "./api.js";
import { Answer } from "./answer.js";
import { look } from "./attention.js";
import { byId, copy, h, say } from "./dom.js";
import * as images from "./images.js";
import { close, inspect } from "./inspector.js";
import * as link from "./link.js";
import * as methods from "./methods.js";
import { curl, python } from "./recipes.js";
import { download, html } from "./save.js";
import * as scenes from "./scenes.js";
import * as settings from "./settings.js";

const COMPARE = "/v1/secondsight/compare";
const IDEAS = ["Describe this image in detail.", "Is there a dog in the image?", "How many chairs are there?"];

const turns = [];
let server = null;
let running = null;

// ---------------------------------------------------------------- start

async function start() {
  theme(localStorage.getItem("theme") ?? (matchMedia("(prefers-color-scheme: dark)").matches ? "dark" : "light"));
  images.listen();
  listen();
  await connect();
}

async function connect() {
  try {
    await get("/ready");
    const [facts, models] = await Promise.all([get("/v1/secondsight/server"), get("/v1/models")]);
    server = facts;
    images.set_up(facts.limits, asking);
    settings.fill(facts.defaults, asking);
    byId("scene").hidden = !facts.scenes;
    methods.fill(models.data, asking);
    state("ready", `${facts.model} · ${facts.facts.dtype} on ${facts.facts.device} · ${facts.version}`);
    banner("");
    await open(location.hash);
    asking();
  } catch (error) {
    const loading = error instanceof ServerError && error.status === 503;
    state(loading ? "" : "down", loading ? error.message : "not connected");
    if (!loading) banner(words(error));
    setTimeout(connect, loading ? 1500 : 5000);
  }
}

function state(kind, text) {
  byId("state").className = `dot ${kind}`;
  byId("state").setAttribute("aria-label", kind || "connecting");
  byId("model").textContent = text;
  byId("model").title = text;
}

const words = (error) => error instanceof ServerError ? error.words : `${error.name ?? "Error"}: ${error.message ?? error}`;

function banner(text) {
  byId("banner").textContent = text;
  byId("banner").hidden = !text;
}

function theme(name) {
  document.documentElement.dataset.theme = name;
  localStorage.setItem("theme", name);
}

/** What a link asks for; the images that it names must be given again. */
async function open(fragment) {
  const asked = link.read(fragment);
  if (!asked || turns.length) return;
  byId("question").value = asked.question;
  byId("system").value = asked.system;
  settings.put(asked.settings);
  const unknown = methods.choose(asked.methods);
  if (unknown.length) banner(`This server does not know ${unknown.join(", ")}.`);
  const scene = /^scene-(\d+)$/.exec(asked.images[0] ?? "");
  if (scene && !images.current().length) await images.takeScene(Number(scene[1]));
  if (asked.images.includes("example") && !images.current().length) await images.takeExample();
  missing(asked.images);
}

/** Name the images of a link that are not there yet. */
function missing(named) {
  const there = images.current().map(link.name);
  const absent = named.filter((one) => !/^(example|scene-\d+)$/.test(one) && !there.includes(one));
  byId("drop-hint").textContent = absent.length
    ? `This link was made with another image (SHA-256 ${absent.map((one) => one.slice(0, 12)).join(", ")} …). Drop it here, or`
    : "Drop images here, paste them, or";
}

// ---------------------------------------------------------------- asking

/** Everything that the next question will be asked with. */
function asked() {
  return {
    question: byId("question").value.trim(),
    methods: methods.chosen(),
    system: byId("system").value.trim(),
    images: images.current(),
    settings: settings.chosen(),
  };
}

/** Show what would be asked. */
function asking() {
  const now = asked();
  byId("count").textContent = `${now.methods.length} chosen`;
  byId("send").disabled = Boolean(running) || !server || !now.methods.length;
  byId("send").textContent = turns.length ? "Ask on" : "Ask";
  ideas(scenes.sceneOf(now.images));
  const linked = link.read(location.hash);
  if (linked && !turns.length) missing(linked.images);
}

/** Questions to begin with: those of a scene have answers that are known. */
function ideas(scene) {
  const texts = scene ? [IDEAS[0], ...scene.questions.map((one) => one.text)] : IDEAS;
  const place = byId("ideas"), key = texts.join("|");
  if (place.dataset.key === key) return;
  place.dataset.key = key;
  place.replaceChildren(...texts.map((text) => h("button", { type: "button", title: text,
    onclick: () => { byId("question").value = text; asking(); } }, text.replace(" Please answer yes or no.", ""))));
}

async function takeScene() {
  byId("scene").disabled = true;
  try {
    await images.takeScene(Math.floor(Math.random() * server.scenes));
  } catch (error) { banner(words(error)); }
  byId("scene").disabled = false;
}

/** Begin anew with another scene, and ask the same of it, or another question that it has an answer to. */
async function next(turn) {
  const again = scenes.known(turn.images[0].scene, turn.question) ? null : turn.question;
  anew();
  await takeScene();
  const scene = scenes.sceneOf(images.current());
  if (!scene) return;
  byId("question").value = again ?? scenes.anyOf(scene.questions).text;
  await ask();
}

/** Hold the answers against what the scene really shows. */
async function judge(turn, shown) {
  const scene = scenes.sceneOf(shown);
  if (!scene || !turn.answers.some((answer) => answer.facts)) return;
  try {
    await scenes.judge(scene, turn);
  } catch (error) { banner(words(error)); }
  if (turn.images.length) turn.element.append(h("p", { class: "row" }, h("button", { type: "button", class: "next", onclick: () => next(turn) }, "Next scene →")));
}

const content = (question, shown) => shown.length
  ? [...shown.map((image) => ({ type: "image_url", image_url: { url: image.url } })), { type: "text", text: question }]
  : question;

function messages(now) {
  const list = now.system ? [{ role: "system", content: now.system }] : [];
  for (const turn of turns) {
    list.push({ role: "user", content: content(turn.question, turn.images) }, { role: "assistant", content: turn.onward.text });
  }
  return [...list, { role: "user", content: content(now.question, now.images) }];
}

async function ask() {
  const now = asked();
  if (running || !now.question || !now.methods.length) return;
  if (turns.some((turn) => !turn.onward?.text)) { say("The answer that goes on is empty. Choose another, or begin anew."); return; }
  close();
  banner("");
  const common = { model: server.model, messages: messages(now), ...now.settings };
  const evidence = byId("evidence").checked;
  const request = { ...common, methods: now.methods, ...(evidence ? { evidence } : {}) };
  const turn = { question: now.question, images: now.images, request, asked: now, answers: [], onward: null };
  const hooks = { inspect, look: (answer, index) => { inspect(answer, index); look(answer, index); }, goOn: (answer) => { turn.onward = answer; } };
  const shown = [...turns.flatMap((one) => one.images), ...now.images];
  turn.answers = now.methods.map((method, place) => new Answer({
    method, control: methods.isControl(method), turn: turns.length, first: place === 0, images: shown, request: { ...common, method },
  }, hooks));
  turn.onward = turn.answers[0];
  turns.push(turn);
  show(turn);
  images.clear();
  byId("question").value = "";
  if (turns.length === 1) history.replaceState(null, "", link.write(now));
  running = new AbortController();
  busy(true);
  try {
    for await (const chunk of events(COMPARE, request, running.signal)) hear(turn, chunk);
  } catch (error) {
    if (error.name !== "AbortError") failed(turn, error);
  } finally {
    turn.answers.forEach((answer) => { if (!answer.done) answer.stop(); });
    running = null;
    busy(false);
    remark();
  }
  await judge(turn, shown);
}

function hear(turn, chunk) {
  for (const choice of chunk.choices) {
    const answer = turn.answers[choice.index], facts = choice.secondsight ?? {};
    answer.add(choice.delta.content ?? "", facts.evidence ?? []);
    if (choice.finish_reason) {
      answer.end(facts);
      remark();
    }
  }
}

/** Nothing was answered: the question comes back, with what the server said. */
function failed(turn, error) {
  const text = words(error);
  banner(text);
  turn.answers.filter((answer) => !answer.done).forEach((answer) => answer.fail(text));
  if (turn.answers.some((answer) => answer.text)) return;
  byId("question").value = turn.question;
  images.put(turn.images);
  turns.pop();
  turn.element.remove();
  byId("welcome").hidden = turns.length > 0;
}

function show(turn) {
  byId("welcome").hidden = true;
  byId("tools").hidden = false;
  turn.element = h("section", { class: "turn", "aria-label": turn.question },
    h("div", { class: "asked" }, turn.images.map((image) => h("img", { src: image.url, alt: image.name })), h("h2", {}, turn.question)),
    scenes.sceneOf(turn.images) && scenes.truth(turn.images[0].scene),
    h("div", { class: "columns" }, turn.answers.map((answer) => answer.element)));
  byId("turns").append(turn.element);
  turn.element.scrollIntoView({ block: "nearest", behavior: matchMedia("(prefers-reduced-motion: reduce)").matches ? "auto" : "smooth" });
}

function busy(on) {
  byId("stop").hidden = !on;
  byId("new").hidden = on || !turns.length;
  asking();
}

/** Mark the words anew, by what is chosen. */
function remark() {
  const by = byId("mark").value;
  for (const turn of turns) {
    const base = turn.answers.find((answer) => answer.method === "regular" && !answer.failed);
    turn.answers.filter((answer) => answer.done).forEach((answer) => answer.mark(by, base));
  }
}

// ---------------------------------------------------------------- everything else

function anew() {
  turns.length = 0;
  byId("turns").replaceChildren();
  byId("tools").hidden = true;
  byId("welcome").hidden = false;
  close();
  history.replaceState(null, "", location.pathname);
  busy(false);
  byId("question").focus();
}

function listen() {
  byId("ask").addEventListener("submit", (event) => { event.preventDefault(); ask(); });
  byId("scene").addEventListener("click", takeScene);
  byId("stop").addEventListener("click", () => running?.abort());
  byId("new").addEventListener("click", anew);
  byId("mark").addEventListener("change", remark);
  byId("inspector-close").addEventListener("click", close);
  byId("help-open").addEventListener("click", () => byId("help").showModal());
  byId("theme").addEventListener("click", () => theme(document.documentElement.dataset.theme === "dark" ? "light" : "dark"));
  byId("key-form").addEventListener("submit", () => {});
  for (const name of ["question", "system"]) byId(name).addEventListener("input", asking);
  addEventListener("hashchange", () => { if (!turns.length && server) open(location.hash); });
  addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey)) { event.preventDefault(); ask(); }
    if (event.key === "Escape" && !document.querySelector("dialog[open]")) { if (running) running.abort(); else close(); }
  });
  const last = () => turns.at(-1);
  byId("link").addEventListener("click", () => copy(location.origin + location.pathname + link.write(turns[0].asked), "Link"));
  byId("curl").addEventListener("click", () => copy(curl(COMPARE, last().request), "curl command"));
  byId("python").addEventListener("click", () => copy(python(last().request, last().asked.methods), "Python"));
  byId("save").addEventListener("click", () => {
    const address = location.origin + location.pathname + link.write(turns[0].asked);
    download("secondsight.html", html(turns, server, address));
  });
}

start();
