// Lines over time, and along a crack: uPlot, in the page's own colours.
import { html, useEffect, useLayoutEffect, useRef } from "./vendor/preact-htm/standalone.module.js";
import { number } from "./format.js";

const token = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();

export function Chart({ data, series, height = 150, x = {}, label, unit = "" }) {
  const box = useRef(null);
  const plot = useRef(null);
  const theme = document.documentElement.dataset.theme ?? "";
  useLayoutEffect(() => {
    const axis = { stroke: token("--muted"), grid: { stroke: token("--line"), width: 1 }, ticks: { show: false }, font: `12px ${token("--font")}` };
    const options = {
      width: box.current.clientWidth || 300,
      height,
      legend: { show: false },
      cursor: { y: false },
      scales: { x: { time: x.time ?? false }, y: { range: (_, low, high) => [Math.min(0, low ?? 0), (high ?? 1) * 1.1 || 1] } },
      axes: [{ ...axis, size: x.time ? 42 : 26, ...(x.values ? { values: x.values } : {}) }, { ...axis, size: 48, values: (_, ticks) => ticks.map((t) => `${+t.toFixed(2)}${unit}`) }],
      series: [{}, ...series.map((one) => ({ label: one.label, stroke: token(one.colour), width: 1.6, points: { show: false }, spanGaps: false, fill: one.fill ? `${token(one.colour)}26` : undefined }))],
    };
    plot.current = new uPlot(options, data, box.current);
    const watch = new ResizeObserver(() => plot.current?.setSize({ width: box.current.clientWidth, height }));
    watch.observe(box.current);
    return () => { watch.disconnect(); plot.current?.destroy(); plot.current = null; };
  }, [theme, series.map((s) => s.label).join()]);
  useEffect(() => { plot.current?.setData(data); });
  return html`<div class="chart" role="img" aria-label=${label}><div ref=${box}></div>${series.length > 1 && html`<div class="legend">${series.map((one) => html`<span key=${one.label}><i class="swatch ${one.colour.slice(2)}"></i>${one.label}</span>`)}</div>`}</div>`;
}

export function Profile({ widths, scale }) {
  const longest = widths.reduce((a, b) => (b.length > a.length ? b : a), []);
  const known = longest.filter((w) => w !== null);
  if (known.length < 3) return null;
  const per = scale ?? 1;
  const unit = scale === null ? "px" : "mm";
  const every = Math.max(1, Math.ceil(longest.length / 1200));
  const kept = longest.map((w, i) => [i, w]).filter(([i]) => i % every === 0);
  const data = [kept.map(([i]) => i * per), kept.map(([, w]) => (w === null ? null : w * per))];
  const most = Math.max(...known) * per;
  return html`<section class="profile"><h3>Width along the crack <span class="between">${unit}, its longest branch</span></h3>
    <${Chart} data=${data} series=${[{ label: "width", colour: "--accent", fill: true }]} height=${130} label="Width along the crack's longest branch, at most ${number(most)} ${unit}"/></section>`;
}
