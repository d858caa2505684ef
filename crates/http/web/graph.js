// The network on a canvas: hubs large, colour and shape by state, trees darker than lazy links,
// messages as sparks. Draws only when something moves.

export const STATES = {
  alive: { colour: "--alive", mark: "●", words: "alive" },
  suspect: { colour: "--suspect", mark: "◐", words: "suspect: a neighbour gets no answer from it" },
  dead: { colour: "--dead", mark: "✕", words: "dead: the seeds agreed" },
  frozen: { colour: "--frozen", mark: "■", words: "frozen: does not answer" },
  joining: { colour: "--joining", mark: "▲", words: "joining" },
  degraded: { colour: "--suspect", mark: "▲", words: "degraded: no majority of the seeds" },
  left: { colour: "--gone", mark: "○", words: "left" },
  leaving: { colour: "--gone", mark: "○", words: "leaving" },
  expired: { colour: "--gone", mark: "○", words: "expired" },
};
export const stateOf = (state) => STATES[state] ?? { colour: "--gone", mark: "○", words: state };

const MOVE_MS = 500, SPARK_MS = 450, GLOW_MS = 900, MOST_SPARKS = 3000;

export class Graph {
  constructor(canvas, { choose, hover }) {
    Object.assign(this, { canvas, choose, hover });
    this.context = canvas.getContext("2d");
    this.peers = []; this.links = []; this.places = new Map(); this.index = new Map();
    this.view = { x: 0.5, y: 0.5, zoom: 1 };
    this.sparks = []; this.glow = new Map(); this.path = null;
    this.chosen = null; this.found = new Set(); this.under = null;
    this.frames = { count: 0, spent: 0, worst: 0 };
    this.still = matchMedia("(prefers-reduced-motion: reduce)");
    new ResizeObserver(() => this.resize()).observe(canvas);
    this.listen();
    this.recolour();
    matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => this.recolour());
  }

  /** Colours come from the style sheet, so that both themes are in one place. */
  recolour() {
    const style = getComputedStyle(document.documentElement);
    this.colour = (name) => style.getPropertyValue(name).trim();
    const names = ["--ink", "--quiet", "--line", "--strong", "--card", "--mark", ...Object.values(STATES).map((s) => s.colour)];
    const all = Object.fromEntries(names.map((n) => [n, style.getPropertyValue(n).trim()]));
    this.colour = (name) => all[name];
    this.draw();
  }

  show(network) {
    const now = performance.now();
    this.peers = network.peers;
    this.links = network.links;
    this.index = new Map(network.peers.map((p, i) => [p.id, i]));
    const places = new Map();
    for (const p of network.peers) {
      if (!p.at) continue;
      const was = this.places.get(p.id);
      const [x, y] = was ? this.at(was, now) : p.at;
      places.set(p.id, { from: [x, y], to: p.at, since: now });
    }
    // The chosen peer, on which the view was centred, is gone: show the whole network.
    if (this.places.has(this.chosen) && !places.has(this.chosen)) this.fit();
    this.places = places;
    this.until(now + MOVE_MS);
  }

  at(place, now) {
    const t = this.still.matches ? 1 : Math.min(1, (now - place.since) / MOVE_MS);
    const e = t * (2 - t);
    return [place.from[0] + (place.to[0] - place.from[0]) * e, place.from[1] + (place.to[1] - place.from[1]) * e];
  }

  /** Shows that a message has just arrived over a link. */
  arrive({ message, peer, from }) {
    const now = performance.now();
    this.glow.set(peer, { at: now, message });
    if (from && this.sparks.length < MOST_SPARKS && !this.still.matches) this.sparks.push({ from, to: peer, at: now, message });
    this.until(now + GLOW_MS);
  }

  /** The path of one message to highlight, as its arrivals. */
  light(arrivals) {
    this.path = arrivals && { edges: arrivals.filter((a) => a.from), got: new Set(arrivals.map((a) => a.peer)) };
    this.draw();
  }

  select(id, move = false) {
    this.chosen = id;
    const place = move && this.places.get(id);
    if (place) Object.assign(this.view, { x: place.to[0], y: place.to[1], zoom: Math.max(this.view.zoom, 2.5) });
    this.draw();
  }

  find(text) {
    const wanted = text.trim().toLowerCase();
    this.found = new Set(wanted ? this.peers.filter((p) => p.name.toLowerCase().includes(wanted) || p.id.startsWith(wanted)).map((p) => p.id) : []);
    this.draw();
    return [...this.found];
  }

  zoom(by, at) {
    const before = at && this.unit(...at);
    this.view.zoom = Math.min(40, Math.max(0.5, this.view.zoom * by));
    if (before) {
      const after = this.unit(...at);
      this.view.x += before[0] - after[0];
      this.view.y += before[1] - after[1];
    }
    this.draw();
  }

  fit() { this.view = { x: 0.5, y: 0.5, zoom: 1 }; this.draw(); }

  resize() {
    const { clientWidth: w, clientHeight: h } = this.canvas;
    if (!w || !h) return;
    const ratio = Math.min(2, devicePixelRatio || 1);
    this.canvas.width = Math.round(w * ratio);
    this.canvas.height = Math.round(h * ratio);
    Object.assign(this, { width: w, height: h, ratio });
    this.draw();
  }

  get scale() { return Math.min(this.width, this.height) * 0.86 * this.view.zoom; }
  screen([x, y]) { return [(x - this.view.x) * this.scale + this.width / 2, (y - this.view.y) * this.scale + this.height / 2]; }
  unit(px, py) { return [(px - this.width / 2) / this.scale + this.view.x, (py - this.height / 2) / this.scale + this.view.y]; }

  until(time) {
    this.busy = Math.max(this.busy ?? 0, time);
    this.draw();
  }

  draw() {
    if (this.asked || !this.width) return;
    this.asked = requestAnimationFrame(() => {
      this.asked = null;
      const begun = performance.now();
      this.paint(begun);
      const spent = performance.now() - begun;
      this.frames.count += 1; this.frames.spent += spent; this.frames.worst = Math.max(this.frames.worst, spent);
      if (begun < (this.busy ?? 0)) this.draw();
    });
  }

  paint(now) {
    const c = this.context;
    c.setTransform(this.ratio, 0, 0, this.ratio, 0, 0);
    c.clearRect(0, 0, this.width, this.height);
    this.drawn = this.peers.map((p) => {
      const place = this.places.get(p.id);
      return place ? this.screen(this.at(place, now)) : null;
    });
    this.paintLinks(c);
    this.paintPath(c);
    this.paintSparks(c, now);
    this.paintPeers(c, now);
    this.paintNames(c);
  }

  paintLinks(c) {
    const crowd = this.links.length > 1500 ? 0.45 : 0.8;
    for (const trees of [false, true]) {
      c.beginPath();
      for (const [a, b, publishers] of this.links) {
        if ((publishers > 0) !== trees) continue;
        const p = this.drawn[a], q = this.drawn[b];
        if (p && q) { c.moveTo(p[0], p[1]); c.lineTo(q[0], q[1]); }
      }
      c.strokeStyle = this.colour(trees ? "--strong" : "--line");
      c.globalAlpha = this.path ? 0.3 : trees ? crowd : crowd * 0.8;
      c.lineWidth = trees ? 1.2 : 0.8;
      c.setLineDash(trees ? [] : [3, 3]);
      c.stroke();
    }
    c.setLineDash([]);
    c.globalAlpha = 1;
  }

  paintPath(c) {
    if (!this.path) return;
    c.beginPath();
    for (const { from, peer } of this.path.edges) {
      const p = this.drawn[this.index.get(from)], q = this.drawn[this.index.get(peer)];
      if (p && q) { c.moveTo(p[0], p[1]); c.lineTo(q[0], q[1]); }
    }
    c.strokeStyle = this.colour("--mark");
    c.lineWidth = 2;
    c.stroke();
  }

  paintSparks(c, now) {
    this.sparks = this.sparks.filter((s) => now - s.at < SPARK_MS);
    c.fillStyle = this.colour("--mark");
    for (const s of this.sparks) {
      const p = this.drawn[this.index.get(s.from)], q = this.drawn[this.index.get(s.to)];
      if (!p || !q) continue;
      const t = (now - s.at) / SPARK_MS;
      c.beginPath();
      c.arc(p[0] + (q[0] - p[0]) * t, p[1] + (q[1] - p[1]) * t, 2.4, 0, 7);
      c.fill();
    }
  }

  radius(p) {
    const base = this.peers.length > 400 ? 2.2 : this.peers.length > 80 ? 3 : 4;
    return (base + Math.sqrt(Math.max(0, p.degree)) * 1.3) * Math.min(2, Math.sqrt(this.view.zoom));
  }

  paintPeers(c, now) {
    for (let i = 0; i < this.peers.length; i++) {
      const p = this.peers[i], at = this.drawn[i];
      if (!at || at[0] < -30 || at[1] < -30 || at[0] > this.width + 30 || at[1] > this.height + 30) continue;
      const r = this.radius(p), [x, y] = at;
      const glow = this.glow.get(p.id);
      if (glow) {
        const t = (now - glow.at) / GLOW_MS;
        if (t >= 1) this.glow.delete(p.id);
        else ring(c, x, y, r + 2 + 5 * t, this.colour("--mark"), 2, 1 - t);
      }
      const dim = (this.found.size && !this.found.has(p.id)) || (this.path && !this.path.got.has(p.id));
      c.globalAlpha = dim ? 0.25 : 1;
      shape(c, p.state, x, y, r, this.colour(stateOf(p.state).colour), this.colour("--card"));
      c.globalAlpha = 1;
      if (p.id === this.chosen || this.found.has(p.id)) ring(c, x, y, r + 4, this.colour("--ink"), 2, 1);
    }
  }

  paintNames(c) {
    const few = this.peers.length <= 60 || this.view.zoom > 4;
    c.font = "11px system-ui, sans-serif";
    c.fillStyle = this.colour("--ink");
    c.textAlign = "center";
    this.peers.forEach((p, i) => {
      const at = this.drawn[i];
      const named = few || p.id === this.chosen || p.id === this.under || (this.found.size > 0 && this.found.size < 30 && this.found.has(p.id));
      if (at && named) c.fillText(p.name.length > 24 ? `${p.name.slice(0, 23)}…` : p.name, at[0], at[1] + this.radius(p) + 12);
    });
  }

  near(px, py) {
    let best = null, least = 14 ** 2;
    this.drawn?.forEach((at, i) => {
      if (!at) return;
      const d = (at[0] - px) ** 2 + (at[1] - py) ** 2 - this.radius(this.peers[i]) ** 2;
      if (d < least) [best, least] = [this.peers[i], d];
    });
    return best;
  }

  listen() {
    const pointers = new Map();
    let moved = 0;
    const spot = (e) => { const r = this.canvas.getBoundingClientRect(); return [e.clientX - r.left, e.clientY - r.top]; };
    this.canvas.addEventListener("pointerdown", (e) => {
      this.canvas.setPointerCapture(e.pointerId);
      pointers.set(e.pointerId, spot(e));
      moved = 0;
    });
    this.canvas.addEventListener("pointermove", (e) => {
      const here = spot(e), was = pointers.get(e.pointerId);
      if (!was) {
        const p = this.near(...here);
        this.under = p?.id ?? null;
        this.canvas.style.cursor = p ? "pointer" : "grab";
        this.hover(p, here);
        return;
      }
      if (pointers.size === 2) {
        const other = [...pointers].find(([id]) => id !== e.pointerId)[1];
        const gap = (p) => Math.hypot(p[0] - other[0], p[1] - other[1]);
        this.zoom(gap(here) / Math.max(1, gap(was)), other);
      } else {
        this.view.x -= (here[0] - was[0]) / this.scale;
        this.view.y -= (here[1] - was[1]) / this.scale;
      }
      moved += Math.hypot(here[0] - was[0], here[1] - was[1]);
      pointers.set(e.pointerId, here);
      this.draw();
    });
    const up = (e) => {
      const one = pointers.size === 1;
      pointers.delete(e.pointerId);
      if (e.type === "pointerup" && one && moved < 5) this.choose(this.near(...spot(e)));
    };
    for (const kind of ["pointerup", "pointercancel"]) this.canvas.addEventListener(kind, up);
    this.canvas.addEventListener("pointerleave", () => this.hover(null));
    this.canvas.addEventListener("wheel", (e) => { e.preventDefault(); this.zoom(Math.exp(-e.deltaY / 400), spot(e)); }, { passive: false });
    this.canvas.addEventListener("keydown", (e) => {
      const step = 0.08 / this.view.zoom;
      const keys = {
        "+": () => this.zoom(1.3), "=": () => this.zoom(1.3), "-": () => this.zoom(1 / 1.3), 0: () => this.fit(),
        ArrowLeft: () => { this.view.x -= step; }, ArrowRight: () => { this.view.x += step; },
        ArrowUp: () => { this.view.y -= step; }, ArrowDown: () => { this.view.y += step; },
        Escape: () => this.choose(null),
      };
      if (!keys[e.key]) return;
      e.preventDefault();
      keys[e.key]();
      this.draw();
    });
  }
}

