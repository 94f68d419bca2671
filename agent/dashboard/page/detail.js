// One crack: its picture, its figures and how sure they are, what people said of it.
import { html, useEffect, useLayoutEffect, useRef, useState } from "./vendor/preact-htm/standalone.module.js";
import { ask, at, review, store, told } from "./store.js";
import { go } from "./nav.js";
import { clock, inUnit, intervalOf, lengthOf, number, percent, placeOf, plain, short, widthOf } from "./format.js";
import { Severity } from "./severity.js";
import { Evidence } from "./evidence.js";
import { Profile } from "./charts.js";
import { Icon } from "./icons.js";

export function Detail({ id }) {
  const [found, setFound] = useState(null);
  const [problem, setProblem] = useState(null);
  const [asking, setAsking] = useState(null); // merge, note
  const panel = useRef(null);
  const crack = store.cracks.get(id);
  const mark = crack ? `${crack.revision}|${JSON.stringify(crack.review)}` : "";
  useEffect(() => {
    let gone = false;
    ask(at(`/crack?id=${encodeURIComponent(id)}`)).then((body) => { if (!gone) { setFound(body); setProblem(null); } })
      .catch((error) => { if (!gone) setProblem(error.message); });
    return () => { gone = true; };
  }, [id, mark, store.key]);
  useEffect(() => { if (matchMedia("(max-width: 1100px)").matches) panel.current?.focus(); }, [id]);
  useLayoutEffect(() => {
    const key = (event) => {
      if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest("input, textarea, select")) return;
      const verdict = { c: "confirmed", x: "rejected", n: "unsure" }[event.key];
      if (verdict) review({ crack_id: id, verdict });
      else if (event.key === "m") { event.preventDefault(); setAsking("merge"); }
    };
    addEventListener("keydown", key);
    return () => removeEventListener("keydown", key);
  }, [id]);
  if (problem || !crack) return html`<aside class="detail" ref=${panel} tabindex="-1"><${Head} id=${id}/><p class="empty">${plain(problem ?? "This crack is not in the flight (any more).")}</p></aside>`;
  const ends = intervalOf(crack);
  const unit = crack.width_mm !== null ? "mm" : "px";
  const verdict = crack.review?.verdict;
  return html`<aside class="detail" ref=${panel} tabindex="-1" aria-label="Crack ${short(id)}">
    <${Head} id=${id}><${Severity} crack=${crack}/>${verdict && html`<span class="verdict ${verdict}">${verdict}</span>`}${crack.review?.merged_into && html`<span class="verdict merged">part of <a href="#cracks/${encodeURIComponent(crack.review.merged_into)}">${short(crack.review.merged_into)}</a></span>`}<//>
    ${found && html`<${Evidence} key=${found.picture.source} id=${id} picture=${found.picture} scale=${crack.scale_mm_px}/>`}
    <div class="actions" role="group" aria-label="Review">
      <button class="yes" aria-pressed=${verdict === "confirmed" ? "true" : "false"} onClick=${() => review({ crack_id: id, verdict: "confirmed" })} title="Confirm (C)"><${Icon} name="check"/>Confirm</button>
      <button class="no" aria-pressed=${verdict === "rejected" ? "true" : "false"} onClick=${() => review({ crack_id: id, verdict: "rejected" })} title="Reject (X)"><${Icon} name="cross"/>Reject</button>
      <button aria-pressed=${verdict === "unsure" ? "true" : "false"} onClick=${() => review({ crack_id: id, verdict: "unsure" })} title="Not sure (N)"><${Icon} name="unsure"/>Not sure</button>
      <button aria-expanded=${asking === "merge" ? "true" : "false"} onClick=${() => setAsking(asking === "merge" ? null : "merge")} title="Merge (M)"><${Icon} name="merge"/>Merge</button>
      <button aria-expanded=${asking === "note" ? "true" : "false"} onClick=${() => setAsking(asking === "note" ? null : "note")}><${Icon} name="note"/>Comment</button>
    </div>
    ${asking === "merge" && html`<${Merge} crack=${crack} done=${() => setAsking(null)}/>`}
    ${asking === "note" && html`<${Note} id=${id} done=${() => setAsking(null)}/>`}
    <dl class="facts">
      <div class="wide"><dt>Width, 95th percentile</dt><dd><b class="big">${widthOf(crack)}</b>${ends ? html`<span class="between">${number(ends[0])} – ${number(ends[1])} ${unit}, 90 %</span>` : html`<span class="between">no interval</span>`}</dd></div>
      ${!crack.gradable && html`<div class="wide warn"><dt>Not gradable</dt><dd>${plain(crack.not_gradable_reason)}</dd></div>`}
      <div class="wide"><dt>Severity</dt><dd>${crack.severity_standard ? html`${plain(crack.severity_class)}${crack.severity_p !== null ? `, ${percent(crack.severity_p)} likely` : ""}<span class="between">${plain(crack.severity_standard)}${crack.severity_clause ? ` · ${plain(crack.severity_clause)}` : ""}</span>` : "not graded: no standard was set"}${crack.severity_reason && html`<span class="between">${plain(crack.severity_reason)}</span>`}</dd></div>
      <div><dt>Median width</dt><dd>${inUnit(crack.width_p50_mm, crack.width_p50_px)}</dd></div>
      <div><dt>Widest</dt><dd>${inUnit(crack.width_max_mm, crack.width_max_px)}</dd></div>
      <div><dt>Length</dt><dd>${lengthOf(crack)}</dd></div>
      <div><dt>Pattern</dt><dd>${plain(crack.pattern ?? "–")}${crack.branch_points ? `, ${crack.branch_points} branches` : ""}</dd></div>
      <div><dt>Direction</dt><dd>${crack.orientation_deg === null ? "–" : `${Math.round(crack.orientation_deg)}°`}</dd></div>
      <div><dt>Confidence</dt><dd>${percent(crack.confidence)}</dd></div>
      <div><dt>Place</dt><dd>${placeOf(crack)}${crack.position_of === "camera" ? " (camera's)" : ""}</dd></div>
      <div><dt>Scale</dt><dd>${crack.scale_mm_px === null ? "unknown" : `${crack.scale_mm_px.toFixed(3)} mm/px`}</dd></div>
      <div><dt>Found in</dt><dd>${crack.sightings} of ${Math.max(crack.in_view, crack.sightings)} frames</dd></div>
      <div><dt>Frame, camera</dt><dd>${plain(crack.frame_name)}, ${plain(crack.camera)}</dd></div>
    </dl>
    ${found && html`<${Profile} widths=${found.profile} scale=${crack.scale_mm_px}/>
      <${Said} id=${id} rows=${found.reviews}/>
      <h3>History</h3><ol class="history">${found.events.slice(-30).map((e) => html`<li key=${e.id}><b>${e.event}</b> frame ${e.frame} · ${inUnit(e.length_mm, e.length_px)} long${e.parents.length ? html` · with ${e.parents.map((p) => short(p)).join(", ")}` : ""}</li>`)}</ol>`}
  </aside>`;
}

