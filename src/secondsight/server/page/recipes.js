// The same request from a shell and from Python.

const quoted = (text) => `'${text.replaceAll("'", "'\\''")}'`;

/** The request of a turn with file names where its images were. */
function named(request) {
  let number = 0;
  const names = [];
  const messages = request.messages.map((message) => typeof message.content === "string" ? message : {
    ...message,
    content: message.content.map((part) => {
      if (part.type !== "image_url") return part;
      number += 1;
      const kind = /^data:image\/([a-z]+)/.exec(part.image_url.url)?.[1] ?? "png";
      names.push(number === 1 ? `image.${kind}` : `image${number}.${kind}`);
      return { type: "image_url", image_url: { url: `IMAGE_${number}` } };
    }),
  });
  return { body: { ...request, messages }, names };
}

export function curl(path, request) {
  const { body, names } = named(request);
  const reads = names.map((name, place) => `IMAGE_${place + 1}="data:image/${name.split(".").pop()};base64,$(base64 -w0 ${name})"`);
  const lines = JSON.stringify(body, null, 2).replace(/[\\$`]/g, "\\$&").replace(/"IMAGE_(\d+)"/g, '"$IMAGE_$1"');
  return [
    ...reads,
    `curl ${quoted(location.origin + path)} -H 'Content-Type: application/json' -H "Authorization: Bearer $SECONDSIGHT_API_KEY" --data-binary @- <<END`,
    lines,
    "END",
    "",
  ].join("\n");
}

export function python(request, methods) {
  const { body, names } = named(request);
  const { model, messages, seed, stop, temperature, top_p: topP, max_completion_tokens: longest, ...others } = body;
  const known = Object.entries({ seed, stop, temperature, top_p: topP, max_completion_tokens: longest }).filter(([, value]) => value !== undefined);
  const extra = Object.entries(others).filter(([name]) => !["methods", "stream"].includes(name));
  const literal = (value) => JSON.stringify(value, null, 4).replace(/\btrue\b/g, "True").replace(/\bfalse\b/g, "False").replace(/\bnull\b/g, "None");
  const texts = JSON.stringify(messages, null, 4).replace(/"IMAGE_(\d+)"/g, (_, number) => `data_url("${names[number - 1]}")`);
  return `import base64
import mimetypes
import os
from pathlib import Path

from openai import OpenAI


def data_url(name):
    kind = mimetypes.guess_type(name)[0]
    return f"data:{kind};base64,{base64.b64encode(Path(name).read_bytes()).decode()}"


client = OpenAI(base_url="${location.origin}/v1", api_key=os.environ.get("SECONDSIGHT_API_KEY", "none"))
messages = ${texts}
for method in ${literal(methods)}:
    answer = client.chat.completions.create(
        model=${literal(model)},
        messages=messages,
${known.map(([name, value]) => `        ${name}=${literal(value)},\n`).join("")}        extra_body={"method": method${extra.map(([name, value]) => `, "${name}": ${literal(value)}`).join("")}},
    )
    print(method, "-", answer.choices[0].message.content)
`;
}
