// One call: what the workers hold of it now, what was published of it, and what was rejected.

import {
  $, number, duration, talk, text, element, redraw, moment, visible, ask, lookOn, reach, useToken,
} from "/common.js";

const id = decodeURIComponent(location.pathname.slice("/calls/".length));
const path = encodeURIComponent(id);
const EVERY = 2000; // ms between looks at a call that may change

const ORDER = ["queued", "ringing", "in-progress"];
const GROUPS = {
  Call: ["status", "direction", "answered", "answered_by", "closed_by", "closed_at", "revision", "events"],
  Parties: ["from", "from_country", "to", "to_country"],
  Times: ["start_time", "end_time", "duration", "ring_seconds", "talk_seconds", "opened_at", "last_event_at", "due_at"],
  Money: ["price", "price_unit"],
  Links: ["recording_url", "url", "status_callback"],
};
const NUMBERS = ["from", "to"];
const ANOMALIES = {
  "conflicting-status": "Two terminal statuses came; the newer stands.",
  "currency-unknown": "price_unit is not an active ISO 4217 code in capitals: the price is in no sum of charges.",
  "duration-mismatch": "duration differs from end_time less start_time by more than a second.",
  "end-before-start": "end_time lies before start_time, so there is no talk time.",
  "id-not-uuid": "The id is not 8-4-4-4-12 hexadecimal digits.",
  "identity-changed": "A later event had another direction, from or to; the first ones stand.",
  "missing-answer": "Completed, but no in-progress was seen and there is no start_time.",
  "no-history": "Its first event was already terminal: earlier ones were lost, rejected, or came after it was forgotten.",
  "number-unknown": "from or to is a number of no known region.",
  "out-of-order": "An event came that the call had already passed; it filled only what was still absent.",
  "price-invalid": "The price is not a sign, 1 to 18 digits, and perhaps a point and 1 to 18 digits: it is in no sum of charges.",
  "price-without-currency": "There is a price and no price_unit: it is in no sum of charges.",
  "timed-out": "It was once closed by its timeout: no terminal event came in time.",
};

let call = null; // as the workers hold it
let held = false; // whether it is held by a worker; false also before anybody has said so
let shown = false; // phone numbers
const revisions = new Map(); // by place
let erased = null;

const masked = (said) => said.replace(/\d(?=\d{2})/g, "•");
const elapsed = (from, to) => duration((Date.parse(to) - Date.parse(from)) / 1000);

// -- the state in words

function say(kind, state, meaning) {
  $("state").className = `figure ${kind}`;
  text($("state"), state);
  text($("meaning"), meaning);
  document.title = `${state} · ${visible(id).slice(0, 40)} · Telefonie`;
}

function sayHeld() {
  if (call.open) {
    say("good", "Open", `It is ${call.status}, and was opened ${elapsed(call.opened_at, new Date())} ago. If no further event comes, its timeout closes it at ${moment(call.due_at)}.`);
    return;
  }
  const how = call.closed_by === "timeout" ? "by its timeout, since no event ended it," : `as ${call.status}`;
  say("", "Closed", `It closed ${how} at ${moment(call.closed_at)}. Until ${moment(call.due_at)} later events still amend it; then it is forgotten.`);
}

// A worker has said that none of them holds it: what was published tells the rest.
function sayNotHeld(look) {
  const known = [...revisions.values()];
  if (erased) {
    say("warn", "Erased", `A tombstone of ${moment(erased.at ?? "an unknown time")} takes it out of the topic of completed calls.`);
  } else if (known.length) {
    say("", "Forgotten", "It closed, was published as below, and its time to be amended is over. A new event of this id would begin a new call.");
  } else if (!look) {
    say("", "Not held", "No worker holds it now. Looking for what was published of it …");
  } else if (look.next) {
    say("warn", "Not found yet", "No worker holds it, and what was read of the topic has nothing of it: it may lie further back.");
  } else {
    say("bad", "Unknown", "No worker holds it, and nothing was published of it in what was read. Is the id exact? Were its events rejected (below)? Did it close before the topic's retention?");
  }
}

