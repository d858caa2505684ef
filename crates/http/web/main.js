// The page: items of the stream go to the views, and actions of the user go to the server.

import { ask, follow, mayChange, send, takeToken } from "./live.js";
import { Graph, STATES, stateOf } from "./graph.js";
import * as charts from "./charts.js";
import { Feed, Members, clock, death, el, stateCell } from "./tables.js";

const $ = (id) => document.getElementById(id);
const SPAN = 120;
const state = { network: null, degrees: null, rates: [], chosen: null, message: null, names: new Map(), mayAct: false };

takeToken();
theme();
tabs();

const graph = new Graph($("graph"), {
  choose: (p) => choose(p?.id ?? null),
  hover: (p, at) => {
    const tip = $("tip");
    tip.hidden = !p;
    if (!p) return;
    tip.textContent = `${p.name} · ${p.state} · ${p.degree} of ${p.target} neighbours`;
    tip.style.left = `${Math.min(at[0] + 12, $("graph").clientWidth - 160)}px`;
    tip.style.top = `${at[1] + 14}px`;
  },
});
const members = new Members($("member-table"), { filter: $("filter"), state: $("filter-state"), count: $("members-count"), choose: (id) => { choose(id, true); open("network"); } });
const feed = new Feed($("feed"), { paused: $("pause"), choose: (id) => showMessage(id), name: (id) => nameOf(id) });
const nameOf = (id) => state.names.get(id) ?? id.slice(0, 8);
const living = () => state.network?.peers.filter((p) => p.here && ["alive", "suspect", "degraded"].includes(p.state)) ?? [];
// For measurements and tests: the state of the page, and the time that drawing took.
window.rumor = { state, graph };

legend();
actions();
setInterval(() => feed.draw(living().length), 250);

follow((name, data) => {
  const handle = items[name];
  if (handle) handle(data);
}, (word, why) => {
  const link = $("link");
  link.dataset.state = word;
  link.textContent = word === "live" ? "live" : `no connection: ${why ?? ""}; trying again`;
  if (word === "live") { state.rates = []; }
});

const items = {
  network(network) {
    state.network = network;
    state.names = new Map(network.peers.map((p) => [p.id, p.name]));
    graph.show(network);
    members.show(network.peers);
    figures();
    seeds();
    if (state.chosen) drawChosen();
    publishers();
  },
  degrees(data) {
    state.degrees = data;
    $("degrees").replaceChildren(charts.degrees(data));
    const f = data.fit;
    $("degrees-fit").textContent = f
      ? `${f.n} peers. Power law from ${f.bounded_xmin} to ${f.bounded_xmax}: exponent ${f.bounded_alpha.toFixed(2)} ± ${f.bounded_alpha_error.toFixed(2)}, Kolmogorov–Smirnov ${f.bounded_ks.toFixed(3)}.`
      : `No law fitted: ${data.unfit}.`;
  },
  rates(r) {
    state.rates.push(r);
    if (state.rates.length > 400) state.rates.shift();
    if (r.over_s > 0) $("figure-rate").textContent = charts.short(r.delivered / r.over_s);
    if (r.latency_ms) $("figure-delay").textContent = `${charts.short(r.latency_ms[0])} ms`;
    if (!$("rates").hidden) drawRates();
  },
  message(m) { feed.add(m); },
  arrivals(all) {
    const visible = !$("network").hidden && !document.hidden;
    for (const a of all) {
      feed.arrived(a);
      if (visible) graph.arrive(a);
    }
    if (state.message && all.some((a) => a.message === state.message)) soon();
  },
  left_out(n) { notice(`There are too many messages to show all: ${n} arrivals were left out just now. The rates count all of them.`); },
  lagged({ missing }) { notice(`This page was too slow: ${missing} items of the stream were missed.`); },
};

let noticeGone;
function notice(text) {
  const p = $("notice");
  p.textContent = text;
  p.hidden = false;
  clearTimeout(noticeGone);
  noticeGone = setTimeout(() => { p.hidden = true; }, 8000);
}

