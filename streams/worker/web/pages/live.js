// The live page: one stream of events from the worker, each the whole state, drawn as it comes.

import {
  $, number, share, clock, duration, talk, text, element, redraw, bars, shape, getToken, keepToken, forgetToken, visible, banner,
} from "/common.js";

const OPEN = ["queued", "ringing", "in-progress"];
const OUTCOMES = [
  ["completed", "completed"], ["busy", "busy"], ["no_answer", "no answer"],
  ["canceled", "canceled"], ["failed", "failed"], ["timed_out", "timed out"],
];
const SILENCE = 5000; // ms without a word from the worker, after which the connection counts as lost
const SLOTS = 120; // seconds in a curve
const WINDOWS = 15;

// -- small things

const sum = (values) => values.reduce((total, each) => total + each, 0);
const percent = (value) => (value === null ? "–" : `${(100 * value).toFixed(value < 0.9995 ? 1 : 0)} %`);
const list = (values) => (values.length > 8 ? `${values.slice(0, 8).join(", ")}, …` : values.join(", "));

// The time that the looks cover, one a second since somebody opened the page.
const watched = (looks) => (looks < SLOTS - 5 ? `the last ${looks} s` : "the last two minutes");

// -- charts

function curve(svg, values, what) {
  const top = Math.max(1, ...values) * 1.08;
  const points = values.map((value, n) => `${SLOTS - values.length + n + 1},${(40 * (1 - value / top)).toFixed(2)}`);
  svg.setAttribute("viewBox", `0 0 ${SLOTS} 40`);
  svg.setAttribute("preserveAspectRatio", "none");
  svg.setAttribute("aria-label", values.length
    ? `${what}: now ${number.format(values.at(-1))}, at most ${number.format(Math.max(...values))} in ${watched(values.length)}`
    : what);
  if (!points.length) return svg.replaceChildren();
  const line = `M${points.join("L")}`;
  const first = SLOTS - values.length + 1;
  return svg.replaceChildren(
    shape("path", { class: "area", d: `${line}V40H${first}Z` }), shape("path", { d: line }));
}

// One bar a window; a window without a value has none.
function chart(svg, windows, value, top, say, now) {
  svg.setAttribute("viewBox", `0 0 ${WINDOWS * 10} 40`);
  svg.setAttribute("preserveAspectRatio", "none");
  const bars = windows.flatMap((each) => {
    const found = value(each);
    if (found === null) return [];
    const height = Math.max(1, Math.min(1, found / (top || 1)) * 39);
    const x = 10 * (WINDOWS - 1 - (windows.at(-1).start - each.start) / now.width);
    const bar = { x: x + 1, y: 39.5 - height, width: 8, height, ...(each.start + now.width > now.time && { class: "under-way" }) };
    return [shape("rect", bar, `${clock(each.start).slice(0, 5)} ${say(found, each)}`)];
  });
  svg.replaceChildren(shape("line", { x1: 0, x2: WINDOWS * 10, y1: 39.5, y2: 39.5 }), ...bars);
}

// -- the parts of the page

function showNow(data) {
  text($("rate"), data.rates.length ? number.format(data.rates.at(-1)) : "–");
  curve($("rate-curve"), data.rates, "Events per second");
  text($("rate-note"), data.rates.length ? watched(data.rates.length) : "");
  curve($("lag-curve"), data.lags, "Records waiting");
  const told = data.partitions.filter((each) => each.age !== undefined);
  const behind = Math.max(0, ...told.map((each) => each.age));
  text($("lag"), told.length ? number.format(data.lags.at(-1)) : "–");
  text($("age"), !told.length ? "no worker tells of a partition" : behind > 0 ? `commits are ${duration(behind)} behind` : "everything is committed");
  const total = sum(Object.values(data.open));
  text($("open"), told.length ? number.format(total) : "–");
  OPEN.forEach((status, n) => {
    $("open-split").children[n].style.width = `${100 * (share(data.open[status] ?? 0, total) ?? 0)}%`;
  });
  redraw($("open-legend"), OPEN.map((status) => data.open[status] ?? 0), (counts) => counts.map((n, index) => element("li", {},
    element("i", { class: `s${index + 1}` }), element("a", { href: `/calls?status=${OPEN[index]}` }, OPEN[index]),
    element("b", {}, number.format(n)))));
  const since = data.oldest_open === null ? null : (data.now - data.oldest_open) / 1000;
  text($("oldest"), since !== null ? `the longest for ${duration(since)}` : told.length ? "none is open" : "");
}

