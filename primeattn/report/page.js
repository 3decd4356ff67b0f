"use strict";
(() => {
  const data = JSON.parse(document.getElementById("explorer-data").textContent);
  const n = data.titles.length;
  const readout = document.getElementById("readout");
  const dialog = document.getElementById("explorer");
  document.documentElement.classList.add("has-js");

  // Pairs i < j, row by row, as 16-bit steps of the largest value.
  const unpack = ({ top, values }) => {
    const bytes = Uint8Array.from(atob(values), (c) => c.charCodeAt(0));
    const view = new DataView(bytes.buffer);
    const out = new Float64Array(bytes.length / 2);
    for (let k = 0; k < out.length; k++) out[k] = (view.getUint16(2 * k, true) / 65535) * top;
    return out;
  };
  const scores = data.views.map((v) => unpack(v.scores));
  const parts = data.parts.map((p) => unpack(p.scores));
  const place = (i, j) => { if (i > j) [i, j] = [j, i]; return i * n - (i * (i + 1)) / 2 + j - i - 1; };
  const position = (values, k) => { let above = 1; for (const x of values) if (x > values[k]) above++; return above; };
  const ordinal = (x) => { const t = x % 100, u = x % 10; return x.toLocaleString("en") + (t > 10 && t < 14 ? "th" : u === 1 ? "st" : u === 2 ? "nd" : u === 3 ? "rd" : "th"); };
  const element = (tag, text, className) => { const e = document.createElement(tag); if (text !== undefined) e.textContent = text; if (className) e.className = className; return e; };

  const bars = (rows) => {
    const table = element("table", undefined, "scores");
    const most = Math.max(...rows.map((r) => r.value), 1e-12);
    for (const r of rows) {
      const tr = table.insertRow(); if (r.lead) tr.className = "lead";
      tr.append(element("th", r.name));
      tr.append(element("td", r.value.toFixed(3), "num"));
      const cell = element("td", undefined, "grow"), bar = element("span", undefined, r.lead ? "bar accent" : "bar"), fill = element("i");
      fill.style.width = `${(100 * r.value) / (r.full || most)}%`; bar.append(fill); cell.append(bar); tr.append(cell);
      if (r.position) tr.append(element("td", ordinal(r.position), "num muted"));
    }
    return table;
  };
  const scoreRows = (k) => data.views.map((v, m) => ({ name: v.short, value: scores[m][k], lead: v.lead, position: position(scores[m], k), full: 1 }));
  const partRows = (k) => data.parts.map((p, m) => ({ name: p.name, value: parts[m][k], lead: true }));
  const heading = (i, j) => { const p = element("p"); p.append(element("span", data.titles[i]), " ", element("small", data.places[i], "muted"), element("br"), element("span", data.titles[j]), " ", element("small", data.places[j], "muted")); return p; };

  // prime -> [[start, stop], ...] in one passage; positions count code points, as Python does
  const marks = (m) => {
    const found = new Map(), row = data.marks[m];
    for (let k = 0; k < row.length; ) {
      const prime = row[k++], count = row[k++], spans = [];
      for (let c = 0; c < count; c++) spans.push([row[k++], row[k++]]);
      found.set(prime, spans);
    }
    return found;
  };
  const mark = (text, spans) => {
    const p = element("p", undefined, "text"); p.tabIndex = 0;
    const letters = Array.from(text), weight = new Uint16Array(letters.length);
    for (const [start, stop] of spans) for (let k = start; k < stop; k++) weight[k]++;
    const step = (k) => (weight[k] === 0 ? 0 : weight[k] === 1 ? 1 : weight[k] < 4 ? 2 : 3);
    for (let a = 0, b; a < letters.length; a = b) {
      for (b = a + 1; b < letters.length && step(b) === step(a); b++);
      const piece = letters.slice(a, b).join("");
      p.append(step(a) ? element("mark", piece, `m${step(a)}`) : piece);
    }
    return p;
  };

  const open = (i, j) => {
    if (i > j) [i, j] = [j, i];
    const k = place(i, j), sides = [marks(i), marks(j)];
    const common = [...sides[0].keys()].filter((prime) => sides[1].has(prime));
    const close = element("button", "Close", "close"); close.type = "button"; close.onclick = () => dialog.close();
    const title = element("h3", `${data.places[i]} with ${data.places[j]}`); title.id = "explorer-title";
    const why = element("div", undefined, "why");
    const left = element("div"); left.append(element("h4", "Scores, and places from the top"), bars(scoreRows(k))); why.append(left);
    if (parts.length) { const right = element("div"); right.append(element("h4", "What the score is made of"), bars(partRows(k))); why.append(right); }
    const texts = element("div", undefined, "texts");
    [i, j].forEach((m, side) => {
      const article = element("article"), spans = common.flatMap((prime) => sides[side].get(prime));
      article.append(element("h5", data.places[m]), mark(data.texts[m], spans)); texts.append(article);
    });
    dialog.replaceChildren(close, title, why, element("h4", common.length ? `${common.length} shared primes` : "No shared prime"), texts);
    dialog.showModal(); dialog.scrollTop = 0;
  };
  dialog.addEventListener("click", (event) => { if (event.target === dialog) dialog.close(); });

  for (const map of document.querySelectorAll(".map[data-map]")) {
    const frame = map.querySelector(".frame");
    const row = element("span", undefined, "cross row"), column = element("span", undefined, "cross col");
    const cell = (event) => {
      const box = frame.getBoundingClientRect();
      const at = (x, size) => Math.min(n - 1, Math.max(0, Math.floor((x / size) * n)));
      return [at(event.clientY - box.top, box.height), at(event.clientX - box.left, box.width)];
    };
    let seen = -1;
    const leave = () => { readout.hidden = true; row.remove(); column.remove(); seen = -1; };
    frame.addEventListener("pointermove", (event) => {
      if (event.pointerType === "touch") return;
      const [i, j] = cell(event);
      if (i === j) return leave();
      row.style.top = `${(100 * (i + 0.5)) / n}%`; column.style.left = `${(100 * (j + 0.5)) / n}%`; frame.append(row, column);
      const k = place(i, j);
      if (k !== seen) { seen = k; readout.replaceChildren(heading(i, j), bars(scoreRows(k)), ...(parts.length ? [bars(partRows(k))] : [])); readout.hidden = false; }
      const w = readout.offsetWidth, h = readout.offsetHeight, x = event.clientX, y = event.clientY;
      readout.style.left = `${Math.max(12, x + 18 + w > innerWidth - 12 ? x - 18 - w : x + 18)}px`;
      readout.style.top = `${Math.max(12, Math.min(innerHeight - h - 12, y + 18))}px`;
    });
    frame.addEventListener("pointerleave", leave);
    frame.addEventListener("click", (event) => { const [i, j] = cell(event); leave(); if (i !== j) open(i, j); });
  }
})();