function figures() {
  const { peers, links, components, scope } = state.network;
  const count = (...states) => peers.filter((p) => states.includes(p.state)).length;
  $("figure-peers").textContent = count("alive", "suspect", "degraded", "joining", "frozen");
  $("figure-links").textContent = links.length;
  $("figure-parts").textContent = components || "–";
  $("figure-dead").textContent = count("dead");
  $("scope").textContent = { network: "the whole network", peer: "the view of one peer", seed: "the registry of a seed" }[scope];
  const nothing = $("nothing");
  nothing.hidden = peers.some((p) => p.at);
  nothing.textContent = peers.length ? "A seed knows the members, but not their links: see Members." : "No peers yet.";
}

let seedsShown;
function seeds() {
  const key = JSON.stringify([state.mayAct, state.network.seeds]);
  if (key === seedsShown) return;
  seedsShown = key;
  $("seeds").replaceChildren(...state.network.seeds.map((s) => {
    const word = !s.connected ? "not reached" : s.synced ? "synced" : "not synced yet";
    const li = el("li", {}, `${s.connected && s.synced ? "●" : "○"} ${s.name} `, el("span", { class: "quiet", text: `${word}${s.alive === null ? "" : `, ${s.alive} peers`}` }));
    if (state.mayAct && s.here && s.id) li.append(" ", button("Kill", () => act({ do: "kill", node: s.id })));
    return li;
  }));
}

function choose(id, move = false) {
  state.chosen = id;
  members.chosen = id;
  graph.select(id, move);
  drawChosen();
}

function drawChosen() {
  const box = $("chosen"), p = state.network?.peers.find((q) => q.id === state.chosen);
  if (!p) { box.replaceChildren(el("p", { class: "quiet", text: "Choose a peer in the graph or in the table." })); return; }
  const at = state.network.peers.indexOf(p);
  const neighbours = state.network.links.filter(([a, b]) => a === at || b === at).map(([a, b]) => state.network.peers[a === at ? b : a]);
  const pairs = el("dl", { class: "pairs" });
  const add = (term, value) => value !== "" && value !== null && pairs.append(el("dt", { text: term }), el("dd", {}, value));
  add("name", p.name);
  add("state", stateCell(p.state));
  add("neighbours", `${p.degree} of ${p.target}`);
  add("rtt", p.rtt_ms === null ? "" : `${p.rtt_ms.toFixed(2)} ms`);
  add("incarnation", String(p.incarnation));
  add("address", p.address);
  add("id", p.id);
  add("death", death(p));
  const list = el("p", { class: "quiet" });
  neighbours.slice(0, 40).forEach((q, i) => list.append(i ? ", " : "with ", button(q.name, () => choose(q.id, true), "plain-link")));
  // The buttons stay while figures change, because the user may be about to press one.
  const key = [p.id, p.here, state.mayAct, p.state === "frozen"].join();
  let row = box.querySelector(".row");
  if (row?.dataset.key === key) {
    box.replaceChild(pairs, box.querySelector(":scope > .pairs"));
    box.replaceChild(list, box.querySelector(":scope > .quiet"));
    return;
  }
  row = el("div", { class: "row" });
  row.dataset.key = key;
  if (state.mayAct && p.here) {
    row.append(button("Kill", () => act({ do: "kill", node: p.id })));
    row.append(p.state === "frozen" ? button("Resume", () => act({ do: "thaw", node: p.id })) : button("Freeze", () => act({ do: "freeze", node: p.id })));
  }
  box.replaceChildren(pairs, list, row);
}

function button(text, run, kind) {
  const b = el("button", { type: "button", text, class: kind });
  b.addEventListener("click", run);
  return b;
}

async function act(action) {
  try { await send("/v1/network/acts", action); } catch (e) { notice(e.message); }
}

