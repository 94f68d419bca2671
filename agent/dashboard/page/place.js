// Where the cracks are: on the map, along the tunnel, on the wall; and what was not seen.
import { html, useEffect, useMemo, useRef, useState } from "./vendor/preact-htm/standalone.module.js";
import { ask, at, store } from "./store.js";
import { go } from "./nav.js";
import { badness, compare, lengthOf, placeOf, plain, short, widthOf } from "./format.js";
import { layOver, Legend, Patterns } from "./coverage.js";
import { Severity } from "./severity.js";

const token = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
const CLOCK_M = 1 / 12; // of a strip's height per degree where its radius is not known: a tunnel 9.5 m across
const NAMES = { 0: "0° crown", 90: "90° right", 180: "180° invert", 270: "270° left" };
const around = (deg) => ((deg + 180) % 360) - 180; // the crown in the middle; as seen from inside, to the right is up

// What stands at x and y of a view, and back: see `Footprints.onto`.
const latLng = (unit) => Object.assign((x, y) => [y * unit, x], { back: (p) => [p.lng, p.lat / unit] });
const unitOf = (mode, place) => (mode !== "strip" ? 1 : place.onto.strip ? 1e-3 / Math.abs(place.onto.strip.y[1]) : CLOCK_M); // m of a degree

const MODES = {
  map: { title: "Map", fits: (c) => c.lat !== null && c.lon !== null, where: (c) => [c.lat, c.lon], flown: (p) => (p[2] !== null && p[3] !== null ? [p[2], p[3]] : null) },
  strip: { title: "Tunnel strip", fits: (c) => c.chainage_m !== null && c.clock_deg !== null, where: (c) => [around(c.clock_deg), c.chainage_m], flown: (p) => (p[4] !== null && p[5] !== null ? [around(p[5]), p[4]] : null) },
  wall: { title: "Wall", fits: (c) => c.x_mm !== null, where: (c) => [-c.y_mm / 1000, c.x_mm / 1000], flown: () => null },
};

// Whether a view draws coverage cell by cell; where not, the outlines of whole pictures stand for it.
const covered = (place, mode) => place !== null && place.areas.some((one) => (one.surface ?? "wall") === place.onto[mode]?.surface);
const SEEN = { wall: (p) => p[1]?.map(([x, y]) => [-y / 1000, x / 1000]), map: (p) => p[6], strip: () => null };

