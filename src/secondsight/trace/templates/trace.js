"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const byId = (id) => document.getElementById(id);
  const all = (selector) => [...document.querySelectorAll(selector)];
  all(".needs-script").forEach((element) => { element.hidden = false; });

  const bytes = (text) => Uint8Array.from(atob(text), (letter) => letter.charCodeAt(0));
  const decoded = new WeakMap();
  const maps = (packed) => {
    if (!decoded.has(packed)) decoded.set(packed, bytes(packed.uint8_base64));
    return decoded.get(packed);
  };

  // One map: the values of all patches for a token, in one view, at a layer and head.
  const values = (view, token, layer, head) => {
    if (layer === "mean") return view.mean[token];
    if (layer === "rollout") return view.rollout[token];
    const packed = head === "mean" ? view.layers : view.heads[layer];
    const patches = packed.shape[packed.shape.length - 1];
    const row = (head === "mean" ? Number(layer) : Number(head)) * data.tokens + token;
    const scale = packed.peaks[row] / 255;
    return Array.from(maps(packed).subarray(row * patches, (row + 1) * patches), (b) => b * scale);
  };

  const average = new Map();
  const less = (view, number, token, layer, head) => {
    const key = [number, layer, head].join();
    if (!average.has(key)) {
      const sum = values(view, 0, layer, head).map(() => 0);
      for (let t = 0; t < data.tokens; t += 1) {
        values(view, t, layer, head).forEach((value, patch) => { sum[patch] += value / data.tokens; });
      }
      average.set(key, sum);
    }
    const base = average.get(key);
    return values(view, token, layer, head).map((value, patch) => Math.max(value - base[patch], 0));
  };

  const layerBox = byId("layer"), headBox = byId("head"), relative = byId("relative");
  let shown = null, kept = null;

  const describe = (card) => {
    const title = document.createElement("h3"), copies = [title];
    title.textContent = card.querySelector("summary code").textContent + " " + card.querySelector("summary .p").textContent;
    ["p", ".columns"].forEach((part) => copies.push(card.querySelector(part).cloneNode(true)));
    byId("detail").replaceChildren(...copies);
  };

  const draw = () => {
    all("canvas[data-view]").forEach((canvas) => {
      const number = Number(canvas.dataset.view), view = data.views[number];
      const [rows, columns] = view.grid;
      canvas.width = columns; canvas.height = rows;
      const pen = canvas.getContext("2d");
      const readout = canvas.closest("figure").querySelector(".readout");
      if (shown === null) { readout.textContent = ""; return; }
      const layer = layerBox.value, head = layer === "mean" ? "mean" : headBox.value;
      const map = (relative.checked ? less(view, number, shown, layer, head) : values(view, shown, layer, head));
      const peak = Math.max(...map, 1e-12), image = pen.createImageData(columns, rows);
      map.forEach((value, patch) => {
        // Dark where the model does not look, clear where it does.
        image.data.set([14, 20, 30, Math.round(205 * (1 - Math.sqrt(value / peak)))], patch * 4);
      });
      pen.putImageData(image, 0, 0);
      const total = map.reduce((sum, value) => sum + value, 0);
      readout.textContent = ` ${(100 * total).toFixed(1)}% of attention, strongest patch ${(100 * peak).toFixed(2)}%`;
    });
    if (shown !== null) describe(byId("token-" + shown));
    all(".on").forEach((element) => element.classList.remove("on"));
    if (shown !== null) all(`[data-token="${shown}"]`).forEach((element) => element.classList.add("on"));
  };
  const show = (token) => { shown = token; draw(); };

  const fillHeads = () => {
    const layer = layerBox.value, heads = data.views[0].heads[layer];
    headBox.replaceChildren(new Option("mean of all", "mean"));
    const count = heads ? heads.shape[0] : 0;
    for (let head = 0; head < count; head += 1) headBox.append(new Option(String(head), String(head)));
    headBox.disabled = count === 0;
    headBox.title = count || layer === "mean" ? "" : "This layer's heads were not kept; trace with --layers " + layer;
  };
  const drawn = all("canvas[data-view]").length > 0;
  if (drawn) {
    layerBox.addEventListener("change", () => { fillHeads(); draw(); });
    headBox.addEventListener("change", draw);
    relative.addEventListener("change", draw);
    all("[data-token]").forEach((element) => {
      const token = Number(element.dataset.token);
      element.addEventListener("mouseenter", () => show(token));
      element.addEventListener("focusin", () => show(token));
      element.addEventListener("mouseleave", () => show(kept));
    });
  }
  all("a.token").forEach((link) => link.addEventListener("click", (event) => {
    event.preventDefault();
    const token = Number(link.dataset.token);
    kept = kept === token ? null : token;
    const card = byId("token-" + token);
    if (card) card.open = true;
    if (drawn) show(kept);
  }));

  const openTarget = () => {
    const target = location.hash && byId(location.hash.slice(1));
    if (target && target.tagName === "DETAILS") target.open = true;
  };
  addEventListener("hashchange", openTarget);
  openTarget();

  byId("open-all").addEventListener("click", (event) => {
    const open = event.target.dataset.open !== "1";
    all("details").forEach((element) => { element.open = open; });
    event.target.dataset.open = open ? "1" : "";
    event.target.textContent = open ? "Close all" : "Open all";
  });

  byId("search").addEventListener("input", (event) => {
    const wanted = event.target.value.trim().toLowerCase();
    let count = 0;
    all("[data-search]").forEach((element) => {
      const hit = !wanted || element.textContent.toLowerCase().includes(wanted);
      element.hidden = !hit;
      if (wanted && hit) count += 1;
    });
    if (wanted) all("details.phase").forEach((phase) => {
      phase.open = [...phase.querySelectorAll("[data-search]")].some((call) => !call.hidden);
    });
    byId("said").textContent = wanted ? `${count} found` : "";
  });

  byId("copy").addEventListener("click", async () => {
    let done = true;
    try {
      await navigator.clipboard.writeText(data.markdown);
    } catch {
      const area = document.createElement("textarea");
      area.value = data.markdown;
      document.body.append(area);
      area.select();
      done = document.execCommand("copy");
      area.remove();
    }
    byId("said").textContent = done ? "Copied." : "The browser does not allow copying.";
  });
})();