async function possible() {
  const { acts } = mayChange() ? await ask("/v1/network/acts").catch(() => ({ acts: [] })) : { acts: [] };
  state.mayAct = acts.length > 0;
  $("add").hidden = !state.mayAct;
  const cut = $("cut");
  cut.hidden = !state.mayAct;
  cut.dataset.act = acts.includes("heal") ? "heal" : "cut";
  cut.textContent = acts.includes("heal") ? "End partition" : "Partition";
}

async function actions() {
  await possible();
  $("add").addEventListener("click", () => act({ do: "add" }));
  $("cut").addEventListener("click", async (e) => { await act({ do: e.target.dataset.act }); await possible(); });
  $("publish").hidden = !mayChange();
  $("publish").addEventListener("submit", async (e) => {
    e.preventDefault();
    try {
      const by = $("publish-by").value;
      const { id } = await send(`/v1/nodes/${by}/publish`, { topic: $("publish-topic").value, text: $("publish-text").value });
      $("publish-text").value = "";
      setTimeout(() => showMessage(id), 150);
    } catch (error) { notice(error.message); }
  });
}

function publishers() {
  const select = $("publish-by"), here = living(), ids = here.map((p) => p.id).join();
  if (ids === select.dataset.ids) return;
  const had = select.value;
  select.dataset.ids = ids;
  select.replaceChildren(...here.map((p) => el("option", { value: p.id, text: p.name })));
  if (here.some((p) => p.id === had)) select.value = had;
}

let waiting;
function soon() { waiting ??= setTimeout(() => { waiting = null; if (state.message) showMessage(state.message); }, 300); }

async function showMessage(id) {
  state.message = id;
  feed.chosen = id;
  feed.mark();
  const box = $("spread");
  try {
    const s = await ask(`/v1/network/messages/${id}`);
    if (state.message !== id) return;
    const after = s.arrivals.map((a) => a.after_us / 1000).sort((a, b) => a - b);
    const peers = s.arrivals.length + s.missing.length;
    const hops = s.arrivals.map((a) => a.hops);
    const pairs = el("dl", { class: "pairs" });
    const add = (term, value) => pairs.append(el("dt", { text: term }), el("dd", { text: value }));
    add("by", nameOf(s.publisher));
    add("published", clock(s.published_us));
    add("text", s.text ?? `(${s.bytes} bytes)`);
    add("reached", `${s.arrivals.length} of ${peers} (${((100 * s.arrivals.length) / Math.max(1, peers)).toFixed(0)} %)`);
    add("last after", `${charts.short(after.at(-1) ?? 0)} ms`);
    add("hops", hops.length ? `${Math.max(...hops)} at most, ${(hops.reduce((a, b) => a + b, 0) / hops.length).toFixed(1)} on average` : "–");
    add("duplicates", String(s.duplicates));
    if (s.missing.length) add("missing at", s.missing.join(", "));
    const show = button("Show its path in the graph", () => { graph.light(s.arrivals); $("clear-path").hidden = false; open("network"); });
    box.replaceChildren(charts.spread(after, peers), pairs, show);
    if (graph.path) graph.light(s.arrivals);
  } catch (e) { box.replaceChildren(el("p", { class: "quiet", text: e.message })); }
}