function ring(c, x, y, r, colour, width, alpha) {
  c.globalAlpha = alpha;
  c.beginPath();
  c.arc(x, y, r, 0, 7);
  c.strokeStyle = colour;
  c.lineWidth = width;
  c.stroke();
  c.globalAlpha = 1;
}

/** States differ in shape as well as in colour. */
function shape(c, state, x, y, r, colour, ground) {
  c.fillStyle = c.strokeStyle = colour;
  c.lineWidth = 2;
  c.beginPath();
  if (state === "dead") {
    const k = Math.max(4, r * 0.8);
    c.moveTo(x - k, y - k); c.lineTo(x + k, y + k); c.moveTo(x + k, y - k); c.lineTo(x - k, y + k);
    c.stroke();
  } else if (state === "frozen") {
    c.rect(x - r, y - r, 2 * r, 2 * r);
    c.fill();
  } else if (state === "joining" || state === "degraded") {
    c.moveTo(x, y - r - 1); c.lineTo(x + r + 1, y + r); c.lineTo(x - r - 1, y + r); c.closePath();
    c.fill();
  } else if (state === "alive") {
    c.arc(x, y, r, 0, 7);
    c.fill();
    c.lineWidth = 1;
    c.strokeStyle = ground;
    c.stroke();
  } else if (state === "suspect") {
    c.arc(x, y, r, 0, 7);
    c.fillStyle = ground;
    c.fill();
    c.stroke();
    c.beginPath();
    c.arc(x, y, r, 1.57, 4.71);
    c.fillStyle = colour;
    c.fill();
  } else {
    c.arc(x, y, r, 0, 7);
    c.fillStyle = ground;
    c.fill();
    c.stroke();
  }
}