function build(element, mode, place, pick) {
  const earth = mode === "map";
  const map = L.map(element, { crs: earth ? L.CRS.EPSG3857 : L.CRS.Simple, minZoom: earth ? 0 : -6, maxZoom: earth ? 24 : 12, zoomSnap: 0.25, attributionControl: false, preferCanvas: true, zoomControl: false });
  L.control.zoom({ position: "bottomright" }).addTo(map); // names of the lines stand on the left
  const under = store.background;
  if (earth && under?.kind === "tiles") L.tileLayer("/background/{z}/{x}/{y}", { minZoom: under.min_zoom, maxNativeZoom: under.max_zoom, maxZoom: 24 }).addTo(map);
  if (earth && under?.kind === "plan") L.imageOverlay("/background/0/0/0", under.bounds, { alt: "Plan" }).addTo(map);
  const bounds = L.latLngBounds([]);
  const unit = unitOf(mode, place);
  const there = (p) => p && [p[0] * unit, p[1]];
  const onto = place.onto[mode];
  if (onto && place.areas.length) bounds.extend(layOver(map, place, onto, latLng(unit)));
  const prints = covered(place, mode) ? [] : place.footprints.map(SEEN[mode]).filter(Boolean);
  for (const print of prints) {
    print.forEach((p) => bounds.extend(p));
    L.polygon(print, { interactive: false, stroke: false, fillColor: token("--inspected"), fillOpacity: 0.14 }).addTo(map);
  }
  const way = place.footprints.map((print) => there(MODES[mode].flown(print))).filter(Boolean);
  if (way.length) {
    way.forEach((p) => bounds.extend(p));
    if (earth) L.polyline(way, { color: token("--accent"), weight: 2, opacity: 0.7, interactive: false }).addTo(map);
    else for (const p of way) L.circleMarker(p, { radius: 2, stroke: false, fillColor: token("--accent"), fillOpacity: 0.5, interactive: false }).addTo(map);
  }
  const marks = new Map();
  const layer = L.layerGroup().addTo(map);
  const draw = (cracks, selected) => {
    layer.clearLayers();
    marks.clear();
    for (const crack of cracks) {
      const p = there(MODES[mode].where(crack));
      bounds.extend(p);
      const colour = token(crack.kind === "crack" ? `--${crack.severity}` : "--other");
      const drawn = mode === "wall" ? place.lines[crack.crack_id] : null;
      if (drawn) {
        const lines = drawn.map((line) => line.map(([x, y]) => [-y / 1000, x / 1000]));
        L.polyline(lines, { color: token("--text"), weight: crack.crack_id === selected ? 9 : 5, opacity: crack.crack_id === selected ? 0.9 : 0.35, interactive: false }).addTo(layer);
        L.polyline(lines, { color: colour, weight: 3 }).on("click", () => pick(crack.crack_id)).addTo(layer);
      }
      const mark = L.circleMarker(p, { radius: crack.crack_id === selected ? 11 : drawn ? 5 : 7, weight: crack.crack_id === selected ? 4 : 1.5, color: crack.crack_id === selected ? token("--text") : token("--surface"), fillColor: colour, fillOpacity: 0.95 });
      mark.on("click", () => pick(crack.crack_id));
      mark.addTo(layer);
      marks.set(crack.crack_id, mark);
    }
  };
  const grid = L.layerGroup().addTo(map);
  const lines = () => {
    grid.clearLayers();
    if (earth || !bounds.isValid()) return;
    const view = map.getBounds();
    const step = [0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10, 20, 50, 100, 200, 500, 1000].find((s) => (view.getEast() - view.getWest()) / s < 12) ?? 5000;
    const text = (p, words, kind) => L.marker(p, { interactive: false, keyboard: false, icon: L.divIcon({ className: `tick ${kind}`, html: Object.assign(document.createElement("span"), { textContent: words }), iconSize: null }) }).addTo(grid);
    const line = (points) => L.polyline(points, { color: token("--line"), weight: 1, interactive: false }).addTo(grid);
    for (let x = Math.ceil(view.getWest() / step) * step; x <= view.getEast(); x += step) {
      line([[view.getSouth(), x], [view.getNorth(), x]]);
      text([view.getSouth(), x], `${+x.toFixed(2)} m`, "x");
    }
    if (mode === "strip") {
      const turn = [1, 2, 5, 10, 15, 30, 45, 90].find((d) => (view.getNorth() - view.getSouth()) / (d * unit) < 9) ?? 90;
      for (let deg = -180; deg <= 180; deg += turn) {
        line([[deg * unit, view.getWest()], [deg * unit, view.getEast()]]);
        text([deg * unit, view.getWest()], NAMES[(deg + 360) % 360] ?? `${(deg + 360) % 360}°`, "y");
      }
    } else for (let y = Math.ceil(view.getSouth() / step) * step; y <= view.getNorth(); y += step) {
      line([[y, view.getWest()], [y, view.getEast()]]);
      text([y, view.getWest()], `${+(-y).toFixed(2)} m`, "y");
    }
  };
  map.on("moveend zoomend resize", lines);
  return {
    draw,
    fit() {
      if (mode === "strip" && bounds.isValid() && bounds.getEast() - bounds.getWest() > 240 * unit) { // all around, unless that made a dot of it
        bounds.extend([180 * unit, bounds.getWest()]);
        bounds.extend([-180 * unit, bounds.getEast()]);
      }
      if (bounds.isValid()) map.fitBounds(bounds, { padding: [36, 36], animate: false });
      else if (earth && under?.bounds) map.fitBounds(under.bounds, { animate: false });
      else map.setView([0, 0], 0);
      lines();
    },
    remove: () => map.remove(),
  };
}

