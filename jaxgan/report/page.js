"use strict";
// Everything is shown as text or set as an attribute, never parsed as markup: what files say stays harmless.

const $ = (id) => document.getElementById(id);
let data = JSON.parse($("data").textContent);
const hidden = new Set(); // names of runs whose curves are not drawn
const charts = new Map(); // by name: what is focused or pointed at outlives newer data
const SVG = "http://www.w3.org/2000/svg";
const [WIDTH, HEIGHT, LEFT, RIGHT, TOP, BOTTOM] = [360, 190, 46, 16, 8, 20];

function make(tag, attributes = {}, ...children) {
  const inner = ["svg", "line", "path", "text", "circle", "title", "g"].includes(tag);
  const element = inner ? document.createElementNS(SVG, tag) : document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) element.setAttribute(name, value);
  element.append(...children.map((child) => (child instanceof Node ? child : String(child))));
  return element;
}

const finite = (value) => typeof value === "number" && Number.isFinite(value);

function spell(value) {
  if (value === null || value === undefined) return "–";
  if (typeof value === "object") return JSON.stringify(value);
  if (!finite(value) || Number.isInteger(value)) return String(value);
  const size = Math.abs(value);
  return size >= 1e5 || (size < 1e-3 && size > 0) ? value.toExponential(2) : String(Number(value.toPrecision(4)));
}

const style = (i) => `c${i % 8} d${Math.floor(i / 8) % 4}`;

function key(i) {
  const line = make("line", { x1: 0, x2: 32, y1: 6, y2: 6, class: style(i) });
  return make("svg", { class: "key", viewBox: "0 0 32 12", "aria-hidden": "true" }, line);
}

// Tables.

function table(caption, head, rows) {
  const cell = (value, i) => {
    if (i === 0) return make("th", { scope: "row" }, value);
    return make("td", typeof value === "number" ? { class: "number" } : {}, typeof value === "number" ? spell(value) : value);
  };
  const line = (row) => make("tr", row.differs ? { class: "differs" } : {}, ...row.map(cell));
  return make("div", { class: "scroll" }, make("table", {},
    make("caption", {}, caption),
    make("thead", {}, make("tr", {}, ...head.map((text) => make("th", { scope: "col" }, text)))),
    make("tbody", {}, ...rows.map(line))));
}

function duration(seconds) {
  if (!finite(seconds)) return "–";
  const minutes = Math.round(seconds / 60);
  if (minutes < 1) return `${Math.round(seconds)} s`;
  return minutes < 60 ? `${minutes} min` : `${Math.floor(minutes / 60)} h ${minutes % 60} min`;
}

const last = (list) => (list && list.length ? list[list.length - 1] : null);

function drawOverview() {
  const rows = data.runs.map((run, i) => {
    const label = make("label", {}, make("input", { type: "checkbox", "data-run": run.name }), " ", key(i), run.name);
    const box = label.firstChild;
    box.checked = !hidden.has(run.name);
    box.addEventListener("change", () => {
      if (box.checked) hidden.delete(run.name);
      else hidden.add(run.name);
      drawCharts();
    });
    const trained = last(run.rows.step);
    return [label, run.config.recipe, spell(run.config.data), `${spell(trained === null ? 0 : trained)} of ${spell(run.config.steps)}`,
      duration(last(run.rows.seconds)), spell(last(run.rows.images_per_second))];
  });
  $("runs").replaceChildren(table("Runs: their curves are drawn where the box is ticked",
    ["run", "recipe", "data", "steps", "time", "images/s"], rows));
  const notes = [...data.notes, ...data.runs.flatMap((run) => [
    ...run.notes.map((note) => `${run.name}: ${note}`),
    ...(run.rows.step ? [] : [`${run.name}: metrics.jsonl has no rows yet.`])])];
  $("notes").replaceChildren(...notes.map((note) => make("li", {}, note)));
}

