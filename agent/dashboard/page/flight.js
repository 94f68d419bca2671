// The flight as a whole: how many, how bad, and what was not seen.
import { html, useMemo } from "./vendor/preact-htm/standalone.module.js";
import { store } from "./store.js";
import { go } from "./nav.js";
import { area, badness, compare, lengthOf, number, plain, plural, SEVERITIES, short, widthOf } from "./format.js";
import { Severity } from "./severity.js";

const EDGES = { mm: [0.1, 0.2, 0.3, 0.5, 1, 2, 5, 10], px: [1, 2, 3, 5, 10, 20, 50] };

function histogram(values, edges) {
  const bins = edges.map(() => 0).concat(0);
  for (const value of values) {
    const at = edges.findIndex((edge) => value < edge);
    bins[at < 0 ? edges.length : at] += 1;
  }
  const label = (i) => (i === 0 ? `< ${edges[0]}` : i === edges.length ? `≥ ${edges.at(-1)}` : `${edges[i - 1]}–${edges[i]}`);
  const [first, last] = [bins.findIndex(Boolean), bins.findLastIndex(Boolean)];
  return first < 0 ? [] : bins.map((count, i) => [label(i), count]).slice(first, last + 1);
}

const Bars = ({ rows, name, tones }) => {
  const most = Math.max(1, ...rows.map(([, count]) => count));
  return html`<ul class="bars" data-of=${name}>${rows.map(([label, count]) => html`<li key=${label}><span>${label}</span><i><u class=${tones ? label : ""} style=${{ width: `${(100 * count) / most}%` }}></u></i><b>${count}</b></li>`)}</ul>`;
};

const Figure = ({ title, value, note, id }) => html`<div class="tile"><span>${title}</span><b id=${id}>${value}</b>${note && html`<em>${note}</em>`}</div>`;