// -- its life as a picture

function drawLife(of) {
  const seen = Object.entries(of.timeline ?? {}).map(([status, at]) => ({ status, at: Date.parse(at) }));
  if (!seen.length) return;
  seen.sort((a, b) => a.at - b.at);
  const closed = of.closed_at ? Date.parse(of.closed_at) : null;
  const begin = seen[0].at;
  const end = Math.max(closed ?? Date.now(), ...seen.map((each) => each.at), begin + 1);
  const scale = (at) => Math.min(100, Math.max(0, (100 * (at - begin)) / (end - begin)));
  const bars = seen.map((each, n) => bar(each, seen[n + 1]?.at ?? end, scale));
  const spans = [["ring", of.ring_seconds, of.timeline.ringing], ["talk", of.talk_seconds, of.start_time]]
    .filter(([, seconds, from]) => seconds !== undefined && from);
  const lower = spans.map(([name, seconds, from]) => placed(
    element("span", { class: `span ${name}` }, `${name} ${talk(seconds)}`), scale(Date.parse(from)), scale(Date.parse(from) + 1000 * seconds)));
  $("track").replaceChildren(element("div", { class: "bars-of-life" }, ...bars), element("div", { class: "spans" }, ...lower));
  $("track").setAttribute("aria-label", `Timeline: ${seen.map((each) => each.status).join(", then ")}${closed === null ? ", still open" : ""}`);
  const rows = seen.map((each) => [new Date(each.at).toISOString(), each.status, n2(each.at - begin)]);
  if (of.start_time) rows.push([of.start_time, "answered (start_time)", n2(Date.parse(of.start_time) - begin)]);
  if (of.end_time) rows.push([of.end_time, "ended (end_time)", n2(Date.parse(of.end_time) - begin)]);
  if (of.closed_at) rows.push([of.closed_at, of.closed_by === "timeout" ? "closed by its timeout" : "closed", n2(closed - begin)]);
  rows.sort((a, b) => Date.parse(a[0]) - Date.parse(b[0]));
  if (of.due_at) rows.push([of.due_at, of.open ? "to come: closed by its timeout" : "to come: forgotten", n2(Date.parse(of.due_at) - begin)]);
  redraw($("moments"), rows, () => rows.map(([at, what, after]) => element("li", {},
    element("time", { class: "mono", datetime: at }, moment(at)), element("span", {}, what, " ", element("small", {}, after)))));
  $("life-row").hidden = false;
}

const n2 = (ms) => (ms <= 0 ? "" : `after ${duration(ms / 1000)}`);

function bar(each, until, scale) {
  const rank = ORDER.indexOf(each.status);
  const kind = rank < 0 ? `end ${each.status}` : `s${rank + 1}`;
  return placed(element("i", { class: kind, title: `${each.status} ${moment(new Date(each.at).toISOString())}` }), scale(each.at), rank < 0 ? scale(each.at) : scale(until));
}

function placed(node, from, to) {
  node.style.left = `${Math.min(from, 99.5)}%`;
  node.style.width = `${Math.max(0.5, to - from)}%`;
  return node;
}

// -- its fields

function drawFields(of) {
  redraw($("fields"), [of, shown], () => Object.entries(GROUPS).flatMap(([group, names]) => {
    const rows = names.filter((name) => of[name] !== undefined).map((name) => [name, of[name]]);
    if (group === "Money" && of.price === undefined) rows.unshift(["price", "no accepted event had one"]);
    if (group === "Call") rows.push(["source", `${of.source.topic} ${of.source.partition}:${of.source.offset}`]);
    if (!rows.length) return [];
    return [element("h3", {}, group), element("dl", { class: "facts" }, ...rows.flatMap(([name, value]) => [
      element("dt", {}, name), element("dd", {}, element("bdi", {}, said(name, value)))]))];
  }));
  const found = of.anomalies ?? [];
  redraw($("anomalies"), found, () => found.flatMap((name) => [
    element("dt", {}, name), element("dd", {}, ANOMALIES[name] ?? "An anomaly that this page does not know.")]));
  text($("anomalies-note"), found.length ? "" : "None: nothing is odd about it.");
  $("fields-card").hidden = $("anomalies-card").hidden = false;
}

