// Drawn here: a line of 1.8, round ends, on 24 px.
import { html } from "./vendor/preact-htm/standalone.module.js";

const PATHS = {
  live: ["M3 7h12v10H3z", "M15 11l6-4v10l-6-4"],
  cracks: ["M13 2l-4 7 4 4-5 4 3 5", "M17 6l3 3", "M17 15l3 3"],
  place: ["M12 21s-7-6-7-11a7 7 0 0 1 14 0c0 5-7 11-7 11z", "M12 7.5a2.5 2.5 0 1 0 .01 0"],
  flight: ["M4 20V10", "M10 20V4", "M16 20v-8", "M21 20H3"],
  health: ["M3 12h4l2-6 4 12 2-6h6"],
  theme: ["M12 3a9 9 0 1 0 9 9 7 7 0 0 1-9-9z"],
  help: ["M9 9a3 3 0 1 1 4.5 2.6c-1 .6-1.5 1.2-1.5 2.4", "M12 17.5v.01", "M12 2.5a9.5 9.5 0 1 0 .01 0"],
  close: ["M5 5l14 14", "M19 5L5 19"],
  check: ["M4 12.5l5 5L20 6.5"],
  cross: ["M6 6l12 12", "M18 6L6 18"],
  unsure: ["M9 9a3 3 0 1 1 4.5 2.6c-1 .6-1.5 1.2-1.5 2.4", "M12 18v.01"],
  merge: ["M6 4v4c0 4 6 4 6 8v4", "M18 4v4c0 4-6 4-6 8"],
  undo: ["M8 5L4 9l4 4", "M4 9h10a6 6 0 0 1 0 12h-4"],
  note: ["M4 5h16v11H11l-5 4v-4H4z"],
  plus: ["M12 5v14", "M5 12h14"],
  minus: ["M5 12h14"],
  fit: ["M4 9V4h5", "M20 9V4h-5", "M4 15v5h5", "M20 15v5h-5"],
  pixels: ["M4 4h6v6H4z", "M14 14h6v6h-6z", "M14 4h6v6h-6z", "M4 14h6v6H4z"],
  outline: ["M4 17c3-8 6 1 9-5s5-4 7-6", "M4 21c4-6 6 0 10-6"],
  left: ["M15 5l-7 7 7 7"],
  right: ["M9 5l7 7-7 7"],
};

export const Icon = ({ name }) => html`<svg class="icon-${name}" viewBox="0 0 24 24" width="22" height="22" aria-hidden="true" fill="none" stroke="currentColor" stroke-width="1.8" stroke-linecap="round" stroke-linejoin="round">
  ${PATHS[name].map((d) => html`<path d=${d}/>`)}</svg>`;
