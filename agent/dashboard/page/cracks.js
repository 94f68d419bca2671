// All cracks: sorted, filtered, looked at, judged.
import { html, useEffect, useLayoutEffect, useMemo, useRef, useState } from "./vendor/preact-htm/standalone.module.js";
import { store } from "./store.js";
import { go } from "./nav.js";
import { badness, compare, intervalOf, KINDS, lengthOf, percent, placeOf, plain, plural, SEVERITIES, short, widthOf } from "./format.js";
import { Detail } from "./detail.js";
import { Severity } from "./severity.js";
import { Table } from "./table.js";

const VERDICTS = ["to review", "confirmed", "rejected", "unsure", "merged"];
const kept = { sort: { key: "severity", down: true }, text: "", severities: [], kind: "crack", verdict: "", gradable: false }; // over visits
let ordered = { version: -1, key: null, flight: null, rows: [] }; // by the column that was asked for last

const verdictOf = (c) => (c.review?.merged_into ? "merged" : c.review?.verdict ?? "to review");

function Width({ crack }) {
  const ends = intervalOf(crack);
  const value = crack.width_mm ?? crack.width_px;
  const unit = crack.width_mm !== null ? [0.05, 20] : [0.5, 100];
  const x = (v) => Math.min(100, Math.max(0, (100 * Math.log(Math.max(v, 1e-6) / unit[0])) / Math.log(unit[1] / unit[0])));
  return html`<span class="figure">${widthOf(crack)}</span>${value !== null && html`<svg class="spread" viewBox="0 0 100 8" preserveAspectRatio="none" aria-hidden="true">
    <path class="axis" d="M0 4H100"/>${ends && html`<path class="ends" d="M${x(ends[0]).toFixed(1)} 4H${x(ends[1]).toFixed(1)}"/>`}
    <path class="at" d="M${x(value).toFixed(1)} 0V8"/></svg>`}`;
}

const COLUMNS = [
  { key: "severity", title: "Severity", value: (c) => badness(c), cell: (c) => html`<${Severity} crack=${c}/>` },
  { key: "id", title: "Crack", value: (c) => [c.crack_id], cell: (c) => html`<code>${short(c.crack_id)}</code>` },
  { key: "width", title: "Width", value: (c) => [c.width_mm ?? -1, c.width_px ?? -1], cell: (c) => html`<${Width} crack=${c}/>` },
  { key: "length", title: "Length", value: (c) => [c.length_mm ?? -1, c.length_px], cell: (c) => html`<span class="figure">${lengthOf(c)}</span>` },
  { key: "confidence", title: "Sure", value: (c) => [c.confidence], cell: (c) => html`<span class="figure">${percent(c.confidence)}</span>` },
  { key: "place", title: "Place", value: (c) => [c.chainage_m ?? c.lat ?? c.x_mm ?? -1e9, c.y_mm ?? 0], cell: (c) => html`<span class="figure">${placeOf(c)}</span>` },
  { key: "seen", title: "Seen", value: (c) => [c.sightings], cell: (c) => html`<span class="figure">${c.sightings} of ${Math.max(c.in_view, c.sightings)}</span>` },
  { key: "frame", title: "Frame", value: (c) => [c.frame], cell: (c) => html`<span class="figure">${plain(c.frame_name)}</span>` },
  { key: "review", title: "Review", value: (c) => [VERDICTS.indexOf(verdictOf(c))], cell: (c) => html`<span class="verdict ${verdictOf(c).replace(" ", "-")}">${verdictOf(c) === "to review" ? "–" : verdictOf(c)}${c.review?.notes ? ` · ${c.review.notes}` : ""}</span>` },
];

function sorted(sort) {
  const { version, key } = store;
  if (ordered.version !== version || ordered.key !== sort.key || ordered.flight !== key) {
    const value = COLUMNS.find((c) => c.key === sort.key).value;
    const rows = [...store.cracks.values()].map((crack) => [value(crack), crack]);
    rows.sort((a, b) => compare(a[0], b[0]) || compare([a[1].frame], [b[1].frame]));
    ordered = { version, key: sort.key, flight: key, rows: rows.map(([, crack]) => crack) };
  }
  return sort.down ? ordered.rows.slice().reverse() : ordered.rows;
}