function drawMetrics() {
  const parts = [];
  const heads = data.runs.map((run) => run.name);
  const names = [...new Set(data.runs.flatMap((run) => Object.keys(run.evaluations)))].filter((name) => name !== "step");
  const best = (run, name) => {
    const sign = data.signs[name];
    const column = run.evaluations[name] || [];
    let at = -1;
    column.forEach((value, i) => {
      if (finite(value) && (at < 0 || sign * value > sign * column[at])) at = i;
    });
    return at < 0 || sign === undefined ? "–" : `${spell(column[at])} at step ${run.evaluations.step[at]}`;
  };
  if (names.length) {
    parts.push(table("Evaluated while training: best value, and the last",
      ["metric", ...heads.flatMap((name) => [`${name}: best`, "last"])],
      names.map((name) => [name, ...data.runs.flatMap((run) => [best(run, name), last(run.evaluations[name]) ?? "–"])])));
  }
  const measured = data.runs.flatMap((run) => run.measured.map((each) => [run, each]));
  if (measured.length) {
    const values = [...new Set(measured.flatMap(([, each]) => Object.keys(each.values)))];
    parts.push(table("Measured by jaxgan evaluate",
      ["", ...measured.map(([run, each]) => `${run.name}, step ${each.step}`)], [
        ...["samples", "seeds", "data", "extractor", "date"].map((name) => [name, ...measured.map(([, each]) => spell(each[name]))]),
        ...values.map((name) => [name, ...measured.map(([, each]) =>
          spell(each.values[name]) + (name in each.deviations ? ` ± ${spell(each.deviations[name])}` : ""))])]));
  }
  const logged = [...new Set(data.runs.flatMap((run) => Object.keys(run.rows)))];
  if (logged.length) {
    parts.push(make("details", { "data-keep": "logged" }, make("summary", {}, "Last row of the log"),
      table("Means since the row before", ["", ...heads], logged.map((name) => [name, ...data.runs.map((run) => last(run.rows[name]) ?? "–")]))));
  }
  refill($("metrics"), parts.length ? parts : [make("p", {}, "Nothing has been measured yet.")]);
}

function drawEvents() {
  const rows = data.runs.flatMap((run) => run.events.map((each) => [run.name, each.step, each.event, each.text]));
  $("events").replaceChildren(rows.length ? table("What was not usual", ["run", "step", "kind", "what happened"], rows)
    : make("p", {}, "None: events.jsonl holds steps that were not finite, and what was done about them."));
}

function drawConfig() {
  const several = data.runs.length > 1;
  $("differing-control").hidden = !several;
  const only = several && $("differing").checked;
  const rows = [];
  for (const part of ["config", "versions"]) {
    for (const name of new Set(data.runs.flatMap((run) => Object.keys(run[part])))) {
      const values = data.runs.map((run) => run[part][name]);
      const row = [name, ...values.map((value) => (value === undefined ? "–" : value === null ? "none" : String(value)))];
      // A run that has saved nothing yet has no versions, which is no difference.
      const known = part === "config" ? values : values.filter((value) => value !== undefined);
      row.differs = new Set(known.map((value) => JSON.stringify(value))).size > 1;
      if (row.differs) row[0] = `≠ ${name}`;
      if (row.differs || !only) rows.push(row);
    }
  }
  const caption = several ? "Rows that begin with ≠ differ between runs" : "As the run was started, and what saved its newest checkpoint";
  $("config").replaceChildren(rows.length ? table(caption, ["", ...data.runs.map((run) => run.name)], rows)
    : make("p", {}, "Nothing differs."));
}

// Replaces children; what was opened stays open.
function refill(place, children) {
  const open = new Set([...place.querySelectorAll("details[open]")].map((each) => each.dataset.keep));
  place.replaceChildren(...children);
  for (const each of place.querySelectorAll("details")) each.open ||= open.has(each.dataset.keep);
}

// Pictures of one kind along a slider of steps.

class Gallery {
  constructor(kind, title) {
    this.kind = kind;
    this.title = title;
    this.steps = [];
    const id = `${kind}-step`;
    this.slider = make("input", { id, type: "range", min: 0, max: 0, step: 1 });
    this.output = make("output", { for: id });
    this.controls = make("div", { class: "controls" }, make("label", { for: id }, "Step"), this.slider, this.output);
    this.pictures = make("div", { class: "pictures" });
    this.empty = make("p", {}, "There are no pictures yet.");
    $(kind).append(this.controls, this.pictures, this.empty);
    this.slider.addEventListener("input", () => this.show());
  }

  update() {
    const at = this.steps[this.slider.value];
    const follow = at === undefined || at === last(this.steps);
    this.steps = [...new Set(data.runs.flatMap((run) => run[this.kind].map((each) => each.step)))].sort((a, b) => a - b);
    this.slider.max = Math.max(0, this.steps.length - 1);
    const kept = this.steps.findIndex((step) => step >= at);
    this.slider.value = follow || kept < 0 ? this.slider.max : kept;
    this.controls.hidden = this.steps.length < 2;
    this.empty.hidden = this.steps.length > 0;
    this.figures = data.runs.map((run, i) => this.figures?.[i] ?? this.figure());
    this.pictures.replaceChildren(...this.figures);
    this.show();
  }

