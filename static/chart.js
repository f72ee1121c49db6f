// Stacked line and area charts with a common time axis and cursor.

import { show } from "./formats.js";
import { gettext, ngettext } from "./messages.js";

const SVG = "http://www.w3.org/2000/svg";
const LEFT = 38;
const RIGHT = 6;
const TOP = 8;
const BOTTOM = 20;
const FONT_PX = 11;
const SHORTEST_SECONDS = 60;
const LONGEST_SECONDS = 1800;
const TICKS_SECONDS = [10, 30, 60, 120, 300];

// Returns the seconds that the axis shows (all samples, within limits), and their description.
export function spanOf(samples) {
  const seconds = samples.length ? samples.at(-1).at - samples[0].at : 0;
  const span = Math.min(LONGEST_SECONDS, Math.max(SHORTEST_SECONDS, seconds));
  const minutes = Math.ceil(span / 60);
  return { span, words: minutes > 28 ? gettext("The last half hour") : ngettext("The last minute", "The last %(count)s minutes", minutes, { count: show(minutes) }) };
}

// Returns a round number at or above `value` whose half is round too.
export function roundUp(value) {
  if (value <= 2) return 2;
  const power = 10 ** Math.floor(Math.log10(value));
  return [1, 2, 4, 6, 8, 10].map((factor) => factor * power).find((candidate) => candidate >= value);
}

export class Timeline {
  #samples = [];
  #index = -1;
  #from = 0;
  #to = 1;
  #width = 0;

