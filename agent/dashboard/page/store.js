// What the page knows. Everything comes from this agent: first as a whole, then as events that go on where it ended.
import { useEffect, useState } from "./vendor/preact-htm/standalone.module.js";

export const store = {
  ready: false,
  error: null, // why nothing can be shown
  link: "opening", // live, lost
  flights: [],
  newest: null,
  following: true, // of the newest flight
  key: null,
  flight: null, // header, coverage, reasons
  counts: {},
  cracks: new Map(),
  version: 0, // grows with every change of a crack
  arrivals: [], // crack ids, the newest first
  status: { kind: "record", problem: null },
  live: false,
  frame: null, // newest picture of the run
  background: null,
  rates: [], // of the frames, for the live screen
  toast: null,
  undoable: [], // own reviews, the newest last
};

const listeners = new Set();
let source = null;
let retry = null;

export function changed() {
  for (const listener of listeners) listener();
}

export function useStore() {
  const [, set] = useState(0);
  useEffect(() => {
    let asked = false;
    const listener = () => {
      if (asked) return;
      asked = true;
      requestAnimationFrame(() => {
        asked = false;
        set((n) => n + 1);
      });
    };
    listeners.add(listener);
    listener();
    return () => listeners.delete(listener);
  }, []);
  return store;
}

export async function ask(path, options) {
  const answer = await fetch(path, { credentials: "same-origin", ...options });
  if (answer.status === 401) {
    location.replace("/login");
    throw new Error("the token is missing");
  }
  const body = await answer.json().catch(() => ({ error: `${answer.status} ${answer.statusText}` }));
  if (!answer.ok) throw new Error(body.error ?? answer.statusText);
  return body;
}

export const at = (rest) => `/api/flights/${store.key}${rest}`;

export async function open(key) {
  clearTimeout(retry);
  try {
    const overview = await ask("/api/overview");
    Object.assign(store, { flights: overview.flights, newest: overview.current, status: overview.status, live: overview.live, background: overview.background });
    const wanted = key ?? (store.following ? overview.current : store.key) ?? overview.current;
    if (wanted) {
      const [flight, list] = await Promise.all([ask(`/api/flights/${wanted}`), ask(`/api/flights/${wanted}/cracks`)]);
      Object.assign(store, { key: wanted, flight, cracks: new Map(list.cracks.map((c) => [c.crack_id, c])), counts: list, frame: store.key === wanted ? store.frame : null });
      store.arrivals = list.cracks.map((c) => c.crack_id).reverse().slice(0, 50);
      store.version += 1;
      listen(wanted, list.cursor);
    } else {
      Object.assign(store, { key: null, flight: null, cracks: new Map(), counts: {} });
      listen(null, "");
    }
    Object.assign(store, { ready: true, error: null });
  } catch (error) {
    store.error = error.message === "Failed to fetch" ? "The agent does not answer." : error.message;
    store.link = "lost";
    retry = setTimeout(() => open(key), 2000);
  }
  changed();
}

function listen(key, cursor) {
  source?.close();
  const query = key ? `?flight=${key}&after=${encodeURIComponent(cursor)}` : "";
  const mine = new EventSource(`/api/events${query}`);
  source = mine;
  const on = (name, act) => mine.addEventListener(name, (event) => {
    if (source !== mine) return;
    act(JSON.parse(event.data));
    changed();
  });
  mine.onopen = () => {
    store.link = "live";
    store.error = null;
    changed();
  };
  mine.onerror = () => {
    store.link = "lost";
    changed();
    if (mine.readyState === EventSource.CLOSED && source === mine) {
      clearTimeout(retry);
      retry = setTimeout(() => open(store.following ? null : key), 2000);
    }
  };
  on("cracks", applyCracks);
  on("frame", (frame) => { store.frame = frame; });
  on("state", applyState);
  on("flight", ({ key: newest }) => {
    const another = newest !== store.newest;
    store.newest = newest;
    if (another && store.following && newest !== key) open(newest);
    else if (another) ask("/api/overview").then((o) => { store.flights = o.flights; changed(); }).catch(() => {});
  });
}

function applyCracks(news) {
  for (const crack of news.cracks) {
    if (!store.cracks.has(crack.crack_id)) store.arrivals = [crack.crack_id, ...store.arrivals].slice(0, 50);
    store.cracks.set(crack.crack_id, crack);
  }
  for (const id of news.removed) store.cracks.delete(id);
  if (news.cracks.length || news.removed.length) store.version += 1;
  const finished = news.complete && !store.counts.complete;
  store.counts = news;
  if (finished) refreshFlight();
}

function applyState(state) {
  const before = store.status;
  store.status = state;
  if (state.kind !== "running") return;
  const now = performance.now();
  const fps = before.at && state.frames >= before.frames ? ((state.frames - before.frames) * 1000) / (now - before.at) : null;
  store.status.at = now;
  store.rates = [...store.rates.slice(-119), { fps, state }];
}

export async function refreshFlight() {
  if (!store.key) return;
  try {
    store.flight = await ask(at(""));
    changed();
  } catch {
    // told by the stream's own state
  }
}

let saying = Promise.resolve(); // one after the other, and an undo after what it takes back

export function review(said) {
  saying = saying.then(() => write(said));
  return saying;
}

async function write(said) {
  const reviewer = localStorage.getItem("reviewer") || null;
  try {
    const answer = await ask(at("/reviews"), { method: "POST", headers: { "content-type": "application/json" }, body: JSON.stringify({ reviewer, ...said }) });
    store.cracks.set(answer.crack.crack_id, answer.crack);
    store.version += 1;
    if (said.undo) store.undoable = store.undoable.filter((one) => one.id !== said.undo);
    else store.undoable = [...store.undoable, answer.review];
    store.toast = { text: told(answer.review), undo: said.undo ? null : answer.review };
    changed();
    return answer;
  } catch (error) {
    store.toast = { text: `Not written: ${error.message}`, bad: true };
    changed();
    return null;
  }
}

export function undoLast() {
  saying = saying.then(() => { // the stream may show what was said before it is answered
    const last = store.undoable.at(-1);
    if (last) return write({ crack_id: last.crack_id, undo: last.id });
    store.toast = { text: "Nothing of yours to undo." };
    changed();
    return null;
  });
  return saying;
}

export function told(row) {
  const id = row.crack_id.slice(0, 6);
  if (row.verdict) return `${id} ${row.verdict}`;
  if (row.merge_into) return `${id} merged into ${row.merge_into.slice(0, 6)}`;
  if (row.undo) return `${id}: taken back`;
  return `${id}: comment written`;
}