  figure() {
    return make("figure", {}, make("img", { alt: "" }), make("figcaption", {}));
  }

  // Each run shows its last picture up to the step.
  show() {
    const step = this.steps[this.slider.value];
    this.output.value = step === undefined ? "" : step;
    this.slider.setAttribute("aria-valuetext", `step ${step}`);
    data.runs.forEach((run, i) => {
      const found = last(run[this.kind].filter((each) => each.step <= step)) ?? run[this.kind][0];
      const [image, caption] = this.figures[i].children;
      this.figures[i].hidden = !found;
      if (!found) return;
      put(image, found.image, `${this.title} of ${run.name} at step ${found.step}`);
      caption.textContent = `${run.name}, step ${found.step}`;
    });
  }
}

function put(image, index, text) {
  const source = data.images[index];
  if (image.getAttribute("src") !== source) image.src = source;
  image.alt = text;
}

// The data that a run learns from, once where several learn from the same.
function drawReal() {
  const place = $("real") ?? $("samples").appendChild(make("div", { id: "real" }));
  const by = new Map();
  for (const run of data.runs) for (const each of run.real) by.set(each.image, [...(by.get(each.image) ?? []), run.name]);
  const figures = [...by].map(([image, names]) => {
    const shown = make("img");
    put(shown, image, `Real data of ${names.join(", ")}`);
    return make("figure", {}, shown, make("figcaption", {}, `Data of ${names.join(", ")}`));
  });
  refill(place, figures.length ? [make("details", { "data-keep": "real" }, make("summary", {}, "Real data"),
    make("div", { class: "pictures" }, ...figures))] : []);
}

// Curves.

const GAME = "The game";
const HINTS = {
  [GAME]: "Of the eigenvalues of the players' motion: a real part above 0 drives them apart, an imaginary part turns them. "
    + "Slopes are those of a discriminator at real and at generated images; a player whose gradient is near 0 learns nothing.",
};

function family(name, evaluated) {
  if (/\/\d+$/.test(name)) return "By class";
  if (evaluated) return data.game.includes(name.split("/")[0]) ? GAME : "Evaluations";
  if (name.startsWith("gradient_norm")) return "Gradient norms";
  if (/accuracy|sign/.test(name)) return "Accuracies and signs";
  if (/logit/.test(name)) return "Logits";
  if (/loss|adversarial|cycle|identity|paired|penalty|^r1|path/.test(name)) return "Losses and penalties";
  return "Others";
}
const FAMILIES = ["Evaluations", GAME, "Losses and penalties", "Accuracies and signs", "Logits", "Gradient norms", "Others", "By class"];

// An exponential mean that is not drawn to zero at its start; what is not finite is left out.
function smoothed(values, weight) {
  let mean = 0;
  let share = 0;
  return values.map((value) => {
    if (!finite(value)) return null;
    mean = weight * mean + (1 - weight) * value;
    share = weight * share + (1 - weight);
    return mean / share;
  });
}

class Chart {
  constructor(name, evaluated) {
    this.name = name;
    this.evaluated = evaluated;
    this.svg = make("svg", { viewBox: `0 0 ${WIDTH} ${HEIGHT}`, role: "img", tabindex: 0 });
    this.tip = make("div", { class: "tip", "aria-live": "polite" });
    this.tip.hidden = true;
    this.figure = make("figure", { class: "chart", "data-chart": name }, make("figcaption", {}, name), this.svg, this.tip);
    this.svg.addEventListener("pointermove", (event) => {
      const box = this.svg.getBoundingClientRect();
      const x = ((event.clientX - box.left) / box.width) * WIDTH;
      this.point(this.low + ((x - LEFT) / (WIDTH - LEFT - RIGHT)) * (this.high - this.low));
    });
    this.svg.addEventListener("pointerleave", () => this.point(null));
    this.svg.addEventListener("blur", () => this.point(null));
    this.svg.addEventListener("keydown", (event) => this.press(event));
  }

