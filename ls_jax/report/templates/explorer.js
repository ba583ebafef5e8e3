"use strict";
// The projection explorer: the plane through three class templates and the points on it, recomputed here from embedded
// coordinates of activations and templates (see ls_jax/report/explorer.py for the format).

const COLOURS = ["#0072B2", "#D55E00", "#009E73"];
const SIZE = 520, MARGIN = 44;

function decode(text, type) {
  const bytes = Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
  return new type(bytes.buffer);
}

const dot = (a, b) => a.reduce((sum, value, i) => sum + value * b[i], 0);
const minus = (a, b) => a.map((value, i) => value - b[i]);
const unit = (a) => { const size = Math.sqrt(dot(a, a)); return a.map((value) => value / size); };

// As template_plane in ls_jax/studies/projection/measure.py: across from the second template to the third, up towards the first.
function templatePlane(top, left, right) {
  const across = unit(minus(right, left));
  let up = top.map((value, i) => value - (left[i] + right[i]) / 2);
  for (let i = 0; i < 2; i++) {
    const along = dot(up, across);
    up = unit(up.map((value, j) => value - along * across[j]));
  }
  return [across, up];
}

// The examples of three classes (positions in the data's class list) on the plane of one member's templates.
function project(data, member, split, triple) {
  const rank = member.rank, templates = decode(member.templates, Float32Array);
  const row = (k) => Array.from(templates.subarray(k * rank, (k + 1) * rank));
  const plane = templatePlane(...triple.map(row));
  const set = member.splits[split], labels = decode(data.splits[split].labels, Uint16Array);
  const levels = decode(set.points, data.bytes === 2 ? Int16Array : Int8Array);
  const predicted = decode(set.predicted, Uint16Array), confidence = decode(set.confidence, Uint16Array);
  const points = [];
  labels.forEach((label, example) => {
    const which = triple.indexOf(label);
    if (which < 0) return;
    const at = set.offset.map((offset, j) => offset + set.step[j] * levels[example * rank + j]);
    points.push({ example, which, x: dot(at, plane[0]), y: dot(at, plane[1]),
                  label, predicted: predicted[example], confidence: confidence[example] / 65535 });
  });
  return points;
}

// sqrt(mean squared distance to the own centroid / mean squared distance between centroids), classes counting equally.
function spreadRatio(points) {
  const classes = [0, 1, 2].map((k) => points.filter((p) => p.which === k));
  const mean = (values) => values.reduce((a, b) => a + b, 0) / values.length;
  const square = (a, b) => (a.x - b.x) ** 2 + (a.y - b.y) ** 2;
  const centres = classes.map((own) => ({ x: mean(own.map((p) => p.x)), y: mean(own.map((p) => p.y)) }));
  const within = mean(classes.map((own, k) => mean(own.map((p) => square(p, centres[k])))));
  return Math.sqrt(within / mean([[0, 1], [0, 2], [1, 2]].map(([a, b]) => square(centres[a], centres[b]))));
}

function element(parent, name, attributes = {}, text = "") {
  const made = document.createElementNS(parent.namespaceURI, name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.textContent = text;
  return parent.appendChild(made);
}

function ticks(limit) {
  const rough = limit / 2.5, power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].find((m) => m * power >= rough) * power;
  const count = Math.floor(limit / step);
  return Array.from({ length: 2 * count + 1 }, (_, i) => Number(((i - count) * step).toPrecision(6)));
}