const Head = ({ id, children }) => html`<header class="head"><h2><code>${short(id)}</code></h2>${children}<button class="icon end" onClick=${() => go("cracks")} aria-label="Close" title="Close (Esc)"><${Icon} name="close"/></button></header>`;

function Merge({ crack, done }) {
  const far = (c) => (c.x_mm !== null && crack.x_mm !== null ? Math.hypot(c.x_mm - crack.x_mm, c.y_mm - crack.y_mm) : Math.abs(c.frame - crack.frame) * 1e4 + Math.hypot(c.bbox_x - crack.bbox_x, c.bbox_y - crack.bbox_y));
  const near = [...store.cracks.values()].filter((c) => c.crack_id !== crack.crack_id && c.kind === "crack").map((c) => [far(c), c]).sort((a, b) => a[0] - b[0]).slice(0, 8);
  const into = async (id) => { if (await review({ crack_id: crack.crack_id, merge_into: id })) done(); };
  return html`<div class="ask"><h3>Part of which crack?</h3><p>The nearest:</p><ul class="near">${near.map(([, c]) => html`<li key=${c.crack_id}><button onClick=${() => into(c.crack_id)}><code>${short(c.crack_id)}</code> ${widthOf(c)}, ${lengthOf(c)} long, frame ${plain(c.frame_name)}</button></li>`)}</ul>
    ${near.length === 0 && html`<p>There is no other crack.</p>`}<button onClick=${done}>Cancel</button></div>`;
}

function Note({ id, done }) {
  const [text, setText] = useState("");
  const send = async (event) => {
    event.preventDefault();
    if (text.trim() && (await review({ crack_id: id, note: text.trim() }))) done();
  };
  return html`<form class="ask" onSubmit=${send}><label for="note">Comment</label><textarea id="note" rows="3" maxlength="2000" value=${text} onInput=${(e) => setText(e.target.value)}></textarea>
    <div><button class="primary" type="submit" disabled=${!text.trim()}>Write</button> <button type="button" onClick=${done}>Cancel</button></div></form>`;
}

function Said({ id, rows }) {
  const [name, setName] = useState(localStorage.getItem("reviewer") ?? "");
  const undone = new Set(rows.map((row) => row.undo).filter(Boolean));
  const keep = (event) => { setName(event.target.value); localStorage.setItem("reviewer", event.target.value.trim()); };
  return html`<section class="said"><h3>Reviews</h3>
    <label class="who">Your name <input value=${name} maxlength="200" onInput=${keep} autocomplete="name"/></label>
    ${rows.length === 0 && html`<p class="quietly">Nobody has said anything yet.</p>`}
    <ol>${rows.filter((row) => !row.undo).map((row) => html`<li key=${row.id} class=${undone.has(row.id) ? "undone" : ""}>
      <b>${plain(told(row))}</b>${row.note && html`<q>${plain(row.note)}</q>`}<span class="between">${plain(row.reviewer ?? "no name")}, ${clock(row.ts)}${undone.has(row.id) ? ", taken back" : ""}</span>
      ${row.id && !undone.has(row.id) && row.crack_id === id && html`<button class="small" onClick=${() => review({ crack_id: id, undo: row.id })}><${Icon} name="undo"/>Undo</button>`}</li>`)}</ol></section>`;
}