  press(event) {
    const steps = [...new Set(this.series.flatMap((each) => each.steps))].sort((a, b) => a - b);
    const at = steps.findIndex((step) => step >= (this.at ?? -Infinity));
    const next = { ArrowRight: this.at === null ? 0 : at + 1, ArrowLeft: this.at === null ? steps.length - 1 : at - 1, Home: 0,
      End: steps.length - 1 }[event.key];
    if (event.key === "Escape") this.point(null);
    else if (next !== undefined && steps.length) {
      event.preventDefault();
      this.point(steps[Math.max(0, Math.min(steps.length - 1, next))]);
    }
  }

  update() {
    const part = this.evaluated ? "evaluations" : "rows";
    const weight = this.evaluated ? 0 : Number($("smooth").value);
    this.series = data.runs.flatMap((run, i) => {
      const values = run[part][this.name];
      if (!values || hidden.has(run.name)) return [];
      return [{ run: run.name, style: style(i), steps: run[part].step, values, smooth: smoothed(values, weight) }];
    });
    const numbers = this.series.flatMap((each) => each.values.filter(finite));
    const steps = this.series.flatMap((each) => each.steps);
    const least = numbers.reduce((a, b) => Math.min(a, b), Infinity);
    const most = numbers.reduce((a, b) => Math.max(a, b), -Infinity);
    this.log = $("log").checked && least > 0;
    this.low = Math.min(0, steps.reduce((a, b) => Math.min(a, b), 0));
    this.high = steps.reduce((a, b) => Math.max(a, b), this.low + 1);
    const scale = (value) => (this.log ? Math.log10(value) : value);
    let [bottom, top] = numbers.length ? [scale(least), scale(most)] : [0, 1];
    const margin = 0.04 * (top - bottom) || 0.5 * Math.abs(top) || 1;
    [bottom, top] = [bottom - margin, top + margin];
    this.x = (step) => LEFT + ((step - this.low) / (this.high - this.low)) * (WIDTH - LEFT - RIGHT);
    this.y = (value) => TOP + ((top - scale(value)) / (top - bottom)) * (HEIGHT - TOP - BOTTOM);
    const parts = [];
    for (const value of ticks(bottom, top, this.log)) {
      const y = this.y(value).toFixed(1);
      parts.push(make("line", { class: "axis", x1: LEFT, x2: WIDTH - RIGHT, y1: y, y2: y }));
      parts.push(make("text", { x: LEFT - 4, y: Number(y) + 3, "text-anchor": "end" }, spell(value)));
    }
    for (const step of ticks(this.low, this.high, false)) {
      parts.push(make("text", { x: this.x(step), y: HEIGHT - 6, "text-anchor": "middle" }, spell(step)));
    }
    for (const each of this.series) {
      if (weight > 0) parts.push(make("path", { class: `curve pale ${each.style}`, d: this.path(each.steps, each.values) }));
      parts.push(make("path", { class: `curve ${each.style}`, d: this.path(each.steps, each.smooth) }));
      each.values.forEach((value, i) => {
        const x = this.x(each.steps[i]).toFixed(1);
        if (typeof value === "string") parts.push(make("text", { class: "gone", x, y: TOP + 8, "text-anchor": "middle" }, "×"));
        else if (finite(value) && (this.evaluated || each.values.length === 1)) {
          parts.push(make("circle", { class: `dot ${each.style}`, cx: x, cy: this.y(value).toFixed(1), r: 2.5 }));
        }
      });
    }
    this.marks = make("g");
    this.svg.replaceChildren(...parts, this.marks);
    const ends = this.series.map((each) => `${each.run}: ${spell(last(each.values))} at step ${last(each.steps)}`);
    this.svg.setAttribute("aria-label", `Curves of ${this.name} by step. Last values: ${ends.join("; ") || "none"}. Arrow keys read values.`);
    this.point(this.at ?? null);
  }

  path(steps, values) {
    let pen = "M";
    return values.map((value, i) => {
      if (!finite(value)) {
        pen = "M";
        return "";
      }
      const part = `${pen}${this.x(steps[i]).toFixed(1)} ${this.y(value).toFixed(1)}`;
      pen = "L";
      return part;
    }).join("");
  }

