"use strict";
// Text from files is set by textContent only; no markup is made from it.
const content = JSON.parse(document.getElementById("content").textContent);
const byId = (id) => document.getElementById(id);
const count = (number) => number.toLocaleString("en");
const PAGE = 48;

function element(name, text, attributes = {}) {
  const made = document.createElement(name);
  if (text !== undefined) made.textContent = text;
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  return made;
}

function drawing(name, attributes = {}, text) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  if (text !== undefined) made.textContent = text;
  return made;
}

// Little-endian numbers, as the page's maker packed them and all browsers' machines have them.
function unpack(text, kind) {
  const bytes = atob(text);
  const buffer = new Uint8Array(bytes.length);
  for (let i = 0; i < bytes.length; i++) buffer[i] = bytes.charCodeAt(i);
  return new kind(buffer.buffer);
}

function unpackNumbers([kind, text]) {
  return unpack(text, kind === "Float32" ? Float32Array : Float64Array);
}

const rows = content.rows;
const names = rows.names;
const nameOf = unpack(rows.name, Uint32Array);
const recordOf = unpack(rows.record, Uint32Array);
const classOf = unpack(rows.class, Int32Array);
const certaintyOf = unpackNumbers(rows.certainty);
const valueOf = unpackNumbers(rows.value);
const labelOf = rows.label && unpackNumbers(rows.label);
const details = rows.details;
const images = details.shape ? unpack(details.images, Uint8Array) : null;
const detailOf = new Map(details.rows.map((row, index) => [row, index]));
const classes = content.kind === "classes";
const REJECTED = -1;

const short = (number) => (Number.isFinite(number) ? String(Number(number.toPrecision(6))) : "not a number");
const isJudged = (row) => classes && labelOf !== null && classOf[row] >= 0 && !Number.isNaN(labelOf[row]);
const isWrong = (row) => isJudged(row) && classOf[row] !== labelOf[row];
const ofLabel = (row) => (Number.isNaN(labelOf[row]) ? "no label" : short(labelOf[row]));

// The head.
document.title = content.title;
byId("title").textContent = content.title;
for (const [name, value] of content.facts) {
  const pair = element("div");
  pair.append(element("dt", name), element("dd", value));
  byId("facts").append(pair);
}
const notes = content.notes.slice();
if (details.shapeFrom) notes.push(`inputs are drawn as ${details.shape.join(" × ")}: ${details.shapeFrom}`);
for (const note of notes) byId("notes").append(element("li", note));

// The plots.
function figure(title, picture, description) {
  const made = element("figure");
  picture.setAttribute("role", "img");
  picture.setAttribute("aria-label", `${title}: ${description}`);
  made.append(element("h3", title), picture);
  byId("plots").append(made);
}

function barPlot(title, numbers, labels, description, onBar) {
  const width = 400, height = 190, bottom = 26, top = 16;
  const most = Math.max(1, ...numbers);
  const step = width / Math.max(1, numbers.length);
  const picture = drawing("svg", { viewBox: `0 0 ${width} ${height}` });
  const shows = Math.ceil(numbers.length / 12);
  numbers.forEach((number, index) => {
    const size = number ? Math.max(1, ((height - bottom - top) * number) / most) : 0;
    const bar = drawing("rect", {
      class: "bar", x: index * step + step * 0.1, y: height - bottom - size, width: step * 0.8, height: size,
    });
    bar.append(drawing("title", {}, `${labels(index)}: ${count(number)}`));
    if (onBar) bar.addEventListener("click", () => onBar(index));
    picture.append(bar);
    if (index % shows === 0) {
      // The first one would be cut at the edge, and with it a minus sign.
      const first = numbers.length > 12 && index === 0;
      const place = { x: first ? 0 : index * step + step / 2, y: height - 10, "text-anchor": first ? "start" : "middle" };
      picture.append(drawing("text", place, labels(index, true)));
    }
    if (numbers.length <= 12 && number) {
      picture.append(drawing("text", { x: index * step + step / 2, y: height - bottom - size - 4, "text-anchor": "middle" }, count(number)));
    }
  });
  picture.append(drawing("line", { class: "axis", x1: 0, x2: width, y1: height - bottom, y2: height - bottom }));
  figure(title, picture, description);
}

function histogram(plot) {
  const step = (plot.high - plot.low) / Math.max(1, plot.counts.length);
  const from = (index) => plot.low + index * step;
  barPlot(
    `Distribution: ${plot.name}`, plot.counts,
    (index, plain) => (plain ? short(Number(from(index).toPrecision(3))) : `${short(from(index))} to ${short(from(index + 1))}`),
    `${count(plot.counts.reduce((sum, each) => sum + each, 0))} values from ${short(plot.low)} to ${short(plot.high)}`,
  );
}

