// The picture of a crack, from the whole of it down to single pixels.
import { html, useLayoutEffect, useRef, useState } from "./vendor/preact-htm/standalone.module.js";
import { at } from "./store.js";
import { Icon } from "./icons.js";

const MOST = 32; // screen px per picture px
const NICE = [1, 2, 5];

function bar(scale, zoom) { // a round length of about 90 screen px
  let best = null;
  for (let power = -2; power < 6; power += 1) for (const step of NICE) {
    const mm = step * 10 ** power;
    const px = (mm / scale) * zoom;
    if (px <= 110) best = { mm, px };
  }
  return best;
}

export function Evidence({ id, picture, scale }) {
  const box = useRef(null);
  const drag = useRef(new Map());
  const [size, setSize] = useState({ width: 400, height: 300 });
  const [view, setView] = useState(null); // zoom, and the picture's corner on the screen
  const [lines, setLines] = useState(true);
  const [failed, setFailed] = useState(false);
  const whole = Math.min(size.width / picture.width, size.height / picture.height);
  const now = view ?? { zoom: whole, x: (size.width - picture.width * whole) / 2, y: (size.height - picture.height * whole) / 2 };

  useLayoutEffect(() => {
    const watch = new ResizeObserver(() => setSize({ width: box.current.clientWidth, height: box.current.clientHeight }));
    watch.observe(box.current);
    return () => watch.disconnect();
  }, []);

  const zoomTo = (zoom, x = size.width / 2, y = size.height / 2) => {
    const next = Math.min(MOST, Math.max(whole, zoom));
    if (next <= whole * 1.001) return setView(null);
    const factor = next / now.zoom;
    return setView({ zoom: next, x: x - (x - now.x) * factor, y: y - (y - now.y) * factor });
  };
  const toPixels = () => { // the crack's middle, at 8 screen px a pixel
    const line = picture.lines.reduce((a, b) => (b.length > a.length ? b : a), []);
    const [x, y] = line[Math.floor(line.length / 2)] ?? [picture.x + picture.width / 2, picture.y + picture.height / 2];
    setView({ zoom: 8, x: size.width / 2 - (x - picture.x + 0.5) * 8, y: size.height / 2 - (y - picture.y + 0.5) * 8 });
  };
  useLayoutEffect(() => {
    const key = (event) => {
      if (event.ctrlKey || event.metaKey || event.altKey || event.target.closest("input, textarea, select")) return;
      if (event.key === "+" || event.key === "=") zoomTo(now.zoom * 1.5);
      else if (event.key === "-") zoomTo(now.zoom / 1.5);
      else if (event.key === "0") setView(null);
      else if (event.key === "p") toPixels();
      else if (event.key === "o") setLines((on) => !on);
    };
    addEventListener("keydown", key);
    return () => removeEventListener("keydown", key);
  });
  useLayoutEffect(() => {
    const element = box.current;
    const wheel = (event) => {
      event.preventDefault();
      const { left, top } = element.getBoundingClientRect();
      zoomTo(now.zoom * Math.exp(-event.deltaY / 400), event.clientX - left, event.clientY - top);
    };
    element.addEventListener("wheel", wheel, { passive: false });
    return () => element.removeEventListener("wheel", wheel);
  });
  const down = (event) => {
    if (event.target.closest("button")) return;
    event.currentTarget.setPointerCapture(event.pointerId);
    drag.current.set(event.pointerId, [event.clientX, event.clientY]);
  };
  const move = (event) => {
    const points = drag.current;
    const before = points.get(event.pointerId);
    if (!before) return;
    points.set(event.pointerId, [event.clientX, event.clientY]);
    if (points.size === 1) setView({ ...now, x: now.x + event.clientX - before[0], y: now.y + event.clientY - before[1] });
    else if (points.size === 2) {
      const [other] = [...points].filter(([pointer]) => pointer !== event.pointerId).map(([, point]) => point);
      const apart = (p) => Math.hypot(p[0] - other[0], p[1] - other[1]);
      const { left, top } = box.current.getBoundingClientRect();
      zoomTo((now.zoom * apart([event.clientX, event.clientY])) / Math.max(1, apart(before)), (event.clientX + other[0]) / 2 - left, (event.clientY + other[1]) / 2 - top);
    }
  };
  const up = (event) => drag.current.delete(event.pointerId);
  const ruler = scale === null ? null : bar(scale, now.zoom);
  const path = (points, close) => `${points.map(([x, y], i) => `${i ? "L" : "M"}${(x - picture.x + 0.5).toFixed(2)} ${(y - picture.y + 0.5).toFixed(2)}`).join("")}${close ? "Z" : ""}`;
  return html`<figure class="evidence">
    <div class="glass" ref=${box} tabindex="0" role="group" aria-label="Picture of the crack; plus and minus zoom, P shows its pixels" onPointerDown=${down} onPointerMove=${move} onPointerUp=${up} onPointerCancel=${up} onDblClick=${(e) => !e.target.closest("button") && toPixels()}>
      ${picture.source && !failed ? html`<img src=${at(`/crack.jpg?id=${encodeURIComponent(id)}`)} alt="The crack and its surroundings" draggable="false" onError=${() => setFailed(true)} class=${now.zoom > 3 ? "pixels" : ""}
        style=${{ width: `${picture.width * now.zoom}px`, height: `${picture.height * now.zoom}px`, transform: `translate(${now.x}px, ${now.y}px)` }}/>` : html`<p class="empty">The picture was not kept (record.frames); the outline is all there is.</p>`}
      ${(lines && picture.source !== "overlay") && html`<svg class="over" aria-hidden="true"><g transform="translate(${now.x} ${now.y}) scale(${now.zoom})">
        ${picture.outlines.map((line) => html`<path class="outline" d=${path(line, true)}/>`)}${picture.lines.map((line) => html`<path class="middle" d=${path(line, false)}/>`)}</g></svg>`}
      ${ruler && html`<div class="ruler" style=${{ width: `${ruler.px}px` }}>${ruler.mm >= 1000 ? `${ruler.mm / 1000} m` : `${ruler.mm} mm`}</div>`}
      <div class="zooms"><button class="icon" onClick=${() => zoomTo(now.zoom * 1.6)} aria-label="Zoom in" title="+"><${Icon} name="plus"/></button>
        <button class="icon" onClick=${() => zoomTo(now.zoom / 1.6)} aria-label="Zoom out" title="−"><${Icon} name="minus"/></button>
        <button class="icon" onClick=${() => setView(null)} aria-label="Whole crack" title="0"><${Icon} name="fit"/></button>
        <button class="icon" onClick=${toPixels} aria-label="To the pixels" title="P"><${Icon} name="pixels"/></button>
        ${picture.source !== "overlay" && html`<button class="icon" aria-pressed=${lines ? "true" : "false"} onClick=${() => setLines(!lines)} aria-label="Outlines" title="O"><${Icon} name="outline"/></button>`}</div>
    </div>
    <figcaption>${picture.source === "frame" ? `The camera's pixels, ${picture.width} × ${picture.height} of ${picture.frame_width} × ${picture.frame_height}` : picture.source === "overlay" ? "From the report's drawing: the frame itself was not kept" : "No picture"} · <output id="zoom">${Math.round(now.zoom * 100)} %</output></figcaption>
  </figure>`;
}