export function Place() {
  const { version, key, flight } = store;
  const [place, setPlace] = useState(null);
  const [wanted, setMode] = useState(null);
  const [selected, setSelected] = useState(null);
  const [others, setOthers] = useState(false);
  const box = useRef(null);
  const drawn = useRef(null);
  useEffect(() => {
    let gone = false;
    if (key) ask(at("/place")).then((body) => { if (!gone) setPlace({ ...body, key }); }).catch(() => {});
    return () => { gone = true; };
  }, [key, store.counts.complete]);
  const cracks = useMemo(() => [...store.cracks.values()].filter((c) => others || c.kind === "crack"), [version, key, others]);
  const has = useMemo(() => ({
    map: cracks.some(MODES.map.fits) || (place?.footprints ?? []).some((p) => MODES.map.flown(p)) || covered(place, "map") || store.background !== null,
    strip: cracks.some(MODES.strip.fits) || (place?.footprints ?? []).some((p) => MODES.strip.flown(p)) || covered(place, "strip"),
    wall: cracks.some(MODES.wall.fits) || (place?.footprints ?? []).some((p) => p[1]) || covered(place, "wall"),
  }), [cracks, place]);
  const mode = wanted && has[wanted] ? wanted : ["strip", "map", "wall"].find((name) => has[name] && cracks.some(MODES[name].fits)) ?? Object.keys(has).find((name) => has[name]) ?? null;
  const shown = mode ? cracks.filter(MODES[mode].fits).sort((a, b) => compare(badness(a), badness(b))) : []; // the worst on top
  const theme = document.documentElement.dataset.theme ?? "";
  const ready = place !== null && place.key === key && mode !== null;
  useEffect(() => {
    if (!ready) return undefined;
    drawn.current = build(box.current, mode, place, setSelected);
    drawn.current.draw(shown, selected);
    drawn.current.fit();
    return () => { drawn.current.remove(); drawn.current = null; };
  }, [ready, mode, place, theme]);
  useEffect(() => { drawn.current?.draw(shown, selected); }, [cracks, selected]);
  const crack = selected ? store.cracks.get(selected) : null;
  const coverage = flight?.coverage;
  const without = cracks.length - shown.length;
  return html`<div class="place-grid"><div class="filters">
      <div class="tabs" role="group" aria-label="View">${Object.entries(MODES).map(([name, one]) => html`<button key=${name} aria-pressed=${mode === name ? "true" : "false"} disabled=${!has[name]} onClick=${() => setMode(name)}>${one.title}</button>`)}</div>
      <button class="chip" aria-pressed=${others ? "true" : "false"} onClick=${() => setOthers(!others)}>joints and the like</button>
      <output id="placed">${shown.length} shown${without ? `, ${without} without a place here` : ""}</output>
      ${place && mode && html`<${Legend} coverage=${coverage} here=${covered(place, mode)} seen=${place.footprints.some((p) => SEEN[mode](p))} under=${Object.keys(MODES).find((name) => covered(place, name))}/>`}</div><${Patterns}/>
    <div class="ground">${mode ? html`<div class="map" ref=${box} role="application" aria-label="${MODES[mode].title} with cracks; the same cracks stand in the list under Cracks"></div>` : html`<p class="empty">${place ? "Neither position nor pose is known for this flight: give telemetry to replay, or set place: in the settings." : "Reading the places…"}</p>`}
      ${crack && html`<aside class="picked"><header><${Severity} crack=${crack}/><code>${short(crack.crack_id)}</code><button class="small" onClick=${() => setSelected(null)}>Close</button></header>
        <img src=${at(`/crack.jpg?id=${encodeURIComponent(crack.crack_id)}`)} alt="The crack"/><p><b>${widthOf(crack)}</b> wide, <b>${lengthOf(crack)}</b> long<br/>${placeOf(crack)}, frame ${plain(crack.frame_name)}</p>
        <button class="primary" onClick=${() => go("cracks", crack.crack_id)}>Open the crack</button></aside>`}
    </div></div>`;
}