function showRejected(data) {
  const lately = sum(Object.values(data.rejected_lately));
  const total = sum(Object.values(data.rejected));
  // Two looks are a first second: before that nothing can be said of what comes in.
  const since = data.rates.length;
  redraw($("rejected"), since ? [lately, since] : null, (found) => found === null ? ["–"]
    : [number.format(lately), element("small", {}, `in ${watched(since).replace("the last ", "")}`)]);
  bars($("reasons"), Object.entries(data.rejected).sort(([, a], [, b]) => b - a)
    .map(([reason, n]) => [reason, data.rejected_lately[reason] ?? 0, n]));
  text($("rejected-note"), total ? `${number.format(total)} since the beginning` : "none since the beginning");
}

function showClosed(data) {
  const now = { width: data.window_ms, time: Math.max(...data.partitions.map((each) => each.stream_time ?? 0)) };
  const last = data.windows.at(-1)?.start ?? 0;
  const windows = data.windows.filter((each) => each.start > last - WINDOWS * now.width);
  const total = (name) => sum(windows.map((each) => each[name] ?? 0));
  const reached = (each) => each.answered + each.busy + each.no_answer + each.canceled;
  const acd = (each) => share(each.talk_ms / 1000, each.answered);
  const longest = Math.max(0, ...windows.map((each) => acd(each) ?? 0));
  const attempts = total("attempts");
  text($("asr"), percent(share(total("answered"), attempts)));
  chart($("asr-chart"), windows, (each) => share(each.answered, each.attempts), 1,
    (found, each) => `${percent(found)} of ${number.format(each.attempts)}`, now);
  text($("acd"), total("answered") ? talk(total("talk_ms") / 1000 / total("answered")) : "–");
  chart($("acd-chart"), windows, acd, longest, talk, now);
  text($("ner"), percent(share(sum(windows.map(reached)), attempts)));
  chart($("ner-chart"), windows, (each) => share(reached(each), each.attempts), 1,
    (found, each) => `${percent(found)} of ${number.format(each.attempts)}`, now);
  text($("closed"), number.format(attempts));
  bars($("outcomes"), OUTCOMES.map(([name, said]) => [said, total(name)]));
  text($("closed-note"), `${number.format(sum(Object.values(data.closed)))} since the beginning`);
  const width = duration(now.width / 1000).replace(" 0 s", "");
  text($("span"), windows.length
    ? `Calls that closed from ${clock(windows[0].start)} to ${clock(last + now.width)} in event time, by windows of ${width}; a pale bar is not over yet.`
    : "No call has closed yet.");
}

