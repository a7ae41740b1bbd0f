// The OpenAPI document as a page.

import { get } from "./api.js";
import { byId, h } from "./dom.js";

function kind(schema) {
  if (!schema) return "";
  if (schema.$ref) return schema.$ref.split("/").pop();
  if (schema.const !== undefined) return JSON.stringify(schema.const);
  if (schema.enum) return schema.enum.map((one) => JSON.stringify(one)).join(" or ");
  if (schema.anyOf ?? schema.oneOf) return (schema.anyOf ?? schema.oneOf).map(kind).join(" or ");
  if (schema.type === "array") return `list of ${kind(schema.items) || "anything"}`;
  const bounds = [["minimum", "≥"], ["exclusiveMinimum", ">"], ["maximum", "≤"], ["exclusiveMaximum", "<"]]
    .filter(([name]) => schema[name] !== undefined && Math.abs(schema[name]) < 1e9).map(([name, sign]) => `${sign} ${schema[name]}`);
  return [schema.type, ...bounds].join(" ");
}

function fields(schema) {
  const required = schema.required ?? [];
  return h("table", {}, h("thead", {}, h("tr", {}, ["field", "what"].map((text) => h("th", { scope: "col" }, text)))),
    h("tbody", {}, Object.entries(schema.properties ?? {}).map(([name, one]) =>
      h("tr", {}, h("th", { scope: "row" }, h("code", {}, name), required.includes(name) ? " (required)" : ""), h("td", {}, kind(one))))));
}

function route(path, verb, one, schemas) {
  const body = one.requestBody?.content["application/json"].schema;
  return h("section", {},
    h("h2", {}, h("span", { class: "verb" }, verb.toUpperCase()), " ", h("code", {}, path)),
    h("p", {}, `${one.summary}.`),
    body ? h("details", {}, h("summary", {}, "Fields"), fields(schemas[kind(body)])) : null,
    h("details", {}, h("summary", {}, "Answers"), h("table", {}, h("tbody", {}, Object.entries(one.responses).map(([status, response]) =>
      h("tr", {}, h("th", { scope: "row" }, status), h("td", {}, response.description)))))));
}

try {
  const [document_, models] = await Promise.all([get("/openapi.json"), get("/v1/models")]);
  byId("base").textContent = `${location.origin}/v1`;
  byId("paths").replaceChildren(...Object.entries(document_.paths).flatMap(([path, verbs]) =>
    ["get", "post"].filter((verb) => verbs[verb]).map((verb) => route(path, verb, verbs[verb], document_.components.schemas))));
  byId("list").replaceChildren(h("table", {}, h("tbody", {}, models.data.slice(1).map(({ id, secondsight: method }) =>
    h("tr", {}, h("th", { scope: "row" }, h("code", {}, id)), h("td", {}, method.summary, method.control ? " (control)" : "", h("br"),
      h("span", { class: "dim" }, method.parameters.map((one) => `${one.name}=${one.default ?? "none"}`).join(", "))))))));
} catch (error) {
  byId("banner").textContent = error.words ?? String(error);
  byId("banner").hidden = false;
}
