// Small charts as SVG: degrees on log-log axes, rates over time, the spread of a message.

const NS = "http://www.w3.org/2000/svg";

function el(name, attributes = {}, text) {
  const e = document.createElementNS(NS, name);
  for (const [k, v] of Object.entries(attributes)) e.setAttribute(k, v);
  if (text !== undefined) e.textContent = text;
  return e;
}

export const short = (n) =>
  n === 0 ? "0" : n >= 1e9 ? `${+(n / 1e9).toPrecision(3)}G` : n >= 1e6 ? `${+(n / 1e6).toPrecision(3)}M` : n >= 1e4 ? `${+(n / 1e3).toPrecision(3)}k` : `${+n.toPrecision(3)}`;

class Frame {
  constructor(label, { width = 300, height = 170, left = 40, bottom = 30, top = 20, right = 18 } = {}) {
    Object.assign(this, { width, height, left, bottom, top, right });
    this.svg = el("svg", { viewBox: `0 0 ${width} ${height}`, role: "img", "aria-label": label });
  }
  x(t) { return this.left + t * (this.width - this.left - this.right); }
  y(t) { return this.height - this.bottom - t * (this.height - this.bottom - this.top); }
  axes(xTicks, yTicks, xLabel, yLabel) {
    for (const [t, text] of yTicks) {
      this.svg.append(el("path", { class: "grid", d: `M${this.x(0)} ${this.y(t)}H${this.x(1)}` }));
      this.svg.append(el("text", { x: this.left - 5, y: this.y(t) + 4, "text-anchor": "end" }, text));
    }
    for (const [t, text] of xTicks) {
      this.svg.append(el("path", { class: "axis", d: `M${this.x(t)} ${this.y(0)}v4` }));
      this.svg.append(el("text", { x: this.x(t), y: this.y(0) + 15, "text-anchor": "middle" }, text));
    }
    this.svg.append(el("path", { class: "axis", d: `M${this.x(0)} ${this.y(1)}V${this.y(0)}H${this.x(1)}` }));
    if (xLabel) this.svg.append(el("text", { x: this.x(1), y: this.height - 3, "text-anchor": "end" }, xLabel));
    if (yLabel) this.svg.append(el("text", { x: this.x(0), y: this.y(1) - 8 }, yLabel));
  }
  line(points, colour, more = {}) {
    if (points.length) this.svg.append(el("path", { d: `M${points.map(([x, y]) => `${this.x(x).toFixed(1)} ${this.y(y).toFixed(1)}`).join("L")}`, fill: "none", stroke: colour, "stroke-width": 1.8, ...more }));
  }
}

/** Share of the peers with k or more neighbours, and the fitted bounded law, both logarithmic. */
export function degrees(data) {
  const counts = data.counts.filter(([k]) => k > 0);
  const n = counts.reduce((sum, [, c]) => sum + c, 0);
  const frame = new Frame("Share of the peers with k or more neighbours, on logarithmic axes");
  if (!n) return frame.svg;
  const most = Math.max(10, counts.at(-1)[0]);
  const low = Math.log10(0.7 / n), x = (k) => Math.log10(k) / Math.log10(most * 1.15), y = (share) => 1 - Math.log10(Math.max(share, 10 ** low)) / low;
  const xTicks = [1, 2, 3, 5, 10, 20, 50, 100, 200, 500].filter((k) => k <= most).map((k) => [x(k), k]);
  const yTicks = [1, 0.1, 0.01, 0.001, 1e-4].filter((s) => s >= 0.5 / n).map((s) => [y(s), `${+(s * 100).toPrecision(2)} %`]);
  frame.axes(xTicks, yTicks, "k neighbours", "share with k or more");
  let above = n;
  const fit = data.fit;
  for (const [k, c] of counts) {
    frame.svg.append(el("circle", { cx: frame.x(x(k)), cy: frame.y(y(above / n)), r: 3, fill: "var(--alive)" }));
    above -= c;
  }
  if (fit && !fit.bounded_alpha_at_bound) {
    const ks = Array.from({ length: fit.bounded_xmax - fit.bounded_xmin + 1 }, (_, i) => fit.bounded_xmin + i);
    const weights = ks.map((k) => k ** -fit.bounded_alpha);
    const sum = weights.reduce((a, b) => a + b, 0);
    let rest = sum;
    const share = fit.bounded_tail / n;
    const points = ks.map((k, i) => { const p = [x(k), (share * rest) / sum]; rest -= weights[i]; return p; });
    frame.line(points.filter((p) => p[1] > 10 ** low).map(([px, s]) => [px, y(s)]), "var(--mark)");
  }
  return frame.svg;
}

const nice = (max) => {
  if (!(max > 0)) return 1;
  const p = 10 ** Math.floor(Math.log10(max));
  return [1, 2, 5, 10].map((m) => m * p).find((m) => m >= max);
};

/** Lines over the last `span` seconds. `series`: [{ name, colour, mark, points: [[secondsAgo, value]] }] */
export function overTime(title, unit, series, span = 120) {
  const figure = document.createElement("figure");
  const caption = document.createElement("figcaption");
  caption.textContent = title;
  const top = nice(series.flatMap((s) => s.points.map((p) => p[1])).reduce((a, b) => Math.max(a, b), 0));
  const frame = new Frame(`${title}, ${unit}, over the last two minutes`, { width: 360, height: 160, left: 46 });
  frame.axes([[0, `−${span} s`], [0.5, `−${span / 2} s`], [1, "now"]], [0, 0.5, 1].map((t) => [t, short(t * top)]), "", unit);
  for (const s of series) frame.line(s.points.map(([ago, v]) => [1 - ago / span, Math.min(1, v / top)]), s.colour, s.dash ? { "stroke-dasharray": s.dash } : {});
  figure.append(caption, frame.svg, key(series));
  return figure;
}

function key(series) {
  const p = document.createElement("div");
  p.className = "key";
  for (const s of series) {
    const span = document.createElement("span");
    const last = s.points.at(-1)?.[1];
    span.dataset.mark = s.dash ? "┄" : "━";
    span.style.setProperty("--c", s.colour);
    span.textContent = `${s.name}${last === undefined ? "" : ` ${short(last)}`}`;
    p.append(span);
  }
  return p;
}

/** Share of the peers reached by a message, over time. `after`: ascending, in ms. */
export function spread(after, peers) {
  const frame = new Frame("Share of the peers reached over time");
  const last = nice(after.at(-1) ?? 1);
  frame.axes([0, 0.5, 1].map((t) => [t, short(t * last)]), [0, 0.5, 1].map((t) => [t, `${t * 100} %`]), "ms after publishing", "reached");
  const points = [[0, 0]];
  after.forEach((ms, i) => points.push([ms / last, i / peers], [ms / last, (i + 1) / peers]));
  points.push([1, after.length / peers]);
  frame.line(points, "var(--mark)");
  return frame.svg;
}