  // Shows the values next to a step; null: none.
  point(step) {
    this.at = step;
    this.tip.hidden = step === null || !this.series.length;
    this.marks.replaceChildren();
    if (this.tip.hidden) return;
    const lines = this.series.map((each) => {
      let near = 0;
      each.steps.forEach((other, i) => {
        if (Math.abs(other - step) < Math.abs(each.steps[near] - step)) near = i;
      });
      const [value, mean, at] = [each.values[near], each.smooth[near], each.steps[near]];
      if (finite(mean)) this.marks.append(make("circle", { class: `dot ${each.style}`, cx: this.x(at), cy: this.y(mean), r: 3 }));
      const also = finite(mean) && mean !== value ? ` (smoothed ${spell(mean)})` : "";
      return [at, make("p", {}, key(data.runs.findIndex((run) => run.name === each.run)),
        `${data.runs.length > 1 ? `${each.run}: ` : ""}${spell(value)}${also} at step ${at}`)];
    });
    const x = this.x(lines[0][0]);
    this.marks.prepend(make("line", { class: "cursor", x1: x, x2: x, y1: TOP, y2: HEIGHT - BOTTOM }));
    this.tip.replaceChildren(...lines.map(([, line]) => line));
  }
}

function ticks(low, high, log) {
  if (log) {
    const [a, b] = [Math.ceil(low), Math.floor(high)];
    const every = Math.max(1, Math.ceil((b - a) / 5));
    const powers = [];
    for (let power = a; power <= b; power += every) powers.push(10 ** power);
    return powers.length > 1 ? powers : [10 ** (low + 0.1 * (high - low)), 10 ** (high - 0.1 * (high - low))];
  }
  const rough = (high - low) / 4;
  const power = 10 ** Math.floor(Math.log10(rough));
  const unit = power * [1, 2, 5, 10].find((factor) => factor * power >= rough);
  const found = [];
  for (let i = Math.ceil(low / unit); i * unit <= high && found.length < 10; i += 1) found.push(Number((i * unit).toPrecision(12)));
  return found;
}

function drawCharts() {
  const names = new Map(FAMILIES.map((each) => [each, []]));
  for (const [part, evaluated] of [["evaluations", true], ["rows", false]]) {
    for (const name of new Set(data.runs.flatMap((run) => Object.keys(run[part])))) {
      if (name === "step" || name === "seconds") continue;
      const id = `${part}/${name}`;
      if (!charts.has(id)) charts.set(id, new Chart(name, evaluated));
      names.get(family(name, evaluated)).push(charts.get(id));
    }
  }
  const place = $("charts");
  for (const [title, list] of names) {
    if (!list.length) continue;
    let group = [...place.children].find((each) => each.dataset.family === title);
    if (!group) {
      group = make("details", { "data-family": title }, make("summary", {}, title),
        ...(HINTS[title] ? [make("p", { class: "hint" }, HINTS[title])] : []), make("div", { class: "family" }));
      group.open = title !== "By class";
      group.addEventListener("toggle", drawCharts);
      place.append(group);
      [...place.children].sort((a, b) => FAMILIES.indexOf(a.dataset.family) - FAMILIES.indexOf(b.dataset.family))
        .forEach((each, i) => place.children[i] !== each && place.insertBefore(each, place.children[i]));
    }
    for (const chart of list) {
      if (chart.figure.parentNode !== group.lastChild) group.lastChild.append(chart.figure);
      if (group.open) chart.update();
    }
  }
  if (!charts.size) place.replaceChildren(make("p", { id: "no-rows" }, "There are no rows yet."));
  else $("no-rows")?.remove();
  $("smooth-value").value = Number($("smooth").value).toFixed(2);
}

// The whole.

const galleries = [new Gallery("samples", "Samples"), new Gallery("neighbours", "Nearest neighbours")];

function draw() {
  $("pictures").classList.toggle("single", data.runs.length === 1);
  const scroll = [window.scrollX, window.scrollY];
  drawOverview();
  galleries.forEach((gallery) => gallery.update());
  drawReal();
  drawCharts();
  drawMetrics();
  drawEvents();
  drawConfig();
  window.scrollTo(...scroll);
}

$("smooth").addEventListener("input", drawCharts);
$("log").addEventListener("change", drawCharts);
$("differing").addEventListener("change", drawConfig);
draw();

function say(text, stale = false) {
  if ($("status").textContent !== text) $("status").textContent = text;
  $("status").classList.toggle("stale", stale);
}

async function ask() {
  try {
    const answer = await fetch(`data?version=${encodeURIComponent(data.version)}`);
    if (answer.status === 200) {
      data = await answer.json();
      draw();
    } else if (answer.status !== 204) throw new Error(await answer.text());
    say(`Live: as of ${data.made}`);
  } catch (error) {
    say(`Not up to date, as of ${data.made}: ${error.message}`, true);
  }
  setTimeout(ask, 2000);
}

say(`As of ${data.made}`);
if (document.body.dataset.live) ask();
