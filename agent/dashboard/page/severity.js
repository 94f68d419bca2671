// How bad a crack is, in one word and a colour; what is no crack says what it is.
import { html } from "./vendor/preact-htm/standalone.module.js";
import { plain } from "./format.js";

export function Severity({ crack }) {
  const name = crack.kind === "crack" ? plain(crack.severity_class ?? crack.severity) : crack.kind;
  return html`<span class="severity ${crack.kind === "crack" ? crack.severity : "other"}" title=${name}><i></i><span>${name}</span></span>`;
}