export function Flight() {
  const { flight, version, key, counts } = store;
  const found = useMemo(() => {
    const all = [...store.cracks.values()];
    const cracks = all.filter((c) => c.kind === "crack");
    const rejected = cracks.filter((c) => c.review?.verdict === "rejected").length;
    const merged = cracks.filter((c) => c.review?.merged_into).length;
    const kinds = {};
    for (const c of all) if (c.kind !== "crack") kinds[c.kind] = (kinds[c.kind] ?? 0) + 1;
    const reasons = {};
    for (const c of cracks) if (!c.gradable) reasons[c.not_gradable_reason ?? "no reason given"] = (reasons[c.not_gradable_reason ?? "no reason given"] ?? 0) + 1;
    return {
      cracks, kinds, rejected, merged, reasons,
      length: cracks.reduce((sum, c) => sum + (c.length_mm ?? 0), 0) / 1000,
      unscaled: cracks.filter((c) => c.length_mm === null).length,
      severities: SEVERITIES.map((s) => [s, cracks.filter((c) => c.severity === s).length]).filter(([, n]) => n),
      widths: histogram(cracks.map((c) => c.width_mm).filter((w) => w !== null), EDGES.mm),
      pixels: histogram(cracks.filter((c) => c.scale_mm_px === null).map((c) => c.width_px).filter((w) => w !== null), EDGES.px),
      worst: cracks.map((c) => [badness(c), c]).sort((a, b) => compare(b[0], a[0])).slice(0, 10).map(([, c]) => c),
    };
  }, [version, key]);
  if (!flight) return html`<p class="empty">There is no flight yet.</p>`;
  const { header, coverage, reasons } = flight;
  const others = Object.entries(found.kinds).map(([kind, n]) => plural(n, kind)).join(", ");
  const standard = found.cracks.find((c) => c.severity_standard)?.severity_standard;
  return html`<div class="flight-grid">
    <div class="tiles wide">
      <${Figure} title="Cracks" value=${found.cracks.length} id="f-cracks" note=${others ? `and ${others}` : null}/>
      <${Figure} title="Length" value="${number(found.length)} m" id="f-length" note=${found.unscaled ? `${found.unscaled} without a scale` : null}/>
      <${Figure} title="Frames" value=${counts.frames} id="f-frames" note=${counts.skipped ? `${counts.skipped} skipped` : "none skipped"}/>
      <${Figure} title="With finds" value=${counts.with_cracks}/>
      <${Figure} title="Inspected" value=${area(coverage?.inspected_m2)} id="f-inspected"/>
      <${Figure} title="Reviewed" value=${found.cracks.filter((c) => c.review?.verdict || c.review?.merged_into).length} note=${[found.rejected && `${found.rejected} rejected`, found.merged && `${found.merged} merged`].filter(Boolean).join(", ") || null}/>
    </div>
    <div class="stack"><section class="card"><h2>Severity</h2>${found.severities.length ? html`<${Bars} rows=${found.severities} name="severity" tones=${true}/>` : html`<p class="empty">No cracks.</p>`}
      <p class="quietly">${standard ? `By ${plain(standard)}.` : "Not graded: set severity.standard and severity.category."}</p></section>
    <section class="card"><h2>Width <span class="between">95th percentile, ${found.widths.length ? "mm" : "px"}</span></h2><${Bars} rows=${found.widths.length ? found.widths : found.pixels} name="width"/>
      ${Object.keys(found.reasons).length > 0 && html`<h3>Widths that the picture does not tell</h3><ul class="plainly">${Object.entries(found.reasons).sort((a, b) => b[1] - a[1]).slice(0, 6).map(([why, n]) => html`<li key=${why}><b>${n}</b> ${plain(why)}</li>`)}</ul>`}</section>
    <section class="card"><h2>Worst ten</h2><ol class="worst">${found.worst.map((c) => html`<li key=${c.crack_id}><button onClick=${() => go("cracks", c.crack_id)}><${Severity} crack=${c}/><code>${short(c.crack_id)}</code><span class="figure">${widthOf(c)}</span><span class="figure">${lengthOf(c)}</span></button></li>`)}</ol></section>
    <section class="card"><h2>Gaps <span class="between">what was not seen</span></h2>
      ${coverage ? html`<dl class="facts"><div><dt>Seen, not gradable</dt><dd>${area(coverage.not_gradable_m2)}</dd></div><div><dt>Never seen</dt><dd>${area(coverage.never_seen_m2)}${coverage.target ? " of the target" : " enclosed"}</dd></div>
        <div><dt>Blurred</dt><dd>${area(coverage.not_gradable_blur_m2)}</dd></div><div><dt>Too dark, too bright</dt><dd>${area(coverage.not_gradable_dark_m2)}, ${area(coverage.not_gradable_bright_m2)}</dd></div>
        <div><dt>Narrowest crack that could be found</dt><dd>${coverage.smallest_width_mm === null ? "unknown" : `${number(coverage.smallest_width_mm)} mm, at worst ${number(coverage.smallest_width_worst_mm)} mm`}</dd></div>
        <div><dt>Frames without a scale</dt><dd>${coverage.unscaled_frames}</dd></div></dl>` : html`<p class="quietly">${counts.complete ? "The record holds no coverage." : "Coverage is written when the flight ends."}</p>`}
      ${Object.keys(reasons).length > 0 && html`<h3>Frames that were skipped</h3><ul class="plainly">${Object.entries(reasons).map(([why, n]) => html`<li key=${why}><b>${n}</b> ${plain(why)}</li>`)}</ul>`}
      ${counts.faults > 0 && html`<p class="warn">${plural(counts.faults, "line")} of the record could not be read.</p>`}</section>
    <section class="card"><h2>What was run</h2><dl class="facts">
      <div><dt>Mission</dt><dd class="long">${plain(header.mission_id)}</dd></div><div><dt>Device</dt><dd class="long">${plain(header.device)}</dd></div>
      <div><dt>Structure</dt><dd class="long">${plain(header.structure ?? "–")}</dd></div><div><dt>Inspector</dt><dd class="long">${plain(header.inspector ?? "–")}</dd></div>
      <div><dt>Sources</dt><dd class="long">${header.sources.map((s) => plain(s.name)).join(", ")}</dd></div><div><dt>Mode</dt><dd>${header.mode}${header.complete ? "" : ", not closed"}</dd></div>
      <div><dt>Model</dt><dd class="long">${header.bundle ? html`${plain(header.bundle.name)} <code>${header.bundle.sha256.slice(0, 12)}</code>` : "none"}</dd></div><div><dt>Runtime</dt><dd class="long">${plain(header.runtime ?? "–")}, ${plain(header.variant ?? "–")}</dd></div>
      <div><dt>Pictures kept</dt><dd>${header.frames_kept}</dd></div><div><dt>Version</dt><dd>${plain(header.version)}</dd></div></dl></section></div>
  </div>`;
}