export function Cracks({ id }) {
  const [filter, setFilter] = useState(kept);
  const [selected, setSelected] = useState(id);
  const search = useRef(null);
  const rowHeight = matchMedia("(max-width: 640px)").matches ? 64 : 44;
  const set = (change) => {
    Object.assign(kept, change);
    setFilter({ ...kept });
  };
  useEffect(() => { if (id) setSelected(id); }, [id]);

  const counts = useMemo(() => {
    const found = { severity: {}, kind: {} };
    for (const c of store.cracks.values()) {
      found.kind[c.kind] = (found.kind[c.kind] ?? 0) + 1;
      if (c.kind === "crack") found.severity[c.severity] = (found.severity[c.severity] ?? 0) + 1;
    }
    return found;
  }, [store.version, store.key]);

  const rows = useMemo(() => {
    const words = filter.text.toLowerCase().split(/\s+/).filter(Boolean);
    const fits = (c) => (filter.kind === "" || c.kind === filter.kind)
      && (filter.severities.length === 0 || filter.severities.includes(c.severity))
      && (filter.verdict === "" || verdictOf(c) === filter.verdict)
      && (!filter.gradable || c.gradable)
      && words.every((word) => `${c.crack_id} ${c.frame_name} ${c.camera} ${c.severity_class ?? ""} ${c.not_gradable_reason ?? ""}`.toLowerCase().includes(word));
    return sorted(filter.sort).filter(fits);
  }, [filter, store.version, store.key]);

  const open = (crack) => { setSelected(crack); go("cracks", crack); };
  const select = (crack) => { setSelected(crack); if (id) go("cracks", crack); };
  useLayoutEffect(() => { // with the picture, not after it: a key pressed at once means what is seen
    const key = (event) => {
      if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest("input, textarea, select")) return;
      const at = rows.findIndex((c) => c.crack_id === selected);
      if (event.key === "/") { event.preventDefault(); search.current.focus(); }
      else if (event.key === "Escape" && id) go("cracks");
      else if (event.target.closest(".table")) return;
      else if (event.key === "j" && rows[at + 1]) select(rows[at + 1].crack_id);
      else if (event.key === "k" && rows[at - 1]) select(rows[at - 1].crack_id);
      else if (event.key === "Enter" && selected && !event.target.closest("button, a")) open(selected);
    };
    addEventListener("keydown", key);
    return () => removeEventListener("keydown", key);
  }, [rows, selected, id]);

  const sort = (key) => set({ sort: { key, down: filter.sort.key === key ? !filter.sort.down : key !== "id" && key !== "frame" } });
  const turn = (severity) => set({ severities: filter.severities.includes(severity) ? filter.severities.filter((s) => s !== severity) : [...filter.severities, severity] });
  const kinds = KINDS.filter((kind) => counts.kind[kind]);
  const all = store.cracks.size;
  return html`<div class="split ${id ? "open" : ""}">
    <section class="list" aria-label="Cracks">
      <div class="filters">
        <input ref=${search} type="search" placeholder="Id, frame, camera, class" aria-label="Search" value=${filter.text} onInput=${(e) => set({ text: e.target.value })}
          onKeyDown=${(e) => e.key === "Escape" && e.target.blur()}/>
        <div class="chips" role="group" aria-label="Severity">${SEVERITIES.filter((s) => counts.severity[s]).map((s) => html`
          <button key=${s} class="chip ${s}" aria-pressed=${filter.severities.includes(s) ? "true" : "false"} onClick=${() => turn(s)}><i></i>${s} <b>${counts.severity[s]}</b></button>`)}
          <button class="chip" aria-pressed=${filter.gradable ? "true" : "false"} onClick=${() => set({ gradable: !filter.gradable })}>width known</button></div>
        <select aria-label="Kind" value=${filter.kind} onChange=${(e) => set({ kind: e.target.value })}>
          <option value="">all kinds (${all})</option>${kinds.map((kind) => html`<option key=${kind} value=${kind} selected=${kind === filter.kind}>${plural(counts.kind[kind], kind)}</option>`)}</select>
        <select aria-label="Review" value=${filter.verdict} onChange=${(e) => set({ verdict: e.target.value })}>
          <option value="">any review</option>${VERDICTS.map((v) => html`<option key=${v} value=${v} selected=${v === filter.verdict}>${v}</option>`)}</select>
        <output id="shown">${rows.length === all ? plural(all, "find") : `${rows.length} of ${plural(all, "find")}`}</output>
      </div>
      <${Table} label="Cracks" columns=${COLUMNS} rows=${rows} rowHeight=${rowHeight} selected=${selected} onSelect=${select} onOpen=${open} sort=${filter.sort} onSort=${sort}/>
      ${rows.length === 0 && html`<p class="empty">${all ? "Nothing fits the filters." : store.counts.complete ? "No cracks were found. What was not seen stands under Flight." : "No cracks so far."}</p>`}
    </section>
    ${id && html`<${Detail} key=${id} id=${id}/>`}
  </div>`;
}
