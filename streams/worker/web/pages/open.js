// Open calls by age, status and country. What is chosen stands in the address, so it can be sent to a colleague.

import {
  $, number, duration, text, element, redraw, bars, visible, banner, filterForm, request, keepLooking,
} from "/common.js";

const EVERY = 5000; // ms between looks
const PIECE = 100;
let limit = PIECE;

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
  const rows = found.calls.map((each) => [each.id, each.status, coarse(now - Date.parse(each.opened_at)),
    coarse(now - Date.parse(each.last_event_at)), each.from_country ?? "–", each.to_country ?? "–",
    each.due_at.slice(0, 19).replace("T", " ")]);
  redraw($("calls").tBodies[0], rows, () => rows.map(([id, status, age, silence, a, b, due]) => element("tr", {},
    element("td", { class: "mono id" }, element("a", { href: `/calls/${encodeURIComponent(id)}` }, element("bdi", {}, visible(id)))),
    element("td", {}, status), element("td", { class: "n" }, age), element("td", { class: "n" }, silence),
    element("td", {}, a), element("td", {}, b), element("td", { class: "mono" }, due))));
  text($("note"), found.total === 0 ? "None is open that fits." : found.calls.length < found.total
    ? `The oldest ${number.format(found.calls.length)} of ${number.format(found.total)}.` : "");
  $("more").hidden = limit > PIECE || found.calls.length >= found.total;
  const missing = found.problems.length ? [`These are the calls of ${found.partitions.length} of ${found.of} partitions only.`] : [];
  banner([...missing, ...found.problems]);
}

async function look() {
  const answer = await request(`/calls?${new URLSearchParams([...chosen(), ["limit", limit]])}`, "Calls");
  if (answer.status === 200) show(answer.body);
  return answer.status;
}

const chosen = filterForm("/calls", () => lookNow());
const lookNow = keepLooking(look, EVERY);
$("more").addEventListener("click", () => { limit = 1000; lookNow(); });