function said(name, value) {
  const written = visible(typeof value === "object" ? JSON.stringify(value) : value);
  return NUMBERS.includes(name) && !shown ? masked(written) : written;
}

$("numbers").addEventListener("click", () => {
  shown = !shown;
  $("numbers").setAttribute("aria-pressed", String(shown));
  text($("numbers"), shown ? "Hide phone numbers" : "Show phone numbers");
  draw();
});

// -- what was published

function flat(value, at = "", found = {}) {
  for (const [name, each] of Object.entries(value)) {
    if (each !== null && typeof each === "object" && !Array.isArray(each)) flat(each, `${at}${name}.`, found);
    else found[`${at}${name}`] = Array.isArray(each) ? each.join(", ") : String(each);
  }
  return found;
}

function changes(before, after) {
  const [old, now] = [flat(before), flat(after)];
  return [...new Set([...Object.keys(old), ...Object.keys(now)])].filter((name) => name !== "revision" && old[name] !== now[name])
    .map((name) => [name, old[name], now[name]]);
}

function ordered() {
  return [...revisions.values()].sort((a, b) => b.offset - a.offset);
}

function drawRevisions() {
  const all = ordered();
  redraw($("revisions"), [all, shown], () => all.map((each, n) => {
    const before = all[n + 1];
    const head = element("h3", {}, `Revision ${each.call.revision}`, " ", element("small", { class: "muted" }, `${each.at ? moment(each.at) : "no time"} · ${each.partition}:${each.offset}`));
    const rows = before ? changes(before.call, each.call) : [];
    const note = before ? (rows.length ? [] : [element("p", { class: "muted" }, "The same as the one before it.")])
      : [element("p", { class: "muted" }, each.call.revision === 1 ? "The first." : "The oldest that was found: compaction, or what has not been read yet, has the others.")];
    return element("section", { class: "revision" }, head, ...note, ...(rows.length ? [diff(rows)] : []), whole(each.call));
  }));
}

function diff(rows) {
  return element("div", { class: "scroll", tabindex: 0, role: "region", "aria-label": "Changes" }, element("table", {},
    element("thead", {}, element("tr", {}, ...["Changed", "From", "To"].map((name) => element("th", { scope: "col" }, name)))),
    element("tbody", {}, ...rows.map(([name, old, now]) => element("tr", {}, element("td", {}, name),
      element("td", {}, old === undefined ? element("span", { class: "muted" }, "absent") : element("del", {}, said(name, old))),
      element("td", {}, now === undefined ? element("span", { class: "muted" }, "absent") : element("ins", {}, said(name, now))))))));
}

function whole(value) {
  const written = JSON.stringify(value, (name, each) => (NUMBERS.includes(name) && !shown ? masked(each) : each), 2);
  return element("details", {}, element("summary", {}, "The whole record"), element("pre", { tabindex: 0 }, written.split("\n").map(visible).join("\n")));
}

// -- looking into topics

let revisionsNext = null;
let lookedAt = [];
let looking = false;
async function lookForRevisions(query = "") {
  if (looking) return null;
  looking = true;
  $("published-card").hidden = false;
  $("revisions-more").hidden = $("revisions-others").hidden = true;
  text($("revisions-note"), "Reading the topic …");
  try {
    const answer = await lookOn(`/completed/${path}${query}`, revisionsNext, (look) => {
      for (const each of look.revisions) revisions.set(`${each.partition}:${each.offset}`, each);
      erased ??= look.erased;
      drawRevisions();
      return [...revisions.values()].some((each) => each.call.revision === 1);
    });
    if (answer.status !== 200) {
      text($("revisions-note"), answer.detail);
      $("revisions-more").hidden = false;
      return null;
    }
    const look = answer.body;
    revisionsNext = look.next;
    lookedAt = [...new Set([...lookedAt, ...look.partitions])];
    const complete = [...revisions.values()].some((each) => each.call.revision === 1);
    $("revisions-more").hidden = !look.next || complete;
    $("revisions-others").hidden = revisions.size > 0 || look.next !== null || lookedAt.length >= look.of;
    $("revisions-others").dataset.of = look.of;
    text($("revisions-note"), `${revisions.size ? "" : "Nothing was found. "}${reach({ ...look, partitions: lookedAt })}`);
    return look;
  } finally {
    looking = false;
  }
}

