// Rejected records: how many of which reason over time, and a list of them.

import {
  $, number, moment, text, element, redraw, visible, columns, filterForm, redriveCommand, request, lookOn, reach, useToken, banner,
} from "/common.js";

const REASONS = ["schema", "malformed", "empty", "unsupported-content-type", "too-large", "too-early", "too-late", "failed"];
const SLOTS = 48; // columns in the chart
const ROWS = 200; // in the list
const FAULTS = 10; // in the table of the most frequent
const PIECE = 2000; // records in an answer

let letters = new Map();
let next = null;
let backTo = null; // ms: nothing before it has been read; null when all has been
let turn = 0; // counts changes of the filters: what comes for a former choice is not shown
let since = 0;

// The answer of a look on from a place, once there is one that no token changes; null when it failed.
async function answered(query, from, own) {
  for (;;) {
    const answer = await lookOn(`/dead?${query}`, from, (piece) => {
      if (own !== turn) return true;
      for (const each of piece.letters) letters.set(`${each.partition}:${each.offset}`, each);
      backTo = piece.next && (piece.back_to ? Date.parse(piece.back_to) : backTo ?? Date.now());
      show();
      return false;
    }, (path) => request(path, "Rejected records"));
    if (answer.status !== 401) return answer.status === 200 ? answer.body : null;
    await useToken();
  }
}

async function look(from) {
  const own = turn;
  const query = new URLSearchParams(chosen().filter(([name]) => name !== "span"));
  query.append("since", new Date(since).toISOString());
  query.append("limit", PIECE);
  text($("note"), "Reading the topic …");
  $("more").hidden = true;
  const found = await answered(query, from, own);
  if (own !== turn) return;
  text($("note"), "");
  if (found === null) return;
  banner([]);
  next = found.next;
  $("more").hidden = next === null;
  text($("note"), next === null ? `All since ${moment(new Date(since).toISOString().slice(0, 19))}.` : reach(found));
}

function begin() {
  turn += 1;
  letters = new Map();
  next = backTo = null;
  since = Date.now() - 1000 * Number($("filters").elements.span.value);
  const words = chosen().filter(([name]) => name !== "span").flatMap(([name, value]) => [`--${name}`, value]);
  redriveCommand([...words, "--since", `${new Date(since).toISOString().slice(0, 19)}Z`]);
  show();
  look(null);
}

$("more").addEventListener("click", () => look(next));

function show() {
  const all = [...letters.values()].sort((a, b) => (a.at < b.at ? 1 : a.at > b.at ? -1 : b.offset - a.offset));
  text($("total"), number.format(all.length));
  drawChart(all);
  showFaults(all);
  const rows = all.slice(0, ROWS).map((each) => [`${each.partition}:${each.offset}`, moment(each.at ?? ""), each.reason, each.path, each.message]);
  redraw($("letters").tBodies[0], rows, () => rows.map(([place, at, reason, path, message]) => element("tr", {},
    element("td", { class: "mono" }, element("a", { href: `/dead/${place}` }, place)), element("td", { class: "mono" }, at),
    element("td", {}, visible(reason)), element("td", { class: "mono" }, element("bdi", {}, visible(path ?? "–"))),
    element("td", { class: "why" }, element("bdi", {}, visible(message))))));
  text($("shown"), !all.length ? "None." : all.length > ROWS ? `The newest ${number.format(ROWS)} of ${number.format(all.length)}.` : "");
}

function showFaults(all) {
  const counts = new Map();
  for (const { reason, path, message } of all) {
    const fault = JSON.stringify([reason, path, message]);
    counts.set(fault, (counts.get(fault) ?? 0) + 1);
  }
  const most = [...counts].sort(([, a], [, b]) => b - a).slice(0, FAULTS);
  redraw($("faults").tBodies[0], most, () => most.map(([fault, n]) => {
    const [reason, path, message] = JSON.parse(fault);
    const query = new URLSearchParams([...chosen().filter(([name]) => !["reason", "path"].includes(name)), ["reason", reason], ...(path ? [["path", path]] : [])]);
    return element("tr", {}, element("td", { class: "n" }, element("a", { href: `/dead?${query}` }, number.format(n))), element("td", {}, visible(reason)),
      element("td", { class: "mono" }, element("bdi", {}, visible(path ?? "–"))), element("td", { class: "why" }, element("bdi", {}, visible(message))));
  }));
}

function drawChart(all) {
  const span = Date.now() - since;
  const slotOf = (at) => Math.min(SLOTS - 1, Math.max(0, Math.floor((SLOTS * (at - since)) / span)));
  const slots = Array.from({ length: SLOTS }, () => ({}));
  const totals = {};
  for (const each of all) {
    const slot = slots[slotOf(Date.parse(each.at))];
    slot[each.reason] = (slot[each.reason] ?? 0) + 1;
    totals[each.reason] = (totals[each.reason] ?? 0) + 1;
  }
  const found = REASONS.filter((reason) => totals[reason]);
  columns($("chart"), {
    label: `Rejected records by reason: ${found.map((reason) => `${reason} ${number.format(totals[reason])}`).join(", ") || "none"}`,
    stacks: slots.map((slot) => REASONS.filter((reason) => slot[reason]).map((reason) => [`r${REASONS.indexOf(reason)}`, slot[reason], `${number.format(slot[reason])} ${reason}`])),
    top: Math.max(1, ...slots.map((slot) => Object.values(slot).reduce((a, b) => a + b, 0))),
    titles: (n) => moment(new Date(since + (n * span) / SLOTS).toISOString().slice(0, 19)),
    from: backTo ? slotOf(backTo) : 0,
    rest: backTo ? "What is gray has not been read." : "",
  });
  redraw($("legend"), totals, () => found.map((reason) => element("li", {},
    element("i", { class: `r${REASONS.indexOf(reason)}` }), reason, element("b", {}, number.format(totals[reason])))));
}

const chosen = filterForm("/dead", begin);
begin();
