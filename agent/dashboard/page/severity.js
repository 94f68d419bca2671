// How bad a crack is, in one word and a colour; what is no crack says what it is.
import { html } from "./vendor/preact-htm/standalone.module.js";
import { plain } from "./format.js";

export const Severity = ({ crack }) => html`<span class="severity ${crack.kind === "crack" ? crack.severity : "other"}"><i></i>${crack.kind === "crack" ? plain(crack.severity_class ?? crack.severity) : crack.kind}</span>`;
