// What was inspected, what was seen in vain, what was never seen: colours with a pattern each, and what a place tells.
import { html } from "./vendor/preact-htm/standalone.module.js";
import { area, number } from "./format.js";

export const STATES = { inspected: "inspected", not_gradable: "seen, not gradable", never_seen: "never seen" };
export const REASONS = { blur: "out of focus", dark: "too dark", bright: "too bright", ignored: "covered by the carrier" };
const token = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

// Colour alone tells not everybody apart, and no one in the sun: stripes are not gradable, crosses never seen.
export const Patterns = () => html`<svg class="patterns" aria-hidden="true" width="0" height="0"><defs>
  <pattern id="p-inspected" width="8" height="8" patternUnits="userSpaceOnUse"><rect class="wash inspected" width="8" height="8"/></pattern>
  <pattern id="p-not_gradable" width="9" height="9" patternUnits="userSpaceOnUse" patternTransform="rotate(45)"><rect class="wash not_gradable" width="9" height="9"/><path class="stripe not_gradable" d="M2 0V9"/></pattern>
  <pattern id="p-never_seen" width="9" height="9" patternUnits="userSpaceOnUse" patternTransform="rotate(45)"><rect class="wash never_seen" width="9" height="9"/><path class="stripe never_seen" d="M2 0V9M0 2H9"/></pattern></defs></svg>`;

const Swatch = ({ state }) => html`<svg class="patch" viewBox="0 0 22 14" width="22" height="14" aria-hidden="true"><rect class="edge ${state}" x="0.75" y="0.75" width="20.5" height="12.5" rx="2" fill="url(#p-${state})"/></svg>`;

export function Legend({ coverage, here, seen, under }) {
  if (!coverage) return null;
  const reasons = Object.entries(REASONS).filter(([name]) => coverage[`not_gradable_${name}_m2`] > 0);
  return html`<ul class="key" aria-label="Coverage">${Object.entries(STATES).map(([name, text]) => html`<li key=${name} data-state=${name}><${Swatch} state=${name}/>${text}: <b>${area(coverage[`${name}_m2`])}</b>${name === "not_gradable" && reasons.length > 0 && html` <span>(${reasons.map(([reason, words]) => `${words} ${area(coverage[`not_gradable_${reason}_m2`])}`).join(", ")})</span>`}</li>`)}
    ${coverage.smallest_width_mm !== null && html`<li>cracks could be found from <b>${number(coverage.smallest_width_mm)} mm</b> on, at worst ${number(coverage.smallest_width_worst_mm)} mm</li>`}
    ${!here && html`<li class="note">${seen ? "Drawn here: whole pictures, as far as they looked." : under ? `Not drawn here: where it lies is known under ${UNDER[under]}.` : "Not drawn: where it lies is not known."}</li>`}
    ${here && html`<li class="note">Point at a place, or tap it, to read it.</li>`}</ul>`;
}


const UNDER = { map: "Map", strip: "Tunnel strip", wall: "Wall" };
const ORDER = ["never_seen", "not_gradable", "inspected"]; // what one camera saw well is seen, whatever another saw

// Lays coverage under a view, where x and y are an offset and a factor of the surface's millimetres, and says what a
// place tells. The cracks' canvas lies above and takes every pointer, so places are looked up, not hit.
export function layOver(map, place, onto, latlng) {
  const areas = place.areas.filter((one) => (one.surface ?? "wall") === onto.surface).sort((a, b) => ORDER.indexOf(a.state) - ORDER.indexOf(b.state));
  const pane = map.createPane("coverage");
  pane.style.zIndex = 350;
  const renderer = L.svg({ pane: "coverage", padding: 0.5 });
  const bounds = L.latLngBounds([]);
  const boxes = areas.map((one) => {
    const rings = one.outlines_mm.map((ring) => ring.map(([x, y]) => latlng(onto.x[0] + onto.x[1] * x, onto.y[0] + onto.y[1] * y)));
    rings[0]?.forEach((p) => bounds.extend(p));
    L.polygon(rings, { pane: "coverage", renderer, interactive: false, className: `cover ${one.state}`, weight: one.state === "inspected" ? 1 : 1.5, color: token(`--${one.state}`), fillColor: `url(#p-${one.state})`, fillOpacity: 1, dashArray: one.state === "never_seen" ? "5 4" : null }).addTo(map);
    const [xs, ys] = [0, 1].map((axis) => (one.outlines_mm[0] ?? []).map((p) => p[axis]));
    return [Math.min(...xs), Math.max(...xs), Math.min(...ys), Math.max(...ys)];
  });
  const at = (where) => {
    const [right, up] = latlng.back(where);
    const [x, y] = [(right - onto.x[0]) / onto.x[1], (up - onto.y[0]) / onto.y[1]];
    const found = areas.findLast((one, i) => x >= boxes[i][0] && x <= boxes[i][1] && y >= boxes[i][2] && y <= boxes[i][3] && inside(one.outlines_mm, x, y));
    return found ? told(found, widthAt(place.widths, found, x, y)) : null;
  };
  const tip = L.tooltip({ className: "told", opacity: 1, offset: [12, 0] });
  const look = (event) => { // of the element: over a canvas Leaflet leaves out moves that come fast, the last one too
    const where = map.mouseEventToLatLng(event);
    const words = event.target.closest(".leaflet-control") ? null : at(where);
    if (words) map.openTooltip(tip.setContent(words).setLatLng(where));
    else map.closeTooltip(tip);
  };
  const leave = () => map.closeTooltip(tip);
  const [on, off] = ["addEventListener", "removeEventListener"].map((name) => () => {
    for (const kind of ["pointermove", "click"]) map.getContainer()[name](kind, look);
    map.getContainer()[name]("pointerleave", leave);
  });
  on();
  map.on("movestart", leave).on("unload", off);
  return bounds;
}

function inside(rings, x, y) { // even-odd: a hole's outline takes away what the outer one gave
  let odd = false;
  for (const ring of rings) for (let i = 0, k = ring.length - 1; i < ring.length; k = i, i += 1) {
    const [[x1, y1], [x2, y2]] = [ring[i], ring[k]];
    if (y1 > y !== y2 > y && x < x1 + ((y - y1) / (y2 - y1)) * (x2 - x1)) odd = !odd;
  }
  return odd;
}

function widthAt(widths, one, x, y) {
  const found = widths.find((w) => w.camera === one.camera && w.surface === (one.surface ?? "wall"));
  if (!found) return null;
  const [column, row] = [Math.floor((x - found.x_mm) / found.block_mm[0]), Math.floor((y - found.y_mm) / found.block_mm[1])];
  return column < 0 || column >= found.columns || row < 0 ? null : found.width_mm[row * found.columns + column] ?? null;
}

function told(one, width) {
  const words = { inspected: "Inspected", not_gradable: `Seen, not gradable${one.reason ? `: ${REASONS[one.reason] ?? one.reason}` : ""}`, never_seen: "Never seen" }[one.state] ?? one.state;
  const box = document.createElement("div");
  const line = (tag, text) => box.append(Object.assign(document.createElement(tag), { textContent: text }));
  line("b", words);
  if (one.state === "inspected" && width !== null) line("span", `Cracks from ${number(width)} mm on could be found here`);
  line("span", `${area(one.area_m2)} in one piece`);
  return box;
}
