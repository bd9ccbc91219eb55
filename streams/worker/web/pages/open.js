// Open calls by age, status and country. What is chosen stands in the address, so it can be sent to a colleague.

import {
  $, number, duration, moment, text, element, redraw, bars, visible, banner, filterForm, request, keepLooking,
} from "/common.js";

const EVERY = 5000; // ms between looks
const PIECE = 100;
const pages = [""]; // of the page that is shown and those before it, the place behind which each begins
let next = null; // where the one after it begins

// -- what is shown

const steps = (seconds) => (seconds === null ? null : seconds < 3600 ? `${seconds / 60} min` : `${seconds / 3600} h`);
const coarse = (ms) => duration(Math.floor(Math.max(0, ms) / 10000) * 10);

function show(found) {
  const now = Date.now();
  text($("total"), number.format(found.total));
  document.title = `${number.format(found.total)} open calls · Telefonie`;
  let from = null;
  bars($("ages"), found.ages.map((each) => {
    const to = steps(each.up_to_seconds);
    const name = from === null ? `up to ${to}` : to === null ? `over ${from}` : `${from} to ${to}`;
    from = to;
    return [name, each.calls];
  }));
  const rows = found.calls.map((each) => [each.id, each.status, moment(each.opened_at).slice(0, 19), coarse(now - Date.parse(each.opened_at)),
    coarse(now - Date.parse(each.last_event_at)), each.from_country ?? "–", each.to_country ?? "–",
    moment(each.due_at).slice(0, 19)]);
  redraw($("calls").tBodies[0], rows, () => rows.map(([id, status, opened, age, silence, a, b, due]) => element("tr", {},
    element("td", { class: "mono id" }, element("a", { href: `/calls/${encodeURIComponent(id)}` }, element("bdi", {}, visible(id)))),
    element("td", {}, status), element("td", { class: "mono" }, opened), element("td", { class: "n" }, age), element("td", { class: "n" }, silence),
    element("td", {}, a), element("td", {}, b), element("td", { class: "mono" }, due))));
  const before = PIECE * (pages.length - 1);
  text($("note"), found.total === 0 ? "No open call fits." : found.calls.length === 0 ? "No more: those that were here have closed."
    : `${number.format(before + 1)} to ${number.format(before + found.calls.length)} of ${number.format(found.total)}.`);
  ({ next } = found);
  $("next").hidden = next === null;
  $("previous").hidden = pages.length === 1;
  const missing = found.problems.length ? [`These are the calls of ${found.partitions.length} of ${found.of} partitions only.`] : [];
  banner([...missing, ...found.problems]);
}

async function look() {
  const after = pages.at(-1);
  const answer = await request(`/calls?${new URLSearchParams([...chosen(), ["limit", PIECE], ...(after ? [["after", after]] : [])])}`, "Calls");
  if (after !== pages.at(-1)) return answer.status; // another page has been asked for meanwhile
  if (answer.status === 200) show(answer.body);
  return answer.status;
}

function turn() {
  $("calls").parentElement.focus();
  lookNow();
}

const chosen = filterForm("/calls", () => { pages.length = 1; lookNow(); });
const lookNow = keepLooking(look, EVERY);
$("next").addEventListener("click", () => { pages.push(next); turn(); });
$("previous").addEventListener("click", () => { pages.pop(); turn(); });