function explorer(root, data) {
  const form = root.querySelector("form"), plot = root.querySelector(".plot"), svg = plot.querySelector("svg");
  const card = root.querySelector(".card"), output = root.querySelector("output");
  const names = data.class_names;
  const unique = (values) => [...new Set(values)];
  let shown = [], scale = (x) => x;

  function select(label, name, options, chosen, colour) {
    const holder = element(form, "label"), caption = element(holder, "span");
    if (colour) element(caption, "span", { class: "swatch", style: `background: ${colour}` });
    caption.append(label);
    const made = element(holder, "select", { name });
    options.forEach(([value, text]) => { made.add(new Option(text, value)); });
    made.value = chosen;
    if (options.length < 2) holder.hidden = true;
    made.addEventListener("change", draw);
  }

  const value = (name) => form.elements[name].value;
  const triple = () => [0, 1, 2].map((k) => Number(value(`class${k}`)));
  const member = () => data.members.find((m) => m.setting === value("setting") && String(m.seed) === value("seed"));

  function draw() {
    card.style.display = "none";
    svg.replaceChildren();
    const chosen = member(), classes = triple();
    if (!chosen || new Set(classes).size < 3) {
      shown = [];
      output.textContent = chosen ? "Choose three different classes." : "This seed has no such network: it diverged, or is left out.";
      return;
    }
    shown = project(data, chosen, value("split"), classes);
    // One scale for a network's splits, so that switching between them compares.
    const all = Object.keys(chosen.splits).flatMap((split) => project(data, chosen, split, classes));
    const limit = 1.08 * all.reduce((most, p) => Math.max(most, Math.abs(p.x), Math.abs(p.y)), 1e-12);
    scale = (x) => MARGIN + (SIZE - MARGIN - 8) * (x + limit) / (2 * limit);
    const height = (y) => SIZE - scale(y);
    drawAxes(limit, height);
    shown.forEach((p, i) => drawPoint(p, i, scale(p.x), height(p.y)));
    const split = data.splits[value("split")];
    const counts = classes.map((k, which) => `${names[k]}: ${shown.filter((p) => p.which === which).length}`).join(", ");
    output.textContent = `${counts} examples, ${split.title.toLowerCase()} split` +
      `${chosen.setting && `, ${chosen.setting}`}${chosen.seed === null ? "" : `, seed ${chosen.seed}`}. Spread ratio of these: ${spreadRatio(shown).toFixed(3)}. Hollow: misclassified.`;
  }

  function drawAxes(limit, height) {
    const low = scale(-limit), high = scale(limit);
    element(svg, "rect", { class: "plane", x: low, y: height(limit), width: high - low, height: high - low, fill: "#fff", stroke: "#d9dee3" });
    for (const tick of ticks(limit)) {
      const at = scale(tick);
      element(svg, "line", { x1: at, x2: at, y1: height(-limit), y2: height(limit), stroke: "#eceff2" });
      element(svg, "line", { x1: low, x2: high, y1: height(tick), y2: height(tick), stroke: "#eceff2" });
      element(svg, "text", { x: at, y: height(-limit) + 16, "text-anchor": "middle", fill: "#5b6570" }, String(tick));
      element(svg, "text", { x: low - 6, y: height(tick) + 4, "text-anchor": "end", fill: "#5b6570" }, String(tick));
    }
  }

  function drawPoint(p, i, x, y) {
    const r = 4.2, colour = COLOURS[p.which];
    const shape = [`M${x - r} ${y}a${r} ${r} 0 1 0 ${2 * r} 0a${r} ${r} 0 1 0 ${-2 * r} 0z`,
                   `M${x} ${y - 1.2 * r}l${1.15 * r} ${2 * r}h${-2.3 * r}z`,
                   `M${x - 0.9 * r} ${y - 0.9 * r}h${1.8 * r}v${1.8 * r}h${-1.8 * r}z`][p.which];
    const hollow = p.predicted !== data.classes[p.label];
    element(svg, "path", { class: "point", d: shape, fill: hollow ? "#fff" : colour, "fill-opacity": hollow ? 0.4 : 0.62, stroke: colour,
                           "stroke-opacity": hollow ? 1 : 0, "stroke-width": 1.4, "data-example": p.example, "data-x": p.x, "data-y": p.y });
    p.screen = [x, y];
  }

  function hover(event) {
    const box = svg.getBoundingClientRect(), zoom = SIZE / box.width;
    const x = (event.clientX - box.left) * zoom, y = (event.clientY - box.top) * zoom;
    const distance = (p) => Math.hypot(p.screen[0] - x, p.screen[1] - y);
    const nearest = shown.reduce((best, p) => (!best || distance(p) < distance(best) ? p : best), null);
    svg.querySelector(".ring")?.remove();
    if (!nearest || distance(nearest) > (event.pointerType === "touch" ? 24 : 12)) { card.style.display = "none"; return; }
    element(svg, "circle", { class: "ring", cx: nearest.screen[0], cy: nearest.screen[1], r: 8, fill: "none", stroke: "#1b1f24", "stroke-width": 1.6 });
    describe(nearest);
    const left = nearest.screen[0] / zoom, top = nearest.screen[1] / zoom;
    card.style.display = "block";
    card.style.left = `${Math.min(Math.max(0, left + 14), box.width - card.offsetWidth)}px`;
    card.style.top = `${top + 14 + card.offsetHeight > box.height ? top - card.offsetHeight - 14 : top + 14}px`;
  }

  function describe(p) {
    card.replaceChildren();
    const split = data.splits[value("split")], pictures = split.pictures;
    if (pictures) {
      const zoom = Math.max(1, Math.round(96 / pictures.width)), picture = element(card, "i");
      const column = p.example % pictures.columns, row = Math.floor(p.example / pictures.columns);
      Object.assign(picture.style, {
        width: `${pictures.width * zoom}px`, height: `${pictures.height * zoom}px`, backgroundImage: `url(${pictures.sheet})`,
        backgroundSize: `${pictures.columns * pictures.tile * zoom}px auto`,
        backgroundPosition: `${-column * pictures.tile * zoom}px ${-row * pictures.tile * zoom}px` });
    }
    element(card, "strong", {}, names[p.label]);
    const right = p.predicted === data.classes[p.label];
    element(card, "div", {}, `${right ? "recognised" : `taken for ${data.all_names[p.predicted]}`}, confidence ${p.confidence.toFixed(3)}`);
    element(card, "div", { class: "soft" }, `${split.title} example ${split.index[p.example]}`);
  }

  const classes = names.map((name, k) => [k, name]);
  ["top", "left", "right"].forEach((label, k) => select(label, `class${k}`, classes, data.start[k], COLOURS[k]));
  const settings = unique(data.members.map((m) => m.setting)), seeds = unique(data.members.map((m) => m.seed));
  select("smoothing", "setting", settings.map((s) => [s, s]), settings[0]);
  select("seed", "seed", seeds.map((s) => [s, s]), seeds[0]);
  select("split", "split", Object.entries(data.splits).map(([name, split]) => [name, split.title]), Object.keys(data.splits)[0]);
  form.addEventListener("submit", (event) => event.preventDefault());
  svg.setAttribute("viewBox", `0 0 ${SIZE} ${SIZE}`);
  plot.addEventListener("pointermove", hover);
  plot.addEventListener("pointerdown", hover);
  plot.addEventListener("pointerleave", () => { card.style.display = "none"; svg.querySelector(".ring")?.remove(); });
  draw();
}

document.querySelectorAll(".explorer").forEach((root) => {
  explorer(root, JSON.parse(root.querySelector("script[type='application/json']").textContent));
});
