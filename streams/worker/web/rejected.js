// Rejected records: how many of which reason over time, a list, and one of them with what is in it.

import {
  $, number, moment, text, element, redraw, shape, visible, ask, lookOn, reach, useToken, findCalls,
} from "/common.js";

const REASONS = ["schema", "malformed", "empty", "unsupported-content-type", "too-large", "too-early", "too-late", "failed"];
const SLOTS = 48; // bars in the chart
const ROWS = 200; // in the list

function banner(lines) {
  $("banner").className = "warn";
  $("banner").hidden = !lines.length;
  redraw($("banner"), lines, () => lines.map((line) => element("p", {}, line)));
}

// Ask until there is an answer or a failure that no token changes; null then.
async function answered(asking) {
  for (;;) {
    const answer = await asking();
    $("token").hidden = answer.status !== 401;
    if (answer.status === 401) {
      banner([answer.wrong ? "The worker does not know that token." : "Rejected records are shown to those who have the API token."]);
      await useToken();
      continue;
    }
    banner(answer.status === 200 ? [] : [answer.detail]);
    return answer.status === 200 ? answer.body : null;
  }
}

// What a shell takes for one word.
const quoted = (word) => (/^[\w@%+=:,./-]+$/.test(word) ? word : `'${word.replaceAll("'", "'\\''")}'`);

function command(words) {
  $("command-row").hidden = false;
  text($("command"), `telefonie dead redrive ${words.map(quoted).join(" ")} --dry-run`);
}

// -- many

const filters = $("filters");
let letters = new Map();
let next = null;
let turn = 0; // counts changes of the filters: what comes for a former choice is not shown
let since = 0;

function fromAddress() {
  const query = new URLSearchParams(location.search);
  for (const name of ["span", "reason", "path", "partition"]) {
    const given = query.get(name);
    const field = filters.elements[name];
    if (given !== null && (field.tagName !== "SELECT" || [...field.options].some((each) => each.value === given))) field.value = given;
  }
}

const chosen = () => [...new FormData(filters)].map(([name, value]) => [name, value.trim()]).filter(([, value]) => value);

async function look(from) {
  const own = turn;
  const query = new URLSearchParams(chosen().filter(([name]) => name !== "span"));
  query.append("since", new Date(since).toISOString());
  text($("note"), "Reading the topic …");
  $("more").hidden = true;
  const found = await answered(() => lookOn(`/dead?${query}`, from, (piece) => {
    if (own !== turn) return true;
    for (const each of piece.letters) letters.set(`${each.partition}:${each.offset}`, each);
    show();
    return false;
  }));
  if (own !== turn || found === null) {
    if (own === turn) text($("note"), "");
    return;
  }
  next = found.next;
  $("more").hidden = next === null;
  text($("note"), next === null ? `All since ${moment(new Date(since).toISOString().slice(0, 19))}.` : reach(found));
}

function begin() {
  turn += 1;
  letters = new Map();
  next = null;
  since = Date.now() - 1000 * Number(filters.elements.span.value);
  const words = chosen().filter(([name]) => ["reason", "partition"].includes(name)).flatMap(([name, value]) => [`--${name}`, value]);
  command([...words, "--since", `${new Date(since).toISOString().slice(0, 19)}Z`]);
  show();
  look(null);
}

let typing = 0;
filters.addEventListener("input", () => {
  if (!filters.checkValidity()) return;
  history.replaceState(null, "", `/dead?${new URLSearchParams(chosen())}`);
  clearTimeout(typing);
  typing = setTimeout(begin, 300);
});
filters.addEventListener("submit", (event) => event.preventDefault());
$("more").addEventListener("click", () => look(next));

function show() {
  const all = [...letters.values()].sort((a, b) => (a.at < b.at ? 1 : a.at > b.at ? -1 : b.offset - a.offset));
  text($("total"), number.format(all.length));
  drawChart(all);
  const rows = all.slice(0, ROWS).map((each) => [`${each.partition}:${each.offset}`, moment(each.at ?? ""), each.reason, each.path, each.message]);
  redraw($("letters").tBodies[0], rows, () => rows.map(([place, at, reason, path, message]) => element("tr", {},
    element("td", { class: "mono" }, element("a", { href: `/dead/${place}` }, place)), element("td", { class: "mono" }, at),
    element("td", {}, visible(reason)), element("td", { class: "mono" }, element("bdi", {}, visible(path ?? "–"))),
    element("td", { class: "why" }, element("bdi", {}, visible(message))))));
  text($("shown"), !all.length ? "None." : all.length > ROWS ? `The newest ${number.format(ROWS)} of ${number.format(all.length)}.` : "");
}

