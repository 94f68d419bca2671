// How the device does: heat, link, cameras, clock.
import { html, useEffect, useState } from "./vendor/preact-htm/standalone.module.js";
import { ask, store } from "./store.js";
import { number, plain, seconds } from "./format.js";
import { Chart } from "./charts.js";

const STAGES = [["decode", "--chart-1"], ["detect", "--chart-2"], ["measure", "--chart-3"], ["track", "--chart-4"], ["record", "--chart-5"], ["report", "--chart-6"]];
const Row = ({ title, value, tone }) => html`<div class=${tone ?? ""}><dt>${title}</dt><dd>${value}</dd></div>`;

export function Health() {
  const { status } = store;
  const [history, setHistory] = useState([]);
  useEffect(() => {
    if (status.kind !== "running") return undefined;
    let gone = false;
    const look = () => ask("/api/health").then((body) => { if (!gone) setHistory(body.history); }).catch(() => {});
    look();
    const timer = setInterval(look, 4000);
    return () => { gone = true; clearInterval(timer); };
  }, [status.kind]);
  if (status.kind !== "running") {
    const { flight, counts } = store;
    return html`<div class="health-grid"><section class="card"><h2>Agent</h2><p class="quietly">A recorded flight is being looked at; nothing runs, so there is neither heat nor link to tell of.</p>
      <dl class="facts"><${Row} title="Page's version" value=${plain(status.version)}/>${flight && html`<${Row} title="Recorded by" value=${plain(flight.header.version)}/><${Row} title="Runtime" value="${plain(flight.header.runtime ?? "–")}, ${plain(flight.header.variant ?? "–")}"/>
      <${Row} title="Record" value=${counts.complete ? "closed in order" : "not closed: it goes on, or was killed"} tone=${counts.complete ? "" : "warn"}/><${Row} title="Frames skipped" value=${counts.skipped} tone=${counts.skipped ? "warn" : ""}/><${Row} title="Frames without a scale" value=${counts.without_scale}/><${Row} title="Lines that could not be read" value=${counts.faults} tone=${counts.faults ? "bad" : ""}/>`}</dl></section></div>`;
  }
  const { delivery, disk, state, cameras } = status;
  const time = history.map((s) => s.ts / 1000);
  const one = (pick) => history.map((s) => pick(s) ?? null);
  const stages = STAGES.filter(([name]) => history.some((s) => name in s.stage_ms));
  const dropped = Object.entries(delivery.dropped);
  return html`<div class="health-grid">
    <section class="card"><h2>Agent</h2><dl class="facts">
      <${Row} title="State" value=${status.problem ? "safe mode" : plain(status.word ?? "running")} tone=${status.problem ? "bad" : status.word === "degraded" ? "warn" : ""}/>
      <${Row} title="Up" value=${seconds(status.up_s)}/><${Row} title="Last sign of the loop" value="${seconds(status.beat_age_s)} ago" tone=${status.beat_age_s > 10 ? "bad" : ""}/>
      <${Row} title="Clock" value=${status.clock_synced ? "synchronised" : "not synchronised"} tone=${status.clock_synced ? "" : "warn"}/>
      <${Row} title="Temperature" value=${state.temperature_c == null ? "no sensor" : `${number(state.temperature_c)} °C`} tone=${state.pace && state.pace !== "full" ? "warn" : ""}/>
      <${Row} title="Power" value=${state.power_w == null ? "no sensor" : `${number(state.power_w)} W`}/><${Row} title="Pace" value=${plain(state.pace_reason ?? state.pace ?? "full")} tone=${state.pace_reason ? "warn" : ""}/>
      <${Row} title="Disk" value=${disk ? `${number(disk.free_gb)} of ${number(disk.total_gb)} GB free` : "unknown"} tone=${disk && disk.free_gb < 1 ? "bad" : ""}/><${Row} title="Version" value=${plain(status.version)}/></dl></section>
    <section class="card"><h2>Delivery</h2><dl class="facts">
      <${Row} title="Broker" value=${delivery.connected ? "connected" : plain(delivery.problem ?? "not connected")} tone=${delivery.connected || delivery.problem?.startsWith("mqtt.host") ? "" : "warn"}/>
      <${Row} title="Outbox" value="${delivery.pending} waiting"/><${Row} title="Oldest" value=${delivery.pending ? seconds(delivery.oldest_s) : "–"} tone=${delivery.oldest_s > 600 ? "warn" : ""}/>
      <${Row} title="Acknowledged" value=${delivery.acknowledged}/><${Row} title="Dropped" value=${dropped.length ? dropped.map(([name, n]) => `${n} ${name}`).join(", ") : "none"} tone=${dropped.length ? "bad" : ""}/><${Row} title="Restarts of the link" value=${delivery.restarts}/></dl>
      ${delivery.alarms.length > 0 && html`<h3>Alarms</h3><ul class="plainly">${delivery.alarms.map((text) => html`<li class="warn">${plain(text)}</li>`)}</ul>`}</section>
    ${cameras.length > 0 && html`<section class="card wide"><h2>Cameras</h2><div class="scroll" tabindex="0" role="region" aria-label="Cameras"><table><thead><tr><th>Camera</th><th>State</th><th>Frames/s</th><th>Size</th><th>Arrived</th><th>Dropped</th><th>Poor</th><th>Damaged</th><th>Losses</th><th>Problem</th></tr></thead>
      <tbody>${cameras.map((c) => html`<tr key=${c.name}><th scope="row">${plain(c.name)}</th><td class=${c.state === "live" || c.state === "ended" ? "" : "warn"}>${c.state}</td><td>${c.fps === null ? "–" : c.fps.toFixed(1)}</td><td>${c.width ? `${c.width} × ${c.height}` : "–"}</td><td>${c.arrived}</td><td>${c.dropped}</td><td>${c.skipped}</td><td>${c.damaged}</td><td>${c.losses}</td><td>${plain(c.problem ?? "")}</td></tr>`)}</tbody></table></div></section>`}
    ${time.length > 1 && html`
      <section class="card"><h2>Frames a second</h2><${Chart} data=${[time, one((s) => s.fps)]} series=${[{ label: "frames/s", colour: "--accent", fill: true }]} x=${{ time: true }} label="Frames a second, last ten minutes"/></section>
      ${stages.length > 0 && html`<section class="card"><h2>Time per frame <span class="between">CPU, ms</span></h2><${Chart} data=${[time, ...stages.map(([name]) => one((s) => s.stage_ms[name]))]} series=${stages.map(([name, colour]) => ({ label: name, colour }))} x=${{ time: true }} label="CPU time per frame and stage, last ten minutes"/></section>`}
      ${history.some((s) => s.temperature_c !== null) && html`<section class="card"><h2>Temperature <span class="between">°C</span></h2><${Chart} data=${[time, one((s) => s.temperature_c)]} series=${[{ label: "°C", colour: "--chart-2" }]} x=${{ time: true }} label="Hottest zone, last ten minutes"/></section>`}
      <section class="card"><h2>Reports that wait</h2><${Chart} data=${[time, one((s) => s.pending)]} series=${[{ label: "waiting", colour: "--chart-1", fill: true }]} x=${{ time: true }} label="Reports in the outbox, last ten minutes"/></section>`}
  </div>`;
}