  // panels: [{svg, height, layers: [{name, of, stepped?, line?}]}]; layers without `line` are stacked areas.
  // on: read(sample, isNow), label(seconds) -> text
  constructor(place, cursor, panels, on) {
    this.place = place;
    this.cursor = cursor;
    this.panels = panels;
    this.on = on;
    new ResizeObserver(() => this.#draw()).observe(place);
    cursor.addEventListener("pointermove", (event) => this.#point(event));
    cursor.addEventListener("pointerdown", (event) => this.#point(event));
    cursor.addEventListener("pointerleave", () => this.#choose(-1));
    cursor.addEventListener("blur", () => this.#choose(-1));
    cursor.addEventListener("keydown", (event) => this.#pressed(event));
  }

  update(samples) {
    // The sample under the cursor stays selected.
    const chosen = this.#samples[this.#index]?.at;
    this.#samples = samples;
    this.#to = samples.at(-1)?.at ?? 1;
    this.#from = this.#to - spanOf(samples).span;
    this.#index = chosen === undefined ? -1 : samples.findIndex((sample) => sample.at >= chosen);
    this.#draw();
  }

  #draw() {
    this.#width = this.place.clientWidth;
    if (!this.#width || !this.#samples.length) return;
    this.panels.forEach((panel, index) => this.#drawPanel(panel, index === this.panels.length - 1));
    this.#read();
  }

  #drawPanel({ svg, height, layers }, last) {
    const full = height + (last ? BOTTOM : 0);
    svg.setAttribute("viewBox", `0 0 ${this.#width} ${full}`);
    svg.setAttribute("height", full);
    const sums = this.#samples.map((sample) => areaSum(layers, sample));
    const highest = Math.max(...sums, ...layers.filter((layer) => layer.line).flatMap((layer) => this.#samples.map(layer.of)));
    const top = roundUp(highest);
    const y = (value) => height - (value / top) * (height - TOP);
    const nodes = [0, top / 2, top].flatMap((value) => this.#rule(y(value), compact(value)));
    nodes.push(...this.#ticks(height, last));
    let base = this.#samples.map(() => 0);
    for (const layer of layers) {
      const values = this.#samples.map((sample, index) => layer.of(sample) + (layer.line ? 0 : base[index]));
      const path = this.#path(values, y, layer.stepped);
      const area = layer.line ? "" : `L${this.#path(base, y, layer.stepped, true).slice(1)}Z`;
      nodes.push(node("path", { class: `layer-${layer.name} ${layer.line ? "line" : "area"}`, d: path + area }));
      if (!layer.line) base = values;
    }
    const cursor = node("line", { class: "cursor-line", y1: 0, y2: height, visibility: "hidden" });
    svg.replaceChildren(...nodes, cursor);
  }

  // A path through all values; from right to left where `back`.
  #path(values, y, stepped, back = false) {
    const points = values.map((value, index) => [this.#x(this.#samples[index].at), y(value)]);
    const corners = stepped ? points.flatMap((point, index) => (index ? [[point[0], points[index - 1][1]], point] : [point])) : points;
    if (back) corners.reverse();
    return `M${corners.map(([x, height]) => `${x.toFixed(1)} ${height.toFixed(1)}`).join("L")}`;
  }

  #rule(y, text) {
    const label = node("text", { class: "tick", x: LEFT - 6, y: y + FONT_PX / 3, "text-anchor": "end" });
    label.textContent = text;
    return [node("line", { class: "rule", x1: LEFT, x2: this.#width - RIGHT, y1: y, y2: y }), label];
  }

  #ticks(height, labelled) {
    const span = this.#to - this.#from;
    const most = this.#width < 480 ? 4 : 8;
    const step = TICKS_SECONDS.find((seconds) => span / seconds <= most) ?? TICKS_SECONDS.at(-1);
    const nodes = [];
    for (let at = Math.ceil(this.#from / step) * step; at <= this.#to; at += step) {
      const x = this.#x(at);
      nodes.push(node("line", { class: "rule", x1: x, x2: x, y1: TOP, y2: height }));
      if (!labelled || x > this.#width - 24 || x < LEFT + 12) continue;
      const label = node("text", { class: "tick", x, y: height + BOTTOM - 5, "text-anchor": "middle" });
      label.textContent = this.on.label(at, step < 60);
      nodes.push(label);
    }
    return nodes;
  }

  #x(at) {
    return LEFT + ((Math.max(at, this.#from) - this.#from) / (this.#to - this.#from)) * (this.#width - LEFT - RIGHT);
  }

  #point(event) {
    const x = event.clientX - this.place.getBoundingClientRect().left;
    let nearest = 0;
    this.#samples.forEach((sample, index) => {
      if (Math.abs(this.#x(sample.at) - x) < Math.abs(this.#x(this.#samples[nearest].at) - x)) nearest = index;
    });
    this.#choose(nearest);
  }

  #pressed(event) {
    const last = this.#samples.length - 1;
    const now = this.#index < 0 ? last : this.#index;
    const page = Math.max(1, Math.round(last / 10));
    const steps = { ArrowLeft: now - 1, ArrowDown: now - 1, ArrowRight: now + 1, ArrowUp: now + 1 };
    const target = { ...steps, PageDown: now - page, PageUp: now + page, Home: 0, End: last, Escape: -1 }[event.key];
    if (target === undefined) return;
    event.preventDefault();
    this.#choose(event.key === "Escape" ? -1 : Math.max(0, Math.min(last, target)));
  }

  #choose(index) {
    this.#index = index;
    this.#read();
  }

  #read() {
    const last = this.#samples.length - 1;
    const index = this.#index < 0 ? last : this.#index;
    if (index < 0) return;
    const sample = this.#samples[index];
    const x = this.#x(sample.at);
    for (const { svg } of this.panels) {
      const line = svg.querySelector(".cursor-line");
      line?.setAttribute("x1", x);
      line?.setAttribute("x2", x);
      line?.setAttribute("visibility", this.#index < 0 ? "hidden" : "visible");
    }
    this.cursor.ariaValueMax = last;
    this.cursor.ariaValueNow = index;
    this.cursor.ariaValueText = this.on.read(sample, this.#index < 0);
  }
}

function areaSum(layers, sample) {
  return layers.reduce((sum, layer) => sum + (layer.line ? 0 : layer.of(sample)), 0);
}

function compact(value) {
  return value >= 1000 ? gettext("%(number)sk", { number: show(Number((value / 1000).toPrecision(2))) }) : show(value);
}

function node(name, attributes) {
  const element = document.createElementNS(SVG, name);
  for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
  return element;
}