function drawChart(all) {
  const span = Date.now() - since;
  const slots = Array.from({ length: SLOTS }, () => ({}));
  const totals = {};
  for (const each of all) {
    const slot = slots[Math.min(SLOTS - 1, Math.max(0, Math.floor((SLOTS * (Date.parse(each.at) - since)) / span)))];
    slot[each.reason] = (slot[each.reason] ?? 0) + 1;
    totals[each.reason] = (totals[each.reason] ?? 0) + 1;
  }
  const top = Math.max(1, ...slots.map((slot) => Object.values(slot).reduce((a, b) => a + b, 0)));
  const chart = $("chart");
  chart.setAttribute("viewBox", `0 0 ${SLOTS * 10} 100`);
  chart.setAttribute("preserveAspectRatio", "none");
  const said = REASONS.filter((reason) => totals[reason]).map((reason) => `${reason} ${number.format(totals[reason])}`).join(", ");
  chart.setAttribute("aria-label", `Rejected records by reason: ${said || "none"}`);
  chart.replaceChildren(shape("line", { x1: 0, x2: SLOTS * 10, y1: 99.5, y2: 99.5 }), ...slots.flatMap((slot, n) => stack(slot, n, top, span)));
  redraw($("legend"), totals, () => REASONS.filter((reason) => totals[reason]).map((reason) => element("li", {},
    element("i", { class: `r${REASONS.indexOf(reason)}` }), reason, element("b", {}, number.format(totals[reason])))));
}

function stack(slot, n, top, span) {
  let y = 99;
  return REASONS.filter((reason) => slot[reason]).map((reason) => {
    const height = (98 * slot[reason]) / top;
    y -= height;
    const at = moment(new Date(since + (n * span) / SLOTS).toISOString().slice(0, 19));
    return shape("rect", { class: `r${REASONS.indexOf(reason)}`, x: 10 * n + 1, y, width: 8, height }, `${at}: ${number.format(slot[reason])} ${reason}`);
  });
}

// -- one

async function showOne(place) {
  $("one").hidden = false;
  text($("place"), place);
  const found = await answered(() => ask(`/dead/${place}`));
  if (found === null) {
    text($("reason"), "Not shown");
    return;
  }
  document.title = `${found.reason} ${place} · Telefonie`;
  text($("reason"), found.reason);
  text($("message"), visible(found.message));
  const rows = [["rejected", found.at && moment(found.at)], ["its time", found.event_at && moment(found.event_at)], ["JSON path", found.path],
    ["lay at", `${found.origin.topic} ${found.origin.partition}:${found.origin.offset}`]];
  $("about").replaceChildren(...rows.flatMap(([name, value]) => fact(name, visible(value ?? "–"))), ...fact("key", keyOf(found.key)));
  text($("redriven"), found.redriven ? "It has been sent back." : "It has not been sent back.");
  showValue(found);
  $("headers-card").hidden = false;
  $("headers").replaceChildren(...found.headers.flatMap((each) => fact(visible(each.name), written(each.value))));
  text($("headers-note"), found.headers.length ? "" : "It had none.");
  command(["--origin", `${found.origin.partition}:${found.origin.offset}`]);
}

const fact = (name, value) => [element("dt", {}, name), element("dd", {}, typeof value === "string" ? element("bdi", {}, value) : value)];
const written = (content) => (content === null ? "null" : content.kind === "hex" ? `0x${content.content}` : visible(content.content)) + (content?.cut ? " …" : "");

function keyOf(key) {
  if (key === null || key.kind === "hex" || key.cut) return written(key);
  return element("a", { href: `/calls/${encodeURIComponent(key.content)}` }, element("bdi", {}, visible(key.content)));
}

function showValue(found) {
  $("value-card").hidden = false;
  const { value } = found;
  const size = found.value_bytes === null ? "" : `${number.format(found.value_bytes)} bytes`;
  const notes = { json: "indented", text: "text that is no JSON object", hex: "not UTF-8, in hexadecimal digits" };
  if (value === null) {
    text($("value-note"), found.gone ? `${size} that did not fit into the dead letter, and do not lie at their place in the topic any more.` : "It has no value.");
    $("value").hidden = true;
    return;
  }
  text($("value-note"), `${size}, ${notes[value.kind]}${value.cut ? "; only the beginning is shown" : ""}`);
  if (value.kind === "hex") text($("value"), dump(value.content));
  else $("value").replaceChildren(...marked(value, found.path));
}

function dump(hex) {
  const lines = hex.match(/.{1,32}/g) ?? [];
  return lines.map((line, n) => {
    const bytes = line.match(/../g);
    const seen = bytes.map((each) => String.fromCharCode(parseInt(each, 16))).join("").replace(/[^ -~]/g, ".");
    return `${(16 * n).toString(16).padStart(8, "0")}  ${bytes.join(" ").padEnd(47)}  ${seen}`;
  }).join("\n");
}

// The lines of indented JSON, those of the faulty property marked: the one whose name ends the path `$.name`.
function marked(value, path) {
  const lines = value.content.split("\n");
  const name = value.kind === "json" && path?.startsWith("$.") ? `  ${JSON.stringify(path.slice(2))}:` : null;
  const from = name === null ? -1 : lines.findIndex((line) => line.startsWith(name));
  if (from < 0) return [lines.map(visible).join("\n")];
  let to = from + 1;
  while (to < lines.length && /^ {3}|^ {2}[\]}]/.test(lines[to])) to += 1;
  const say = (part) => part.map((line) => `${visible(line)}\n`).join("");
  return [say(lines.slice(0, from)), element("mark", { id: "fault" }, say(lines.slice(from, to)).trimEnd()), `\n${say(lines.slice(to))}`];
}

findCalls();
const place = location.pathname.slice("/dead/".length);
if (place) showOne(place);
else {
  $("many").hidden = false;
  fromAddress();
  begin();
}
