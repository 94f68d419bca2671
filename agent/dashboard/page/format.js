// How figures and names are shown, as in the report and on the overlays.
export const SEVERITIES = ["severe", "high", "moderate", "low", "none", "ungraded"]; // the worst first
export const KINDS = ["crack", "joint", "cable", "shadow", "stain", "print"];
const HIDDEN = /[\p{Cc}\p{Cf}\p{Cs}\p{Co}\p{Cn}\p{Zl}\p{Zp}]/gu;
const LONGEST = 300;

// One line, with every character that could disguise it spelled out, cut where it is overlong.
export function plain(text) {
  if (text === null || text === undefined) return "";
  const whole = String(text);
  const shown = whole.slice(0, LONGEST).replace(HIDDEN, (c) => `\\u{${c.codePointAt(0).toString(16)}}`);
  return whole.length > LONGEST ? `${shown}… (${whole.length} characters)` : shown;
}

export function number(value) {
  if (value === null || value === undefined) return "–";
  const size = Math.abs(value);
  return value.toFixed(size >= 100 ? 0 : size >= 10 ? 1 : 2);
}

export const short = (id) => plain(String(id).slice(0, 6));
export const inUnit = (mm, px) => (mm !== null ? `${number(mm)} mm` : px !== null ? `${number(px)} px` : "?");
export const widthOf = (c) => (c.gradable || c.width_px === null ? "" : "~") + inUnit(c.width_mm, c.width_px);
export const lengthOf = (c) => (c.length_mm !== null && c.length_mm >= 1000 ? `${number(c.length_mm / 1000)} m` : inUnit(c.length_mm, c.length_px));

export function intervalOf(c) {
  const [low, high] = c.width_mm !== null ? [c.width_lo_mm, c.width_hi_mm] : [c.width_lo_px, c.width_hi_px];
  return low === null || high === null ? null : [low, high];
}

export function placeOf(c) {
  if (c.chainage_m !== null) return `${c.chainage_m.toFixed(2)} m${c.clock_deg === null ? "" : ` · ${Math.round(c.clock_deg)}°`}`;
  if (c.lat !== null && c.lon !== null) return `${c.lat.toFixed(5)}, ${c.lon.toFixed(5)}`;
  if (c.x_mm !== null) return `${(c.x_mm / 1000).toFixed(2)}, ${(c.y_mm / 1000).toFixed(2)} m`;
  return "–";
}

export const percent = (share) => (share === null || share === undefined ? "–" : `${Math.round(share * 100)} %`);
export const area = (m2) => (m2 === null || m2 === undefined ? "unknown" : `${m2 < 10 ? m2.toFixed(2) : number(m2)} m²`);
export const clock = (ms) => new Date(ms).toLocaleString(undefined, { dateStyle: "medium", timeStyle: "short" });

export function seconds(s) {
  if (s === null || s === undefined) return "–";
  if (s < 90) return `${s < 10 ? s.toFixed(1) : Math.round(s)} s`;
  if (s < 5400) return `${Math.round(s / 60)} min`;
  return s < 172800 ? `${(s / 3600).toFixed(1)} h` : `${Math.round(s / 86400)} days`;
}

// What cracks are ordered by, the worst the highest: severity, gradable, width (mm before px), length.
export function badness(c) {
  return [SEVERITIES.length - SEVERITIES.indexOf(c.severity), c.gradable ? 1 : 0, c.width_mm ?? 0, c.width_px ?? 0, c.length_px];
}

export function compare(a, b) {
  for (let i = 0; i < a.length; i += 1) if (a[i] !== b[i]) return a[i] < b[i] ? -1 : 1;
  return 0;
}

export const plural = (count, one, many = `${one}s`) => `${count.toLocaleString("en")} ${count === 1 ? one : many}`;