let before = null;
function showPartitions(data) {
  const body = $("partitions").tBodies[0];
  while (body.rows.length > data.partitions.length) body.deleteRow(-1);
  const seconds = before ? (data.now - before.now) / 1000 : 0;
  data.partitions.forEach((part, n) => {
    const row = body.rows[n] ?? body.insertRow();
    if (!row.cells.length) {
      row.append(...["", "", "n", "n", "n wide", "n", "wide", "wide mono"].map((kind) => element("td", { class: kind })));
    }
    const last = before?.partitions[n]?.read;
    const rate = seconds > 0 && last !== undefined && part.read !== undefined ? Math.max(0, part.read - last) / seconds : null;
    const cells = [
      String(part.number), null,
      part.end == null ? "–" : number.format(Math.max(0, part.end - part.committed)),
      part.age === undefined ? "–" : part.age ? duration(part.age) : "0 s",
      rate === null ? "–" : number.format(rate),
      part.calls === undefined ? "–" : number.format(part.calls),
      part.stream_time >= 0 ? new Date(part.stream_time).toISOString().slice(0, 19).replace("T", " ") : "–",
      (part.worker ?? "–").replace(/^https?:\/\//, ""),
    ];
    cells.forEach((value, index) => value !== null && text(row.cells[index], value));
    showPartition(row.cells[1], part);
  });
  before = data;
  text($("totals"), `${number.format(sum(data.partitions.map((each) => each.read ?? 0)))} records read since the beginning`);
}

function showPartition(cell, part) {
  redraw(cell, [part.worker !== undefined, part.recovery ?? null], ([owned, recovery]) => {
    if (!owned) return [element("span", { class: "warn" }, "no worker")];
    if (!recovery) return [element("span", { class: "good" }, "processing")];
    const bar = element("progress", { max: 1, value: recovery.done, "aria-label": `Partition ${part.number} restored` });
    const left = recovery.seconds === null ? "" : `, ${duration(recovery.seconds)} left`;
    return [bar, element("span", { class: "warn" }, `restoring${left}`)];
  });
}

function showLists(data) {
  const age = (moment) => duration(Math.floor(Math.max(0, data.now - moment) / 10000) * 10);
  const dead = data.dead.map((each) => [each.reason, `${each.partition}:${each.offset}`, age(each.at)]);
  redraw($("dead").tBodies[0], dead, (rows) => rows.map(([reason, place, ago]) => element("tr", {},
    element("td", {}, reason), element("td", { class: "mono" }, place),
    element("td", { class: "n" }, ago === "0.0 s" ? "just now" : `${ago} ago`))));
  text($("dead-note"), data.dead.length ? "" : "None since the workers started.");
  const longest = (data.longest ?? []).map((each) => [each.id, each.status, age(each.since)]);
  redraw($("longest").tBodies[0], longest, (rows) => rows.map(([id, status, ago]) => element("tr", {},
    element("td", { class: "mono", title: visible(id) }, element("a", { href: `/calls/${encodeURIComponent(id)}` }, visible(id))),
    element("td", {}, status), element("td", { class: "n" }, ago))));
  if (access === "granted") text($("longest-note"), longest.length ? "" : "No call is open.");
}

// -- how the group is

function problems(data) {
  const numbers = (test) => data.partitions.filter(test).map((each) => each.number);
  const restoring = data.partitions.filter((each) => each.recovery);
  const alone = numbers((each) => each.worker === undefined);
  const said = [];
  if (restoring.length) {
    const left = Math.max(...restoring.map((each) => each.recovery.seconds ?? 0));
    const records = number.format(sum(restoring.map((each) => each.recovery_remaining)));
    said.push(["Recovering", `The state of partitions ${list(restoring.map((each) => each.number))} is read back: ${records} records${left ? `, about ${duration(left)}` : ""} to go. Nothing is lost meanwhile, lag grows and falls again.`]);
  }
  const rebalancing = [...data.workers.flatMap((each) => each.ready), ...data.problems].some((each) => each.includes("rebalance"));
  if (rebalancing) said.push(["Rebalancing", "A rebalance is under way: partitions move between the workers."]);
  for (const each of data.workers) {
    for (const line of each.live) said.push(["In trouble", `${each.address}: ${line}`]);
    for (const line of each.ready.filter((reason) => !/^restoring|rebalance/.test(reason))) said.push(["Not ready", `${each.address}: ${line}`]);
  }
  for (const line of data.problems.filter((each) => !each.includes("rebalance"))) said.push(["Not all answer", line]);
  if (alone.length && !said.length) said.push(["Not complete", `No worker tells of partitions ${list(alone)}.`]);
  return said;
}

function showHealth(data) {
  const said = problems(data);
  const waits = !data.partitions.some((each) => each.read) && !said.length;
  pill(said.length ? "warn" : "good", said.length ? said[0][0] : waits ? "Waiting for the first call" : "Processing");
  banner(said.map(([, line]) => line));
  text($("group"), data.app_id);
  const count = data.workers.length;
  text($("updated"), `${count} ${count === 1 ? "worker" : "workers"}, ${data.partitions.length} partitions · ${clock(data.now)} UTC`);
  document.title = `${said.length ? "⚠ " : ""}${number.format(data.rates.at(-1) ?? 0)}/s · Telefonie`;
}

function pill(kind, said) {
  $("state").className = `pill ${kind}`;
  text($("state"), said);
}

function show(data) {
  document.body.className = "";
  showHealth(data);
  showNow(data);
  showRejected(data);
  showClosed(data);
  showPartitions(data);
  showLists(data);
}

// -- the token, kept for this tab only

let token = getToken();
let access = "";
let wrong = false;

function setAccess(found) {
  access = found;
  $("token").hidden = found !== "token";
  if (found === "token") text($("longest-note"), wrong ? "The worker does not know that token." : "Ids are shown to those who have the API token.");
  if (found === "local") text($("longest-note"), "Ids are shown on the worker's own machine, or with TELEFONIE_API_TOKEN set.");
}

$("token").addEventListener("submit", (event) => {
  event.preventDefault();
  token = $("token-value").value.trim() || null;
  wrong = false;
  $("token-value").value = "";
  current?.abort("token");
});

function refused() {
  token = null;
  wrong = true;
  forgetToken();
}

// -- the stream

let current = null;

// EventSource could not send the token. Returns when the stream ends; throws when it breaks, or falls silent.
async function listen() {
  current = new AbortController();
  let silence = setTimeout(() => current.abort("silence"), SILENCE);
  try {
    const headers = token ? { Authorization: `Bearer ${token}` } : {};
    const response = await fetch("/events", { headers, cache: "no-store", signal: current.signal });
    if (response.status === 401) return refused();
    if (!response.ok) throw new Error(`answers ${response.status}`);
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    for (let rest = ""; ;) {
      const { done, value } = await reader.read();
      if (done) throw new Error("ended");
      clearTimeout(silence);
      silence = setTimeout(() => current.abort("silence"), SILENCE);
      const messages = (rest + value).split("\n\n");
      rest = messages.pop();
      messages.forEach(take);
    }
  } finally {
    clearTimeout(silence);
  }
}

let heard = 0;
function take(message) {
  const data = message.match(/^data: (.*)$/m)?.[1];
  if (message.startsWith("event: access")) {
    setAccess(data);
    if (token && data === "granted") keepToken(token);
    return;
  }
  heard = Date.now();
  show(JSON.parse(data));
}

const wait = (ms) => new Promise((resolve) => { setTimeout(resolve, ms); });

async function keepListening() {
  for (let pause = 500; ; pause = Math.min(5000, pause * 1.6)) {
    const before = heard;
    try {
      await listen();
      continue;
    } catch (reason) {
      if (reason === "token") { pause = 500; continue; }
    }
    if (heard !== before) pause = 500;
    lost();
    await wait(pause);
  }
}

function lost() {
  document.body.className = "lost";
  pill("bad", "No connection");
  const since = heard ? ` What is shown is from ${clock(heard)} UTC.` : "";
  banner([`The worker at ${location.host} does not answer; trying again all the time.${since}`], "bad");
}

function openHelp() {
  if (location.hash.startsWith("#help-")) {
    $("help").open = true;
    document.querySelector(location.hash)?.scrollIntoView();
  }
}
addEventListener("hashchange", openHelp);
openHelp();
keepListening();