function confusionMatrix(pairs, size) {
  const cell = 400 / (size + 1);
  const picture = drawing("svg", { viewBox: "0 0 412 424" });
  const most = Math.max(1, ...pairs.map(([label, predicted, number]) => (label === predicted ? 0 : number)));
  const total = Math.max(1, ...pairs.map((pair) => pair[2]));
  for (let index = 0; index < size; index++) {
    if (size > 20 && index % 5) continue;
    picture.append(drawing("text", { x: cell * (index + 1.5), y: cell * 0.7, "text-anchor": "middle" }, index));
    picture.append(drawing("text", { x: cell * 0.6, y: cell * (index + 1.5) + 4, "text-anchor": "middle" }, index));
  }
  for (const [label, predicted, number] of pairs) {
    const right = label === predicted;
    const box = drawing("rect", {
      class: right ? "bar" : "missed", x: cell * (predicted + 1), y: cell * (label + 1), width: cell * 0.96, height: cell * 0.96,
      "fill-opacity": right ? 0.15 + 0.35 * (number / total) : 0.15 + 0.45 * (number / most),
    });
    box.append(drawing("title", {}, `label ${label}, predicted ${predicted}: ${count(number)}`));
    picture.append(box);
    if (size <= 12) {
      picture.append(drawing("text", { x: cell * (predicted + 1.48), y: cell * (label + 1.5) + 4, "text-anchor": "middle" }, count(number)));
    }
  }
  picture.append(drawing("text", { x: 206, y: 418, "text-anchor": "middle" }, "columns: predicted class; rows: label"));
  const missed = pairs.reduce((sum, [label, predicted, number]) => sum + (label === predicted ? 0 : number), 0);
  figure("Confusion matrix", picture, `${count(missed)} rows beside the diagonal`);
}

function scatter(plot) {
  const size = 400, cells = 60, side = size / cells;
  const picture = drawing("svg", { viewBox: "0 0 400 424" });
  const most = Math.max(1, ...plot.cells.map((cell) => cell[2]));
  picture.append(drawing("line", { class: "axis", x1: 0, y1: size, x2: size, y2: 0 }));
  for (const [x, y, number] of plot.cells) {
    const dot = drawing("rect", {
      class: "bar", x: x * side, y: size - (y + 1) * side, width: side, height: side,
      "fill-opacity": 0.25 + 0.75 * (Math.log1p(number) / Math.log1p(most)),
    });
    dot.append(drawing("title", {}, `${count(number)} rows`));
    picture.append(dot);
  }
  picture.append(drawing("text", { x: 0, y: 418 }, `label, from ${short(plot.low)} to ${short(plot.high)}; upwards: prediction`));
  figure("Predictions against labels", picture, `from ${short(plot.low)} to ${short(plot.high)}`);
}

function commonest(pairs) {
  const made = element("figure");
  const list = element("ol");
  for (const [label, predicted, number] of pairs) list.append(element("li", `label ${label} predicted as ${predicted}: ${count(number)}`));
  made.append(element("h3", "Commonest confusions"), list);
  byId("plots").append(made);
}

const plots = content.plots;
if (plots.counts) {
  const numbers = plots.counts;
  const largest = numbers.length > 60 ? numbers.map((number, index) => [number, index]).sort((a, b) => b[0] - a[0]).slice(0, 30).map((pair) => pair[1]) : numbers.map((_, index) => index);
  barPlot(
    numbers.length > 60 ? `Predicted classes: the 30 commonest of ${count(numbers.length)}` : "Predicted classes",
    largest.map((index) => numbers[index]), (index, plain) => (plain ? String(largest[index]) : `class ${largest[index]}`),
    `${count(numbers.filter((number) => number).length)} of ${count(numbers.length)} classes occur`,
    (index) => { byId("class").value = String(largest[index]); update(); },
  );
}
if (plots.certainty) histogram(plots.certainty);
if (plots.confusion) confusionMatrix(plots.confusion, plots.counts.length);
if (plots.commonest && plots.commonest.length) commonest(plots.commonest);
for (const plot of plots.histograms || []) histogram(plot);
if (plots.scatter) scatter(plots.scatter);

// The filters.
const orders = [["input", "of the inputs"]];
if (classes) orders.unshift(["least", "least certain first"], ["most", "most certain first"]);
if (labelOf !== null && content.kind === "numbers") orders.unshift(["residual", "largest error first"]);
for (const [value, text] of orders) byId("order").append(element("option", text, { value }));
byId("class-filter").hidden = byId("certainty-filter").hidden = !classes;
byId("right-filter").hidden = !classes || labelOf === null;
byId("class").append(element("option", "any", { value: "" }));
if (classes) {
  for (const value of [...new Set(classOf)].sort((a, b) => a - b)) {
    const text = value === REJECTED ? "rejected" : value < 0 ? "not a number" : String(value);
    byId("class").append(element("option", text, { value: String(value) }));
  }
}

// The rows.
let listed = [];
let page = 0;

