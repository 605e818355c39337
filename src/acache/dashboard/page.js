"use strict";
// Draws what the server sends. Everything goes through textContent: a key is text, whatever it looks like.
const at = id => document.getElementById(id);
const make = (tag, text, kind) => { const e = document.createElement(tag); if (text !== undefined) e.textContent = text; if (kind) e.className = kind; return e; };
const fill = (id, children) => at(id).replaceChildren(...children);
const count = n => n.toLocaleString("en");
const share = x => (100 * x).toFixed(1) + " %";
const clock = s => { const e = make("time", new Date(s * 1000).toLocaleTimeString()); e.dateTime = new Date(s * 1000).toISOString(); return e; };
const span = s => { if (!s) return "–"; for (const [u, f] of [["s", 1], ["ms", 1e-3], ["µs", 1e-6]]) if (Math.abs(s) >= f) return (s / f).toPrecision(3) + " " + u; return Math.round(s * 1e9) + " ns"; };

const KEPT = 120;                 // seconds of timeline
const before = {}, history = {};  // by namespace: the last counts, and what came in each second
let last = null;

function note(cache) {
  const now = cache.stats, then = before[cache.namespace];
  before[cache.namespace] = now;
  const line = history[cache.namespace] ??= [];
  if (!then) return;
  line.push({ loads: Math.max(0, now.loads - then.loads), avoided: Math.max(0, now.coalesced - then.coalesced), hits: Math.max(0, now.hits - then.hits) });
  if (line.length > KEPT) line.shift();
}

function timeline(line) {
  const top = Math.max(1, ...line.map(p => p.loads + p.avoided)), wide = 720 / KEPT, bars = [];
  line.forEach((point, i) => {
    let y = 136;
    for (const kind of ["loads", "avoided"]) {
      const high = 130 * point[kind] / top;
      if (!high) continue;
      const bar = document.createElementNS("http://www.w3.org/2000/svg", "rect");
      y -= high;
      for (const [name, value] of Object.entries({ x: (KEPT - line.length + i) * wide, y, width: wide - 1, height: high })) bar.setAttribute(name, value);
      bar.setAttribute("class", kind === "loads" ? "load" : "avoided");
      bars.push(bar);
    }
  });
  fill("timeline", bars);
  const now = line.at(-1);
  at("rates").textContent = now ? `now ${count(now.hits)} hits, ${count(now.loads)} loads, ${count(now.avoided)} avoided a second; highest ${count(top)}` : "";
}

function tiles(cache) {
  const h = cache.health, s = cache.stats, rows = [
    ["hit ratio", share(s.hit_ratio)], ["hits", count(s.hits)], ["loads", count(s.loads)], ["avoided", count(s.coalesced)],
    ["entries", count(h.entries)], ["evicted", count(s.evictions)], ["loading now", count(h.loading)],
    ["remote store", { none: "none", up: "up", down: "away" }[h.remote], { up: "good", down: "bad" }[h.remote]],
  ];
  if (h.remote !== "none") {
    rows.push(["near copies", h.near_trusted ? "trusted" : "not used", h.near_trusted ? "good" : "warn"]);
    rows.push(["near lag", h.near_lag === null ? "–" : span(h.near_lag)]);
    rows.push(["pending invalidations", count(h.pending_invalidations), h.pending_invalidations ? "bad" : "good"]);
  }
  fill("state", rows.map(([name, value, kind]) => { const d = make("div"); d.append(make("dt", name), make("dd", value, kind)); return d; }));
}

function functions(cache) {
  fill("functions", cache.functions.map(f => {
    const row = make("tr"), name = make("td", f.name), ratio = make("td"), bar = make("meter");
    bar.value = f.hit_ratio; bar.setAttribute("aria-label", "hit ratio of " + f.name);
    ratio.append(bar, share(f.hit_ratio));
    const kind = { "worth it": "good", "costs more than it saves": "bad" }[f.verdict];
    const verdict = make("td", [f.verdict, ...f.warnings].join("; "), f.warnings.length ? "warn" : kind);
    row.append(name, ratio, ...[count(f.hits), count(f.misses), count(f.loads), span(f.load_p50), span(f.load_p99), span(f.time_saved)].map(t => make("td", t)), verdict);
    return row;
  }));
}

const line = (when, ...parts) => { const li = make("li"); li.append(clock(when), ...parts); return li; };

function lists(cache) {
  fill("tags", cache.tags.map(t => line(t.at, `${t.tag} (${count(t.count)}×)`)));
  fill("invalidations", cache.invalidations.map(i => line(i.at, [...i.keys, ...i.tags.map(t => "tag " + t)].join(", ") + (i.more ? ` and ${count(i.more)} more` : ""))));
  fill("troubles", cache.troubles.map(t => line(t.at, make("span", t.what, "warn"), " " + [t.about, t.detail].filter(Boolean).join(": "))));
  fill("guarantees", Object.entries(cache.guarantees).flatMap(([name, text]) => [make("dt", name), make("dd", text)]));
}

function behind(patterns) {
  at("behind").hidden = !patterns.length;
  fill("patterns", patterns.map(p => { const row = make("tr"); row.append(make("td", p.name), make("td", count(p.pending)), make("td", span(p.oldest_age)), make("td", count(p.retrying)), make("td", count(p.dead), p.dead ? "bad" : "good")); return row; }));
  fill("letters", patterns.flatMap(p => p.letters.map(l => line(l.at, `${p.name} ${l.key}: ${l.error} (tried ${l.attempts}×)`))));
}

function draw() {
  if (!last) return;
  const cache = last.caches.find(c => c.namespace === at("cache").value) ?? last.caches[0];
  tiles(cache); timeline(history[cache.namespace]); functions(cache); lists(cache); behind(last.patterns);
}

const stream = new EventSource("events");
stream.onmessage = message => {
  last = JSON.parse(message.data);
  last.caches.forEach(note);
  if (at("cache").options.length !== last.caches.length) fill("cache", last.caches.map(c => new Option(c.namespace, c.namespace)));
  at("choose").hidden = last.caches.length < 2;
  at("live").textContent = last.caches.length < 2 ? `live · ${last.caches[0].namespace}` : "live";
  draw();
};
stream.onerror = () => { at("live").textContent = "reconnecting"; };
at("cache").onchange = draw;

at("explain").onsubmit = async event => {
  event.preventDefault();
  const cache = at("cache").value || last?.caches[0].namespace || "";
  const answer = await fetch("explain?" + new URLSearchParams({ cache, key: at("key").value }));
  const facts = Object.entries(await answer.json()).filter(([, v]) => v !== null && v !== "" && !(Array.isArray(v) && !v.length));
  fill("answer", facts.flatMap(([name, value]) => [make("dt", name.replaceAll("_", " ")), make("dd", Array.isArray(value) ? value.join(", ") : typeof value === "number" && !Number.isInteger(value) ? value.toFixed(3) : String(value))]));
};
