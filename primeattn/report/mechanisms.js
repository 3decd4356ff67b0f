"use strict";
document.addEventListener("DOMContentLoaded", () => {
  const { words, query, mechanisms } = JSON.parse(document.getElementById("attention-data").textContent);
  const n = words.length, readout = document.getElementById("readout"), lines = document.getElementById("attention-lines");
  const frames = [...document.querySelectorAll(".attention .frame")];
  document.documentElement.classList.add("has-js");
  const element = (tag, text, className) => { const e = document.createElement(tag); if (text !== undefined) e.textContent = text; if (className) e.className = className; return e; };
  const percent = (x) => `${Math.round(100 * x)}%`.replace("-", "−");
  const share = (m, i, j) => { const total = m.multiples[i].reduce((sum, x) => sum + Math.abs(x), 0); return total ? m.multiples[i][j] / total : 0; };

  // the row of one word, in every mechanism
  const shown = [...lines.querySelectorAll(".line")];
  const choose = (i) => {
    lines.querySelector(".ask b").textContent = words[i];
    picks.forEach((button, k) => button.setAttribute("aria-pressed", k === i));
    mechanisms.forEach((m, k) => {
      const [word, part, reason] = m.answers[i];
      shown[k].querySelectorAll(".said span").forEach((span, at) => {
        const here = share(m, i, at);
        span.style.setProperty("--w", Math.min(1, Math.sqrt(2 * Math.abs(here))).toFixed(2));
        span.className = at === i ? "asking" : here < 0 ? "negative" : "";
      });
      shown[k].querySelector(".because").replaceChildren(...(word ? [element("b", word), ` ${percent(part)} `] : []), element("small", reason));
    });
    bands.forEach((band) => { band.style.top = `${(100 * i) / n}%`; });
  };
  const picks = words.map((word, i) => { const button = element("button", word); button.type = "button"; button.onclick = () => choose(i); return button; });
  lines.querySelector(".pick").append(...picks);
  const bands = frames.map((frame) => { const band = element("span", undefined, "band"); band.style.height = `${100 / n}%`; frame.append(band); return band; });
  choose(query);

  // one cell, in every map at once
  const cells = frames.map(() => { const cell = element("span", undefined, "cell-mark"); cell.style.width = cell.style.height = `${100 / n}%`; return cell; });
  const at = (frame, event) => {
    const box = frame.getBoundingClientRect();
    const step = (x, size) => Math.min(n - 1, Math.max(0, Math.floor((x / size) * n)));
    return [step(event.clientY - box.top, box.height), step(event.clientX - box.left, box.width)];
  };
  const leave = () => { readout.hidden = true; cells.forEach((cell) => cell.remove()); };
  const show = (event, i, j) => {
    cells.forEach((cell, k) => { cell.style.top = `${(100 * i) / n}%`; cell.style.left = `${(100 * j) / n}%`; frames[k].append(cell); });
    const table = element("table", undefined, "scores");
    const parts = mechanisms.map((m) => share(m, i, j)), most = Math.max(...parts.map(Math.abs)) || 1;
    mechanisms.forEach((m, k) => {
      const row = table.insertRow(), grow = element("td", undefined, "grow"), bar = element("span", undefined, "bar tone0"), fill = element("i");
      fill.style.width = `${(100 * Math.abs(parts[k])) / most}%`; bar.append(fill); grow.append(bar);
      row.append(element("th", m.title), element("td", percent(parts[k]), "num"), grow);
    });
    const head = element("p"); head.append(element("b", words[i]), " attends ", element("b", words[j]));
    readout.replaceChildren(head, table); readout.hidden = false;
    const w = readout.offsetWidth, h = readout.offsetHeight, x = event.clientX, y = event.clientY;
    readout.style.left = `${Math.max(12, x + 18 + w > innerWidth - 12 ? x - 18 - w : x + 18)}px`;
    readout.style.top = `${Math.max(12, Math.min(innerHeight - h - 12, y + 18))}px`;
  };
  frames.forEach((frame) => {
    frame.addEventListener("pointermove", (event) => { if (event.pointerType !== "touch") show(event, ...at(frame, event)); });
    frame.addEventListener("pointerleave", leave);
    frame.addEventListener("click", (event) => choose(at(frame, event)[0]));
  });
});
