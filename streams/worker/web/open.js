// Open calls by age, status and country. What is chosen stands in the address, so it can be sent to a colleague.

import { $, number, duration, text, element, redraw, bars, visible, ask, useToken, findCalls } from "/common.js";

const EVERY = 5000; // ms between looks
let limit = 100;
let changed = null; // wakes the look

// -- the filters, and the address

const filters = $("filters");

function fromAddress() {
  const query = new URLSearchParams(location.search);
  for (const box of filters.elements.status) box.checked = query.getAll("status").includes(box.value);
  const older = query.get("older_than") ?? "";
  const select = filters.elements.older_than;
  if (![...select.options].some((each) => each.value === older)) select.append(new Option(older, older));
  select.value = older;
  filters.elements.country.value = query.get("country") ?? "";
}

function query() {
  const chosen = new URLSearchParams();
  for (const [name, value] of new FormData(filters)) if (value.trim()) chosen.append(name, value.trim());
  return chosen;
}

filters.addEventListener("input", () => {
  if (!filters.checkValidity()) return;
  const chosen = query().toString();
  history.replaceState(null, "", chosen ? `/calls?${chosen}` : "/calls");
  changed?.();
});
filters.addEventListener("submit", (event) => event.preventDefault());
addEventListener("popstate", () => { fromAddress(); changed?.(); });

$("more").addEventListener("click", () => { limit = 1000; changed?.(); });

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
  $("more").hidden = limit > 100 || found.calls.length >= found.total;
  const missing = found.problems.length ? [`These are the calls of ${found.partitions.length} of ${found.of} partitions only.`] : [];
  banner([...missing, ...found.problems]);
}

function banner(lines) {
  $("banner").className = "warn";
  $("banner").hidden = !lines.length;
  redraw($("banner"), lines, () => lines.map((line) => element("p", {}, visible(line.charAt(0).toUpperCase() + line.slice(1)))));
}

async function look() {
  const chosen = query();
  chosen.append("limit", limit);
  const answer = await ask(`/calls?${chosen}`);
  $("token").hidden = answer.status !== 401;
  if (answer.status === 200) show(answer.body);
  else if (answer.status === 401) banner([answer.wrong ? "The worker does not know that token." : "Calls are shown to those who have the API token."]);
  else banner([answer.status === 503 ? `This cannot be said now: ${answer.detail}` : answer.detail]);
  return answer.status;
}

async function keepLooking() {
  for (;;) {
    const again = new Promise((resolve) => { changed = resolve; });
    const status = document.hidden ? 0 : await look();
    if (status === 401) await useToken();
    else await Promise.race([again, new Promise((resolve) => { setTimeout(resolve, EVERY); })]);
  }
}

fromAddress();
findCalls();
keepLooking();
