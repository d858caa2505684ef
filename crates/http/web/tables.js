// Tables: the members, the messages, and the details of one of them.

import { stateOf } from "./graph.js";
import { short } from "./charts.js";

/** An element with text; content from the network is only ever text. */
export function el(name, { text, ...more } = {}, ...children) {
  const e = document.createElement(name);
  if (text !== undefined && text !== null) e.textContent = text;
  for (const [k, v] of Object.entries(more)) if (v !== undefined && v !== null && v !== false) e.setAttribute(k, v === true ? "" : v);
  e.append(...children);
  return e;
}

export const clock = (us) => (us ? new Date(us / 1000).toLocaleTimeString() : "");

export function stateCell(state) {
  const s = stateOf(state);
  const span = el("span", { class: "state", text: `${s.mark} ${state}`, title: s.words });
  span.style.setProperty("--c", `var(${s.colour})`);
  return span;
}

const COLUMNS = [
  { name: "name", of: (p) => p.name },
  { name: "state", of: (p) => p.state, show: (p) => stateCell(p.state) },
  { name: "degree", num: true, of: (p) => p.degree, show: (p) => `${p.degree}` },
  { name: "target", num: true, of: (p) => p.target },
  { name: "rtt, ms", num: true, of: (p) => p.rtt_ms ?? -1, show: (p) => (p.rtt_ms === null ? "" : p.rtt_ms.toFixed(2)) },
  { name: "incarnation", num: true, of: (p) => p.incarnation },
  { name: "address", of: (p) => p.address },
  { name: "death: witnesses, seeds", wide: true, of: (p) => p.witnesses.length, show: (p) => death(p) },
  { name: "id", of: (p) => p.id, show: (p) => p.id.slice(0, 8) },
];

export function death(p) {
  if (!p.witnesses.length) return "";
  const when = p.found_us ? `seen ${clock(p.found_us)}: ` : "";
  return `${when}accused by ${p.witnesses.join(", ")}; agreed by ${p.seeds.length} seeds (${p.seeds.join(", ")})`;
}

export class Members {
  constructor(table, { filter, state, count, choose }) {
    Object.assign(this, { table, filter, state, count, choose });
    this.peers = []; this.by = 0; this.down = false; this.chosen = null;
    const row = table.tHead.rows[0];
    COLUMNS.forEach((column, i) => {
      const button = el("button", { type: "button", text: column.name });
      button.addEventListener("click", () => { this.down = this.by === i ? !this.down : column.num === true; this.by = i; this.draw(); });
      row.append(el("th", { class: column.num ? "num" : null, scope: "col" }, button));
    });
    filter.addEventListener("input", () => this.draw());
    state.addEventListener("change", () => this.draw());
    table.tBodies[0].addEventListener("click", (e) => this.pick(e.target.closest("tr")));
    table.tBodies[0].addEventListener("keydown", (e) => {
      const row = e.target.closest("tr");
      if (e.key === "Enter") this.pick(row);
      if (e.key === "ArrowDown") row.nextElementSibling?.focus();
      if (e.key === "ArrowUp") row.previousElementSibling?.focus();
    });
  }

  pick(row) { if (row) this.choose(row.dataset.id); }

  show(peers) {
    this.peers = peers;
    const states = [...new Set(peers.map((p) => p.state))].sort();
    const had = this.state.value;
    if (states.join() !== this.states) {
      this.states = states.join();
      this.state.replaceChildren(el("option", { value: "", text: "all" }), ...states.map((s) => el("option", { value: s, text: s })));
      this.state.value = states.includes(had) ? had : "";
    }
    if (this.table.offsetParent) this.draw();
  }

  draw() {
    const wanted = this.filter.value.trim().toLowerCase(), state = this.state.value, column = COLUMNS[this.by];
    const fits = (p) => (!state || p.state === state) && (!wanted || [p.name, p.id, p.address].some((t) => t.toLowerCase().includes(wanted)));
    const rows = this.peers.filter(fits).sort((a, b) => {
      const [x, y] = [column.of(a), column.of(b)];
      const order = x < y ? -1 : x > y ? 1 : a.id < b.id ? -1 : 1;
      return this.down ? -order : order;
    });
    this.table.tHead.querySelectorAll("th").forEach((th, i) => th.setAttribute("aria-sort", i !== this.by ? "none" : this.down ? "descending" : "ascending"));
    this.count.textContent = `${rows.length} of ${this.peers.length}`;
    const focused = document.activeElement?.dataset?.id;
    this.table.tBodies[0].replaceChildren(...rows.map((p) => {
      const tr = el("tr", { tabindex: 0, "data-id": p.id, "aria-selected": p.id === this.chosen ? "true" : "false" });
      for (const c of COLUMNS) {
        const shown = c.show ? c.show(p) : String(c.of(p) ?? "");
        tr.append(el("td", { class: c.num ? "num" : c.wide ? "text" : null }, shown));
      }
      return tr;
    }));
    if (focused) this.table.tBodies[0].querySelector(`tr[data-id="${focused}"]`)?.focus({ preventScroll: true });
  }
}

const MOST = 200;

export class Feed {
  constructor(body, { paused, choose, name }) {
    Object.assign(this, { body, paused, choose, name });
    this.all = new Map(); this.chosen = null; this.dirty = new Set();
    body.addEventListener("click", (e) => this.pick(e.target.closest("tr")));
    body.addEventListener("keydown", (e) => { if (e.key === "Enter") this.pick(e.target.closest("tr")); });
  }

  pick(row) { if (row) { this.chosen = row.dataset.id; this.mark(); this.choose(this.chosen); } }

  mark() { for (const tr of this.body.rows) tr.setAttribute("aria-selected", tr.dataset.id === this.chosen ? "true" : "false"); }

  add(m) {
    if (this.all.has(m.id)) return;
    this.all.set(m.id, { ...m, last: m.last_us });
    while (this.all.size > MOST) {
      const [oldest] = this.all.keys();
      this.all.delete(oldest);
      this.body.querySelector(`tr[data-id="${oldest}"]`)?.remove();
    }
    this.dirty.add(m.id);
  }

  arrived(a) {
    const m = this.all.get(a.message);
    if (!m) return;
    m.reached += 1;
    m.last = Math.max(m.last, a.after_us);
    this.dirty.add(m.id);
  }

  draw(peers) {
    if (this.paused.checked || !this.body.offsetParent) return;
    for (const id of this.dirty) {
      const m = this.all.get(id);
      if (!m) continue;
      let tr = this.body.querySelector(`tr[data-id="${id}"]`);
      if (!tr) {
        tr = el("tr", { tabindex: 0, "data-id": id, "aria-selected": "false" });
        for (const [text, kind] of [[clock(m.published_us)], [this.name(m.publisher)], [m.topic], [m.text ?? "(not text)", "text"], [String(m.bytes), "num"], ["", "num"], ["", "num"]]) tr.append(el("td", { class: kind, text }));
        this.body.prepend(tr);
      }
      tr.cells[5].textContent = `${m.reached}/${peers}`;
      tr.cells[6].textContent = short(m.last / 1000);
    }
    this.dirty.clear();
  }
}
