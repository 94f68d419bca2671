// What the run sees now; of a flight that ended, its frames one by one.
import { html, useEffect, useLayoutEffect, useState } from "./vendor/preact-htm/standalone.module.js";
import { ask, at, store } from "./store.js";
import { go } from "./nav.js";
import { lengthOf, number, plain, plural, seconds, short, widthOf } from "./format.js";
import { Severity } from "./severity.js";
import { Icon } from "./icons.js";

const STAGES = [["decode", "Decode"], ["detect", "Detect"], ["measure", "Measure"], ["track", "Follow"], ["record", "Record"], ["report", "Report"]];

function Now() {
  const { frame } = store;
  if (!frame) return html`<div class="stage"><p class="empty">Waiting for the next picture…</p></div>`;
  return html`<figure class="stage"><img src="/api/live.jpg?n=${frame.number}" alt="Frame ${plain(frame.name)} with what was found outlined"/>
    <figcaption><span id="frame">${plain(frame.camera)} · frame ${plain(frame.name)}</span><span>${plural(frame.cracks, "find")} in view</span></figcaption></figure>`;
}

function Recorded() {
  const [frames, setFrames] = useState(null);
  const [index, setIndex] = useState(0);
  const [failed, setFailed] = useState(null);
  useEffect(() => {
    let gone = false;
    if (store.key) ask(at("/frames")).then((body) => { if (!gone) { setFrames(body.frames); setIndex(0); } }).catch(() => setFrames([]));
    return () => { gone = true; };
  }, [store.key, store.counts.complete]);
  useLayoutEffect(() => {
    const key = (event) => {
      if (event.target.closest("input, textarea, select") || !frames) return;
      if (event.key === "ArrowRight") setIndex((i) => Math.min(frames.length - 1, i + 1));
      else if (event.key === "ArrowLeft") setIndex((i) => Math.max(0, i - 1));
    };
    addEventListener("keydown", key);
    return () => removeEventListener("keydown", key);
  }, [frames]);
  if (!frames) return html`<div class="stage"><p class="empty">Reading the frames…</p></div>`;
  if (!frames.length) return html`<div class="stage"><p class="empty">No frame of this flight has a picture: nothing was found, or none were kept.</p></div>`;
  const [number_, name, finds] = frames[Math.min(index, frames.length - 1)];
  const step = (by) => setIndex(Math.min(frames.length - 1, Math.max(0, index + by)));
  return html`<figure class="stage">${failed === number_ ? html`<p class="empty">The picture of this frame was not kept.</p>` : html`<img src=${at(`/frame.jpg?index=${number_}`)} alt="Frame ${plain(name)} with what was found outlined" onError=${() => setFailed(number_)}/>`}
    <figcaption><span class="walk"><button class="icon" onClick=${() => step(-1)} disabled=${index === 0} aria-label="Frame before"><${Icon} name="left"/></button>
      <input type="range" min="0" max=${frames.length - 1} value=${index} aria-label="Frame" onInput=${(e) => setIndex(Number(e.target.value))}/>
      <button class="icon" onClick=${() => step(1)} disabled=${index === frames.length - 1} aria-label="Next frame"><${Icon} name="right"/></button></span>
      <span id="frame">frame ${plain(name)}</span><span>${plural(finds, "find")}</span></figcaption></figure>`;
}

const Figure = ({ title, value, note, id, tone }) => html`<div class="tile ${tone ?? ""}"><span>${title}</span><b id=${id}>${value}</b>${note && html`<em>${note}</em>`}</div>`;

export function Live() {
  const { status, counts, cracks, arrivals, rates, link } = store;
  const running = status.kind === "running" && !counts.complete && store.key === store.newest;
  const fps = rates.map((r) => r.fps).filter((f) => f !== null).slice(-5);
  const [now, before] = [rates.at(-1)?.state, rates.at(-11)?.state ?? rates[0]?.state];
  const frames = now && before ? now.frames - before.frames : 0;
  const spent = (name) => (frames > 0 ? (1000 * ((now.stages[name] ?? 0) - (before.stages[name] ?? 0))) / frames : status.frames ? (1000 * (status.stages?.[name] ?? 0)) / status.frames : null);
  const times = status.kind === "running" ? STAGES.map(([name, title]) => [title, spent(name)]).filter(([, ms]) => ms !== null) : [];
  const most = Math.max(1, ...times.map(([, ms]) => ms));
  const delivery = status.delivery;
  const real = [...cracks.values()].filter((c) => c.kind === "crack").length;
  return html`<div class="live-grid">
    ${running ? html`<${Now}/>` : html`<${Recorded}/>`}
    <div class="side">
      <div class="tiles">
        <${Figure} title="Cracks" value=${real} id="cracks-now"/>
        <${Figure} title="Frames" value=${counts.frames ?? 0} id="frames-now" note=${counts.skipped ? `${counts.skipped} skipped` : null} tone=${counts.skipped ? "warn" : ""}/>
        ${running && html`<${Figure} title="Frames a second" value=${fps.length ? (fps.reduce((a, b) => a + b, 0) / fps.length).toFixed(1) : "–"} id="fps"/>`}
        ${delivery && html`<${Figure} title="Link" value=${delivery.connected ? "connected" : delivery.problem?.startsWith("mqtt.host") ? "no broker set" : "no broker"} note=${delivery.pending ? `${delivery.pending} wait, oldest ${seconds(delivery.oldest_s)}` : "nothing waits"} tone=${delivery.pending && !delivery.connected ? "warn" : ""}/>`}
        ${status.disk && html`<${Figure} title="Disk" value="${number(status.disk.free_gb)} GB" note="free of ${number(status.disk.total_gb)}" tone=${status.disk.free_gb < 1 ? "bad" : ""}/>`}
        ${link === "lost" && html`<${Figure} title="Agent" value="no answer" note="trying again" tone="bad"/>`}
      </div>
      ${times.length > 0 && html`<section class="card"><h2>Time per frame <span class="between">CPU, ms${running ? "" : ", whole run"}</span></h2><ul class="bars">${times.map(([title, ms]) => html`<li key=${title}><span>${title}</span><i><u style=${{ width: `${(100 * ms) / most}%` }}></u></i><b>${number(ms)}</b></li>`)}</ul></section>`}
      <section class="card grow"><h2>${running ? "Newest" : "Last found"}</h2><ul class="newest">${arrivals.map((id) => cracks.get(id)).filter((c) => c?.kind === "crack").slice(0, 12).map((c) => html`<li key=${c.crack_id}>
        <button onClick=${() => go("cracks", c.crack_id)}><${Severity} crack=${c}/><code>${short(c.crack_id)}</code><span class="figure">${widthOf(c)}</span><span class="figure">${lengthOf(c)}</span></button></li>`)}</ul>
        ${real === 0 && html`<p class="empty">No cracks so far.</p>`}</section>
    </div></div>`;
}
