// A table of which only the rows in view exist: thousands of cracks cost what thirty do.
import { html, useEffect, useLayoutEffect, useRef, useState } from "./vendor/preact-htm/standalone.module.js";
import { plain } from "./format.js";

const BEYOND = 6; // rows above and below the view

export function Table({ columns, rows, rowHeight, selected, onSelect, onOpen, sort, onSort, label }) {
  const scroller = useRef(null);
  const [view, setView] = useState({ top: 0, height: 600 });
  const index = rows.findIndex((row) => row.crack_id === selected);

  useLayoutEffect(() => {
    const element = scroller.current;
    const measure = () => setView({ top: element.scrollTop, height: element.clientHeight });
    measure();
    const watch = new ResizeObserver(measure);
    watch.observe(element);
    return () => watch.disconnect();
  }, []);

  useEffect(() => {
    const element = scroller.current;
    if (index < 0) return;
    const head = element.querySelector("[role=rowgroup].head").offsetHeight;
    const [top, bottom] = [index * rowHeight, (index + 1) * rowHeight + head];
    if (top < element.scrollTop) element.scrollTop = top;
    else if (bottom > element.scrollTop + element.clientHeight) element.scrollTop = bottom - element.clientHeight;
  }, [index]);

  const first = Math.max(0, Math.floor(view.top / rowHeight) - BEYOND);
  const last = Math.min(rows.length, Math.ceil((view.top + view.height) / rowHeight) + BEYOND);
  const step = (by) => {
    const next = Math.min(rows.length - 1, Math.max(0, (index < 0 ? -1 : index) + by));
    if (rows[next]) onSelect(rows[next].crack_id);
  };
  const key = (event) => {
    const page = Math.max(1, Math.floor(view.height / rowHeight) - 2);
    const steps = { ArrowDown: 1, j: 1, ArrowUp: -1, k: -1, PageDown: page, PageUp: -page, Home: -rows.length, End: rows.length };
    if (event.target.closest("button") && event.key === "Enter") return;
    if (event.key in steps) {
      event.preventDefault();
      step(steps[event.key]);
    } else if (event.key === "Enter" && index >= 0) onOpen(selected);
  };
  return html`<div class="table" role="grid" aria-label=${label} aria-rowcount=${rows.length + 1} tabindex="0" ref=${scroller}
      aria-activedescendant=${index >= first && index < last ? `row-${index}` : null}
      onScroll=${(e) => setView({ top: e.target.scrollTop, height: e.target.clientHeight })} onKeyDown=${key}>
    <div role="rowgroup" class="head"><div role="row" class="row" aria-rowindex="1">${columns.map((c) => html`
      <div key=${c.key} role="columnheader" class="c-${c.key}" aria-sort=${sort.key === c.key ? (sort.down ? "descending" : "ascending") : null}>
        ${c.value ? html`<button tabindex="-1" onClick=${() => onSort(c.key)}>${c.title}<i>${sort.key === c.key ? (sort.down ? "↓" : "↑") : ""}</i></button>` : c.title}</div>`)}</div></div>
    <div role="rowgroup" class="body" style=${{ height: `${rows.length * rowHeight}px` }}>
      ${rows.slice(first, last).map((row, i) => html`<div key=${row.crack_id} id="row-${first + i}" role="row" class="row" aria-rowindex=${first + i + 2}
          aria-selected=${row.crack_id === selected ? "true" : "false"} data-crack=${plain(row.crack_id)}
          style=${{ top: `${(first + i) * rowHeight}px`, height: `${rowHeight}px` }} onClick=${() => onOpen(row.crack_id)}>
        ${columns.map((c) => html`<div key=${c.key} role="gridcell" class="c-${c.key}">${c.cell(row)}</div>`)}</div>`)}
    </div></div>`;
}
