// Scenes that the server draws: what is really there, questions whose answers are known, a score.

import { get, post } from "./api.js";
import { byId, h } from "./dom.js";

const PATH = "/v1/secondsight/scenes";
const totals = new Map();

export const fetchScene = (index) => get(`${PATH}/${index}`);

export const anyOf = (list) => list[Math.floor(Math.random() * list.length)];

/** The scene that a conversation is about; null for other images, or several. */
export const sceneOf = (images) => (images.length === 1 && images[0].scene) || null;

/** The question of a scene that was asked, if it is one whose answer is known. */
export const known = (scene, question) => scene?.questions.find((one) => one.text === question) ?? null;

/** What is really there, folded: it is a riddle first. */
export function truth(scene) {
  const objects = scene.objects.map(({ name, count }) => count > 1 ? `${name} × ${count}` : name);
  return h("details", { class: "truth" }, h("summary", {}, "What is really there"), objects.join(", "));
}

/** Compare the answers with what is there, mark and count. */
export async function judge(scene, turn) {
  const answers = turn.answers.filter((answer) => answer.facts);
  const asked = known(scene, turn.question);
  const named = asked ? null : (await post(`${PATH}/${scene.index}/mentions`, { texts: answers.map((answer) => answer.text) })).texts;
  answers.forEach((answer, place) => {
    const total = totals.get(answer.method) ?? { asked: 0, right: 0, named: 0, invented: 0 };
    totals.set(answer.method, total);
    if (asked) {
      const right = /^\W*(yes|no)\b/i.exec(answer.text)?.[1].toLowerCase() === asked.answer;
      total.asked += 1;
      total.right += right;
      answer.note(right ? "right" : "wrong", right ? "good" : "bad");
    } else {
      const wrong = named[place].filter((one) => !one.there);
      total.named += named[place].length;
      total.invented += wrong.length;
      answer.invented(wrong);
      if (wrong.length) answer.note(`${wrong.length} of ${named[place].length} mentions made up`, "bad");
      else if (named[place].length) answer.note("every object is there", "good");
    }
  });
  score();
}

const share = (count, of) => of ? `${count} of ${of}` : "–";

function score() {
  byId("score").hidden = !totals.size;
  byId("totals").replaceChildren(...[...totals].map(([method, one]) => h("tr", {},
    h("th", { scope: "row" }, h("code", {}, method)),
    h("td", {}, share(one.right, one.asked)), h("td", {}, share(one.invented, one.named)))));
}