async function lookAgain(query) {
  const look = await lookForRevisions(query);
  if (!held && look) sayNotHeld(look);
  draw();
}

$("revisions-more").addEventListener("click", () => lookAgain());
$("revisions-others").addEventListener("click", () => {
  const others = [...Array(Number($("revisions-others").dataset.of)).keys()].filter((each) => !lookedAt.includes(each));
  lookAgain(`?${others.map((each) => `partition=${each}`).join("&")}`);
});

const letters = new Map();
let lettersNext = null;
$("rejected-more").addEventListener("click", async () => {
  $("rejected-more").disabled = true;
  text($("rejected-note"), "Reading the topic …");
  const answer = await lookOn(`/dead?key=${path}`, lettersNext, (look) => {
    for (const each of look.letters) letters.set(`${each.partition}:${each.offset}`, each);
    return false;
  });
  $("rejected-more").disabled = false;
  if (answer.status !== 200) {
    text($("rejected-note"), answer.detail);
    return;
  }
  lettersNext = answer.body.next;
  text($("rejected-more"), "Look further back");
  $("rejected-more").hidden = lettersNext === null;
  text($("rejected-note"), `${letters.size ? "" : "None was found. "}${reach(answer.body)}`);
  $("rejected").hidden = !letters.size;
  $("rejected").tBodies[0].replaceChildren(...[...letters.values()].map((each) => element("tr", {},
    element("td", {}, element("a", { href: `/dead/${each.partition}:${each.offset}` }, each.at ? moment(each.at) : "no time")), element("td", {}, each.reason), element("td", {}, visible(each.message)),
    element("td", { class: "mono" }, visible(each.path ?? "–")), element("td", { class: "mono" }, `${each.origin.topic} ${each.origin.partition}:${each.origin.offset}`))));
});

// -- keeping up with it

function draw() {
  const of = call ?? ordered()[0]?.call;
  if (!of) return;
  drawFields(of);
  drawLife(of);
  drawRevisions();
}

async function look() {
  const answer = await ask(`/calls/${path}`);
  $("token").hidden = answer.status !== 401;
  if (answer.status === 401) say("warn", "Token needed", answer.wrong ? "The worker does not know that token." : "Calls are shown to those who have the API token.");
  else if (answer.status === 403) say("bad", "Not from here", answer.detail);
  else if (answer.status === 200) await isHeld(answer.body);
  else if (answer.status === 404) await isNotHeld();
  else {
    held = false;
    say("warn", "Cannot be said now", `${answer.detail} Asking again all the time.`);
  }
  if (answer.status === 200 || answer.status === 404) text($("checked"), `As of ${moment(new Date().toISOString().slice(0, 19))}.`);
  return answer.status;
}

async function isHeld(found) {
  const news = found.revision !== undefined && found.revision !== call?.revision;
  call = found;
  held = true;
  $("published-card").hidden = call.open;
  $("rejected-card").hidden = false;
  sayHeld();
  draw();
  if (news) {
    revisionsNext = null;
    await lookForRevisions();
  }
}

async function isNotHeld() {
  const forgotten = call !== null;
  const first = !held && lookedAt.length === 0;
  call = null;
  held = false;
  $("rejected-card").hidden = false;
  if (!first && !forgotten) return;
  sayNotHeld(null);
  sayNotHeld(await lookForRevisions() ?? { next: "" });
  draw();
}

async function keepLooking() {
  for (;;) {
    const status = document.hidden ? 0 : await look();
    if (status === 401 || status === 403) await useToken();
    else await new Promise((resolve) => { setTimeout(resolve, status === 200 && call?.open === false ? 2 * EVERY : EVERY); });
  }
}

text($("id"), visible(id));
$("find-id").value = id;
keepLooking();
