// The state in the address's fragment, which no server ever sees: question, methods, parameters,
// and the images' fingerprints. The images themselves are not in it.

/** How a link names an image: those of the server can be taken again, others must be given again. */
export const name = (image) => image.scene ? `scene-${image.scene.index}` : image.name === "example.png" ? "example" : image.sha.slice(0, 32);

/** Everything that makes the same answers, as a fragment. */
export function write(asked) {
  const fields = new URLSearchParams();
  fields.set("q", asked.question);
  fields.set("m", asked.methods.join(";"));
  if (asked.system) fields.set("system", asked.system);
  for (const [name, value] of Object.entries(asked.settings)) fields.set(name, String(value));
  if (asked.images.length) fields.set("img", asked.images.map((image) => name(image)).join(","));
  return `#${fields}`;
}

/** What a fragment asks for; null where it says nothing. */
export function read(fragment) {
  const fields = new URLSearchParams(fragment.replace(/^#/, ""));
  if (!fields.has("q")) return null;
  const settings = {};
  for (const name of ["temperature", "top_p", "top_k", "repetition_penalty", "max_completion_tokens", "num_beams", "seed"]) {
    const value = Number(fields.get(name));
    if (fields.has(name) && Number.isFinite(value)) settings[name] = value;
  }
  if (fields.has("stop")) settings.stop = fields.get("stop");
  if (fields.get("share_views") === "true") settings.share_views = true;
  return {
    question: fields.get("q"),
    methods: (fields.get("m") ?? "").split(";").filter(Boolean),
    system: fields.get("system") ?? "",
    images: (fields.get("img") ?? "").split(",").filter(Boolean),
    settings,
  };
}
