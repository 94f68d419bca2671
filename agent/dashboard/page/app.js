// The frame around the screens: where one is, how the agent does, keys, light.
import { html, render, useEffect, useLayoutEffect, useState } from "./vendor/preact-htm/standalone.module.js";
import { changed, open, store, undoLast, useStore } from "./store.js";
import { clock, plain, short } from "./format.js";
import { Live } from "./live.js";
import { Cracks } from "./cracks.js";
import { Place } from "./place.js";
import { Flight } from "./flight.js";
import { Health } from "./health.js";
import { Icon } from "./icons.js";
import { go, parse } from "./nav.js";

const SCREENS = [
  ["live", "Live", Live],
  ["cracks", "Cracks", Cracks],
  ["place", "Place", Place],
  ["flight", "Flight", Flight],
  ["health", "Health", Health],
];
const KEYS = [
  ["1 – 5", "Live, Cracks, Place, Flight, Health"],
  ["J K, ↑ ↓", "next, previous crack"],
  ["Enter", "open the crack"],
  ["Esc", "close it"],
  ["C X N", "confirm, reject, not sure"],
  ["M", "merge into another"],
  ["U", "undo your last review"],
  ["+ − 0", "zoom in, out, whole"],
  ["P", "to the pixels"],
  ["O", "outlines on, off"],
  ["/", "search"],
  ["T", "dark, light"],
  ["?", "this list"],
];

function applyTheme() {
  const wanted = localStorage.getItem("theme");
  if (wanted) document.documentElement.dataset.theme = wanted;
}

function turnTheme() {
  const dark = document.documentElement.dataset.theme ? document.documentElement.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  localStorage.setItem("theme", dark ? "light" : "dark");
  applyTheme();
  changed();
}

function Word() {
  const { status, link, counts } = store;
  let word = ["ok", "recorded"];
  if (link === "lost") word = ["bad", "no answer"];
  else if (status.problem) word = ["bad", "safe mode"];
  else if (status.kind === "running") word = counts.complete ? ["ok", "ended"] : [status.word === "degraded" ? "warn" : "ok", status.word ?? "running"];
  else if (!counts.complete) word = ["warn", "not closed"];
  return html`<span class="word ${word[0]}" id="word"><i></i>${word[1]}</span>`;
}

function Flights() {
  const { flights, key, newest, following } = store;
  if (!flights.length) return html`<span class="mission">no flight yet</span>`;
  const name = (f) => `${plain(f.structure ?? f.device)} · ${clock(f.changed_ms)} · ${f.mission.length > 24 ? short(f.mission) : plain(f.mission)}`;
  if (flights.length === 1) return html`<span class="mission" title=${plain(flights[0].mission)}>${name(flights[0])}</span>`;
  const pick = (event) => {
    store.following = event.target.value === newest;
    open(event.target.value);
  };
  return html`<select class="mission" aria-label="Flight" value=${key} onChange=${pick}>
    ${flights.map((f) => html`<option key=${f.key} value=${f.key} selected=${f.key === key}>${f.key === newest && following ? "● " : ""}${name(f)}</option>`)}
  </select>`;
}

function Toast() {
  const { toast } = store;
  useEffect(() => {
    if (!toast) return undefined;
    const timer = setTimeout(() => { store.toast = null; changed(); }, toast.undo ? 20_000 : 8000); // what can be undone waits for the slow
    return () => clearTimeout(timer);
  }, [toast]);
  return html`<div class="toasts" role="status" aria-live="polite">${toast && html`<div class="toast ${toast.bad ? "bad" : ""}">
    <span>${plain(toast.text)}</span>${toast.undo && html`<button onClick=${undoLast}>Undo</button>`}</div>`}</div>`;
}

function Help({ close }) {
  return html`<div class="veil" onClick=${close}><div class="help" role="dialog" aria-modal="true" aria-labelledby="keys" onClick=${(e) => e.stopPropagation()}>
    <header><h2 id="keys">Keys</h2><button onClick=${close} autofocus>Close</button></header>
    <dl>${KEYS.map(([key, text]) => html`<dt>${key}</dt><dd>${text}</dd>`)}</dl></div></div>`;
}

function App() {
  const state = useStore();
  const [where, setWhere] = useState(parse);
  const [help, setHelp] = useState(false);
  useLayoutEffect(() => { // with the picture: nothing that is pressed or followed at once is missed
    const moved = () => setWhere(parse());
    const key = (event) => {
      if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest("input, textarea, select")) return;
      const index = "12345".indexOf(event.key);
      if (index >= 0) go(SCREENS[index][0]);
      else if (event.key === "t") turnTheme();
      else if (event.key === "?") setHelp((on) => !on);
      else if (event.key === "Escape") setHelp(false);
      else if (event.key === "u") undoLast();
    };
    addEventListener("hashchange", moved);
    addEventListener("keydown", key);
    return () => { removeEventListener("hashchange", moved); removeEventListener("keydown", key); };
  }, []);
  const [, title, Screen] = SCREENS.find(([name]) => name === where.screen);
  useEffect(() => { document.title = `${title} · Crackscout`; }, [title]);
  const { status } = state;
  return html`
    <a class="skip" href="#${where.screen}" onClick=${(e) => { e.preventDefault(); document.getElementById("main").focus(); }}>To the content</a>
    <header class="bar">
      <span class="brand"><img src="/static/icon.svg" alt="" width="26" height="26"/><b>Crackscout</b></span>
      <${Flights}/>
      <${Word}/>
      <span class="tools">
        <button class="icon" onClick=${turnTheme} aria-label="Dark or light" title="Dark or light (T)"><${Icon} name="theme"/></button>
        <button class="icon" onClick=${() => setHelp(true)} aria-label="Keys" title="Keys (?)"><${Icon} name="help"/></button>
      </span>
    </header>
    <nav class="rail" aria-label="Screens">${SCREENS.map(([name, text]) => html`
      <a key=${name} href="#${name}" aria-current=${name === where.screen ? "page" : null}><${Icon} name=${name}/><span>${text}</span></a>`)}</nav>
    <main id="main" tabindex="-1" class="screen ${where.screen}">
      <h1 class="quiet">${title}</h1>
      ${status.problem && html`<div class="alarm" role="alert"><b>Safe mode: nothing is captured.</b> <span>${plain(status.problem)}</span></div>`}
      ${state.error && html`<div class="alarm" role="alert">${plain(state.error)} Trying again…</div>`}
      ${state.ready ? html`<${Screen} id=${where.id}/>` : !state.error && html`<p class="boot">Reading the flight…</p>`}
    </main>
    <${Toast}/>
    ${help && html`<${Help} close=${() => setHelp(false)}/>`}`;
}

applyTheme();
document.getElementById("root").replaceChildren();
render(html`<${App}/>`, document.getElementById("root"));
open(null);
