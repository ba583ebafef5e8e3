"use strict";
// The projection explorer: the plane through three class templates and the points on it, recomputed here from embedded
// coordinates of activations and templates (see ls_jax/report/explorer.py for the format).

const COLOURS = ["#0072B2", "#D55E00", "#009E73"];
const SIZE = 520, MARGIN = 44, EDGE = 8, SPAN = SIZE - MARGIN - EDGE;  // of the drawing, and of its plane
const CLOSEST = 40;  // how far one can zoom in

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

// Round numbers within centre ± limit.
function ticks(centre, limit) {
  const rough = limit / 2.5, power = 10 ** Math.floor(Math.log10(rough));
  const step = [1, 2, 5, 10].find((m) => m * power >= rough) * power;
  const first = Math.ceil((centre - limit) / step), count = Math.floor((centre + limit) / step) - first + 1;
  return Array.from({ length: count }, (_, i) => Number(((first + i) * step).toPrecision(6)));
}

function explorer(root, data) {
  const form = root.querySelector("form"), plot = root.querySelector(".plot"), svg = plot.querySelector("svg");
  const card = root.querySelector(".card"), output = root.querySelector("output");
  const names = data.class_names;
  const unique = (values) => [...new Set(values)];
  let shown = [], told = null;  // points; the one whose card is open
  let home = { x: 0, y: 0, limit: 1 }, view = home;  // what is seen: centre ± limit; home shows all
  const across = (x) => MARGIN + SPAN * (x - view.x + view.limit) / (2 * view.limit);
  const down = (y) => EDGE + SPAN * (view.y + view.limit - y) / (2 * view.limit);

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
    const chosen = member(), classes = triple();
    if (chosen && new Set(classes).size < 3) {  // what was drawn stays
      output.textContent = "Choose three different classes.";
      return;
    }
    shown = chosen ? project(data, chosen, value("split"), classes) : [];
    if (!chosen) {
      render();
      output.textContent = "This seed has no such network: it diverged, or is not on this page.";
      return;
    }
    // One scale for a network's splits, so that switching between them compares.
    const all = Object.keys(chosen.splits).flatMap((split) => project(data, chosen, split, classes));
    const limit = 1.08 * all.reduce((most, p) => Math.max(most, Math.abs(p.x), Math.abs(p.y)), 1e-12);
    view = home = { x: 0, y: 0, limit };
    render();
    const split = data.splits[value("split")];
    const counts = classes.map((k, which) => `${names[k]}: ${shown.filter((p) => p.which === which).length}`).join(", ");
    output.textContent = `${counts} examples, ${split.title.toLowerCase()} split` +
      `${chosen.setting && `, ${chosen.setting}`}${chosen.seed === null ? "" : `, seed ${chosen.seed}`}. Spread ratio of the shown examples: ${spreadRatio(shown).toFixed(3)}. Hollow points are misclassified.`;
  }

  function render() {
    hide();
    svg.replaceChildren();
    drawAxes();
    shown.forEach((p) => drawPoint(p, across(p.x), down(p.y)));
  }

  const visible = (p) => Math.abs(p.x - view.x) <= view.limit && Math.abs(p.y - view.y) <= view.limit;

  function drawAxes() {
    const right = MARGIN + SPAN, bottom = EDGE + SPAN;
    element(svg, "rect", { class: "plane", x: MARGIN, y: EDGE, width: SPAN, height: SPAN, fill: "#fff", stroke: "#d9dee3" });
    for (const tick of ticks(view.x, view.limit)) {
      const at = across(tick);
      element(svg, "line", { x1: at, x2: at, y1: EDGE, y2: bottom, stroke: "#eceff2" });
      element(svg, "text", { x: at, y: bottom + 16, "text-anchor": "middle", fill: "#5b6570" }, String(tick));
    }
    for (const tick of ticks(view.y, view.limit)) {
      const at = down(tick);
      element(svg, "line", { x1: MARGIN, x2: right, y1: at, y2: at, stroke: "#eceff2" });
      element(svg, "text", { x: MARGIN - 6, y: at + 4, "text-anchor": "end", fill: "#5b6570" }, String(tick));
    }
  }

  // Show `factor` times as much or less, with the point (x, y) of the plane where it is.
  function zoom(factor, x = view.x, y = view.y) {
    const limit = Math.min(home.limit, Math.max(home.limit / CLOSEST, view.limit / factor)), share = limit / view.limit;
    look(x - (x - view.x) * share, y - (y - view.y) * share, limit);
  }

  // See centre ± limit, as far as home reaches.
  function look(x, y, limit = view.limit) {
    const room = home.limit - limit, within = (value) => Math.min(room, Math.max(-room, value));
    view = { x: within(x), y: within(y), limit };
    render();
  }

  function drawPoint(p, x, y) {
    p.screen = [x, y];
    if (!visible(p)) return;
    const r = 4.2, colour = COLOURS[p.which];
    const shape = [`M${x - r} ${y}a${r} ${r} 0 1 0 ${2 * r} 0a${r} ${r} 0 1 0 ${-2 * r} 0z`,
                   `M${x} ${y - 1.2 * r}l${1.15 * r} ${2 * r}h${-2.3 * r}z`,
                   `M${x - 0.9 * r} ${y - 0.9 * r}h${1.8 * r}v${1.8 * r}h${-1.8 * r}z`][p.which];
    const hollow = p.predicted !== data.classes[p.label];
    element(svg, "path", { class: "point", d: shape, fill: hollow ? "#fff" : colour, "fill-opacity": hollow ? 0.4 : 0.62, stroke: colour,
                           "stroke-opacity": hollow ? 1 : 0, "stroke-width": 1.4, "data-example": p.example, "data-x": p.x, "data-y": p.y });
  }

  // Where an event is, in the drawing's units.
  function place(event) {
    const box = svg.getBoundingClientRect();
    return [(event.clientX - box.left) * SIZE / box.width, (event.clientY - box.top) * SIZE / box.width];
  }

  const onPlane = ([x, y]) => [view.x + view.limit * (2 * (x - MARGIN) / SPAN - 1), view.y + view.limit * (1 - 2 * (y - EDGE) / SPAN)];

  function hover(event) {
    const [x, y] = place(event);
    const distance = (p) => Math.hypot(p.screen[0] - x, p.screen[1] - y);
    const nearest = shown.filter(visible).reduce((best, p) => (!best || distance(p) < distance(best) ? p : best), null);
    if (!nearest || distance(nearest) > (event.pointerType === "touch" ? 24 : 12)) hide();
    else tell(nearest);
  }

  function hide() {
    told = null;
    card.style.display = "none";
    svg.querySelector(".ring")?.remove();
  }

  // Open a point's card beside it.
  function tell(p) {
    hide();
    told = p;
    element(svg, "circle", { class: "ring", cx: p.screen[0], cy: p.screen[1], r: 8, fill: "none", stroke: "#1b1f24", "stroke-width": 1.6 });
    describe(p);
    const box = svg.getBoundingClientRect(), left = p.screen[0] * box.width / SIZE, top = p.screen[1] * box.width / SIZE;
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
    element(card, "div", {}, `${right ? "correct" : `predicted as ${data.all_names[p.predicted]}`}, confidence ${p.confidence.toFixed(3)}`);
    element(card, "div", { class: "soft" }, `${split.title} example ${split.index[p.example]}`);
  }

  // The next visible point in the order of classes, and within one from left to right.
  function step(by) {
    const order = shown.filter(visible).sort((p, q) => p.which - q.which || p.x - q.x);
    if (order.length) tell(order[(order.indexOf(told) + (told || by > 0 ? by : 0) + order.length) % order.length]);
  }

  const KEYS = { ArrowRight: () => step(1), ArrowDown: () => step(1), ArrowLeft: () => step(-1), ArrowUp: () => step(-1),
                 "+": () => zoom(1.5), "=": () => zoom(1.5), "-": () => zoom(1 / 1.5), 0: () => look(0, 0, home.limit), Escape: hide };

  function press(event) {
    if (!(event.key in KEYS) || event.ctrlKey || event.metaKey || event.altKey) return;
    event.preventDefault();
    const kept = told;
    KEYS[event.key]();
    if (kept && !told && "+=-".includes(event.key) && visible(kept)) tell(kept);
  }

  function button(text, name, action) {
    const made = element(root.querySelector(".zoom"), "button", { type: "button", "aria-label": name, title: name }, text);
    made.addEventListener("click", action);
  }

  let dragged = null;  // where the pointer was at the last event of a drag

  function drag(event) {
    if (!dragged) return hover(event);
    const [x, y] = place(event), unit = 2 * view.limit / SPAN;
    look(view.x - (x - dragged[0]) * unit, view.y + (y - dragged[1]) * unit);
    dragged = [x, y];
  }

  button("+", "Zoom in", () => zoom(1.5));
  button("−", "Zoom out", () => zoom(1 / 1.5));
  button("all", "Show all points", () => look(0, 0, home.limit));
  const classes = names.map((name, k) => [k, name]);
  ["top", "left", "right"].forEach((label, k) => select(label, `class${k}`, classes, data.start[k], COLOURS[k]));
  const settings = unique(data.members.map((m) => m.setting)), seeds = unique(data.members.map((m) => m.seed));
  select("smoothing", "setting", settings.map((s) => [s, s]), settings[0]);
  select("seed", "seed", seeds.map((s) => [s, s]), seeds[0]);
  select("split", "split", Object.entries(data.splits).map(([name, split]) => [name, split.title]), Object.keys(data.splits)[0]);
  form.addEventListener("submit", (event) => event.preventDefault());
  svg.setAttribute("viewBox", `0 0 ${SIZE} ${SIZE}`);
  plot.addEventListener("pointermove", drag);
  plot.addEventListener("pointerdown", (event) => {
    if (view.limit < home.limit && event.pointerType !== "touch") { dragged = place(event); svg.setPointerCapture(event.pointerId); }
    hover(event);
  });
  plot.addEventListener("pointerup", () => { dragged = null; });
  plot.addEventListener("pointerleave", hide);
  plot.addEventListener("dblclick", (event) => zoom(2, ...onPlane(place(event))));
  plot.addEventListener("wheel", (event) => {  // without a key the page scrolls
    if (!event.ctrlKey && !event.metaKey) return;
    event.preventDefault();
    zoom(Math.exp(-event.deltaY / 300), ...onPlane(place(event)));
  }, { passive: false });
  svg.addEventListener("keydown", press);
  svg.addEventListener("blur", hide);
  draw();
}

document.querySelectorAll(".explorer").forEach((root) => {
  explorer(root, JSON.parse(root.querySelector("script[type='application/json']").textContent));
});