function select() {
  const wanted = byId("class").value, right = byId("right").value, search = byId("search").value;
  const limit = byId("most").value === "" ? Infinity : Number(byId("most").value);
  const fitting = names.map((name) => name.includes(search));
  const found = [];
  for (let row = 0; row < classOf.length; row++) {
    if (!fitting[nameOf[row]]) continue;
    if (wanted !== "" && String(classOf[row]) !== wanted) continue;
    if (classes && certaintyOf[row] > limit) continue;
    if (right !== "" && (!isJudged(row) || isWrong(row) !== (right === "wrong"))) continue;
    found.push(row);
  }
  const order = byId("order").value;
  const by = { least: (row) => certaintyOf[row], most: (row) => -certaintyOf[row], residual: (row) => -Math.abs(valueOf[row] - labelOf[row]) }[order];
  if (by) {
    const keys = new Float64Array(classOf.length);
    for (const row of found) { const key = by(row); keys[row] = Number.isNaN(key) ? -Infinity : key; }
    found.sort((a, b) => keys[a] - keys[b] || a - b);
  }
  return found;
}

function drawImage(index) {
  const [channels, height, width] = details.shape;
  const canvas = element("canvas", undefined, { role: "img" });
  canvas.width = width;
  canvas.height = height;
  const picture = new ImageData(width, height);
  const size = height * width, start = index * channels * size;
  for (let pixel = 0; pixel < size; pixel++) {
    for (let color = 0; color < 3; color++) picture.data[4 * pixel + color] = images[start + (channels === 3 ? color : 0) * size + pixel];
    picture.data[4 * pixel + 3] = 255;
  }
  canvas.getContext("2d").putImageData(picture, 0, 0);
  return canvas;
}

function said(row) {
  if (classOf[row] === REJECTED) return "rejected";
  if (classOf[row] < 0) return "not a number";
  if (!classes) return labelOf === null ? short(valueOf[row]) : `${ofLabel(row)} → ${short(valueOf[row])}`;
  return labelOf === null ? `${classOf[row]}` : `${ofLabel(row)} → ${classOf[row]}`;
}

function card(row) {
  const made = element("li");
  const place = `${names[nameOf[row]]}, record ${count(recordOf[row] + 1)}`;
  const detail = detailOf.get(row);
  if (detail !== undefined && images !== null && details.image[detail] >= 0) {
    const canvas = drawImage(details.image[detail]);
    canvas.setAttribute("aria-label", `input of ${place}`);
    made.append(canvas);
  }
  const sentence = element("div", said(row), { class: "said" });
  made.append(sentence);
  if (isWrong(row)) {
    made.className = "wrong";
    sentence.append(document.createTextNode(" wrong"));
  }
  if (classes && classOf[row] >= 0) made.append(element("div", `certainty ${Number(certaintyOf[row].toPrecision(4))}`));
  made.append(element("div", place, { class: "place" }));
  if (detail !== undefined) {
    made.append(element("div", details.predicted[detail], { class: "more" }));
    if (details.values && details.values[detail]) made.append(element("div", `input: ${details.values[detail]}`, { class: "more" }));
  }
  return made;
}

function show() {
  const pages = Math.max(1, Math.ceil(listed.length / PAGE));
  page = Math.min(Math.max(page, 0), pages - 1);
  byId("rows").replaceChildren(...listed.slice(page * PAGE, (page + 1) * PAGE).map(card));
  byId("shown").textContent = `${count(listed.length)} of ${count(classOf.length)} listed rows`;
  for (const where of document.querySelectorAll(".where")) where.textContent = `page ${count(page + 1)} of ${count(pages)}`;
  for (const button of document.querySelectorAll(".previous")) button.disabled = page === 0;
  for (const button of document.querySelectorAll(".next")) button.disabled = page === pages - 1;
}

function update() {
  listed = select();
  page = 0;
  show();
}

function turn(by) {
  page += by;
  show();
}

byId("filters").addEventListener("input", update);
byId("filters").addEventListener("submit", (event) => event.preventDefault());
for (const button of document.querySelectorAll(".previous")) button.addEventListener("click", () => turn(-1));
for (const button of document.querySelectorAll(".next")) button.addEventListener("click", () => turn(1));
update();

// The rejects and the record.
if (content.rejected) {
  byId("rejected").hidden = false;
  const more = content.rejects.length < content.rejected ? `; the first ${count(content.rejects.length)} are shown` : "";
  byId("rejects-count").textContent = `${count(content.rejected)} records or inputs were rejected${more}.`;
  for (const reject of content.rejects) {
    const line = element("tr");
    for (const name of ["key", "line", "column", "code", "message"]) line.append(element("td", reject[name] === null ? "" : String(reject[name])));
    byId("rejects").append(line);
  }
}
if (content.record) {
  byId("of-run").hidden = false;
  byId("record").textContent = content.record;
}