function drawRates() {
  const now = state.rates.at(-1)?.at_us ?? 0;
  const recent = state.rates.filter((r) => now - r.at_us < SPAN * 1e6 && r.over_s > 0);
  const line = (name, colour, of, dash) => ({ name, colour, dash, points: recent.map((r) => [(now - r.at_us) / 1e6, of(r)]).filter((p) => p[1] !== null) });
  const bytes = (c) => (r) => (r.bytes_out[c] ?? 0) / r.over_s;
  const delay = (i) => (r) => r.latency_ms?.[i] ?? null;
  $("rate-charts").replaceChildren(
    charts.overTime("Messages", "a second", [line("delivered", "var(--alive)", (r) => r.delivered / r.over_s), line("duplicates", "var(--suspect)", (r) => r.duplicates / r.over_s, "5 3")]),
    charts.overTime("Bytes written", "a second", [line("payload", "var(--alive)", bytes("payload")), line("history", "var(--joining)", bytes("history"), "7 3"), line("announcements", "var(--suspect)", bytes("announce"), "4 3"), line("control", "var(--gone)", bytes("control"), "2 2")]),
    charts.overTime("Delay", "ms", [line("50 %", "var(--alive)", delay(0)), line("90 %", "var(--joining)", delay(1), "5 3"), line("99 %", "var(--dead)", delay(2), "2 2")]),
    charts.overTime("Free part of the fullest send window", "%", [line("free", "var(--alive)", (r) => (r.headroom === null ? null : r.headroom * 100))]),
  );
  const drops = new Map();
  for (const r of recent) for (const [k, n] of Object.entries(r.drops)) drops.set(k, (drops.get(k) ?? 0) + n);
  $("drops").replaceChildren(...(drops.size ? [...drops].sort().map(([k, n]) => el("tr", {}, el("td", { text: k }), el("td", { class: "num", text: n }))) : [el("tr", {}, el("td", { text: "nothing" }), el("td", { class: "num", text: "0" }))]));
}

function legend() {
  const shown = ["alive", "suspect", "dead", "frozen", "joining", "left"];
  $("legend").replaceChildren(...shown.map((s) => {
    const li = el("li", { text: s, title: STATES[s].words, "data-mark": stateOf(s).mark });
    li.style.setProperty("--c", `var(${STATES[s].colour})`);
    return li;
  }), el("li", { text: "tree link", "data-mark": "━" }), el("li", { text: "lazy link", "data-mark": "┄" }));
  $("search").addEventListener("input", (e) => graph.find(e.target.value));
  $("search").addEventListener("keydown", (e) => { if (e.key === "Enter") { const [first] = graph.find(e.target.value); if (first) choose(first, true); } });
  $("zoom-in").addEventListener("click", () => graph.zoom(1.4));
  $("zoom-out").addEventListener("click", () => graph.zoom(1 / 1.4));
  $("zoom-fit").addEventListener("click", () => graph.fit());
  const clear = button("Show all again", () => { graph.light(null); clear.hidden = true; });
  clear.id = "clear-path";
  clear.hidden = true;
  document.querySelector(".tools").append(clear);
}

function open(name) { document.getElementById(`tab-${name}`).click(); }

function tabs() {
  const all = [...document.querySelectorAll("[role=tab]")];
  const show = (tab) => {
    for (const t of all) {
      const on = t === tab;
      t.setAttribute("aria-selected", on ? "true" : "false");
      t.tabIndex = on ? 0 : -1;
      $(t.getAttribute("aria-controls")).hidden = !on;
    }
    if (tab.id === "tab-members") members.draw();
    if (tab.id === "tab-rates") drawRates();
  };
  for (const [i, tab] of all.entries()) {
    tab.addEventListener("click", () => show(tab));
    tab.addEventListener("keydown", (e) => {
      const next = { ArrowRight: i + 1, ArrowLeft: i - 1, Home: 0, End: all.length - 1 }[e.key];
      if (next === undefined) return;
      e.preventDefault();
      const to = all[(next + all.length) % all.length];
      to.focus();
      show(to);
    });
  }
}

function theme() {
  const button = $("theme"), next = { system: "dark", dark: "light", light: "system" };
  let now = localStorage.getItem("rumor-theme") ?? "system";
  const apply = () => {
    if (now === "system") delete document.documentElement.dataset.theme;
    else document.documentElement.dataset.theme = now;
    button.textContent = `theme: ${now}`;
    window.rumor?.graph.recolour();
  };
  button.addEventListener("click", () => { now = next[now]; localStorage.setItem("rumor-theme", now); apply(); });
  apply();
}
