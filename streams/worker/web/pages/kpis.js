// KPIs of the last hours, added up by the workers from the windows that they remember.

import {
  $, number, share, moment, talk, text, element, redraw, visible, banner, columns, filterForm, request, keepLooking,
} from "/common.js";

const EVERY = 10000; // ms between looks
const COLUMNS = ["attempts", "completed", "busy", "no_answer", "failed", "canceled", "timed_out", "answered", "human", "machine"];
const percent = (value) => (value === null ? "–" : `${(100 * value).toFixed(1)} %`);

const asr = (row) => share(row.answered, row.attempts);
const acd = (row) => share(row.talk_ms / 1000, row.answered);
const ner = (row) => share(row.answered + row.busy + row.no_answer + row.canceled, row.attempts);
const FIGURES = {
  attempts: [(row) => row.attempts, number.format],
  asr: [asr, percent],
  acd: [acd, (value) => (value === null ? "–" : talk(value))],
  ner: [ner, percent],
};

let found = null;

$("enough-form").addEventListener("submit", (event) => event.preventDefault());
$("enough").addEventListener("input", () => found && drawCountries());

// -- what is shown

function total(rows) {
  const sums = {};
  for (const row of rows) for (const [name, value] of Object.entries(row)) if (typeof value === "number" && name !== "of") sums[name] = (sums[name] ?? 0) + value;
  return sums;
}

function draw() {
  const sums = total(found.slots);
  const bySlot = new Map(found.slots.map((row) => [Math.round((row.of - found.since_ms) / found.slot_ms), row]));
  const slots = Array.from({ length: Math.max(1, Math.ceil((Date.now() - found.since_ms) / found.slot_ms)) }, (_, n) => bySlot.get(n));
  for (const [name, [value, say]] of Object.entries(FIGURES)) {
    const whole = found.slots.length ? value(sums) : null;
    text($(name), whole === null ? "–" : say(whole));
    const of = (row) => (name === "attempts" ? "" : ` of ${number.format(row.attempts)} attempts`);
    columns($(`${name}-chart`), {
      label: `${name === "attempts" ? "Attempts" : name.toUpperCase()} over time`,
      stacks: slots.map((row) => (row === undefined || value(row) === null ? [] : [["", value(row), `${say(value(row))}${of(row)}`]])),
      top: ["asr", "ner"].includes(name) ? 1 : Math.max(0, ...found.slots.map((row) => value(row) ?? 0)),
      titles: (n) => moment(new Date(found.since_ms + n * found.slot_ms).toISOString().slice(0, 16)),
    });
  }
  drawCountries();
  const charges = Object.entries(addedCharges());
  redraw($("charges").tBodies[0], charges, () => charges.map(([currency, sum]) => element("tr", {},
    element("td", {}, visible(currency)), element("td", { class: "n mono" }, sum))));
  text($("charges-note"), sums.uncharged ? `${number.format(sums.uncharged)} ${sums.uncharged === 1 ? "call has" : "calls have"} a price that is in no sum: it is invalid, or its currency is missing or unknown.`
    : charges.length ? "" : "No call had a price.");
  const since = moment(new Date(found.since_ms).toISOString().slice(0, 16));
  const short = found.remembered_ms < Date.now() - found.since_ms ? ` Workers remember windows for ${found.remembered_ms / 3600000} h only.` : "";
  text($("note"), `Since ${since}, by ${found.slot_ms / 60000} min.${short}`);
  document.title = `ASR ${percent(asr(sums))} · Telefonie`;
}

// The rows of directions add up to all, and their sums are exact decimals: they are added digit by digit.
function addedCharges() {
  const sums = {};
  for (const row of found.directions) for (const [currency, sum] of Object.entries(row.charges)) sums[currency] = plus(sums[currency] ?? "0", sum);
  return sums;
}

function plus(a, b) {
  const places = Math.max(...[a, b].map((each) => (each.split(".")[1] ?? "").length));
  const scaled = ([whole, part = ""]) => BigInt(whole + part.padEnd(places, "0"));
  const sum = scaled(a.split(".")) + scaled(b.split("."));
  const digits = (sum < 0n ? -sum : sum).toString().padStart(places + 1, "0");
  const said = places ? `${digits.slice(0, -places)}.${digits.slice(-places)}`.replace(/\.?0+$/, "") : digits;
  return sum < 0n ? `-${said}` : said;
}

function drawCountries() {
  const enough = Math.max(1, Number($("enough").value) || 1);
  const rows = found.countries.filter((row) => row.attempts >= enough).sort((a, b) => asr(a) - asr(b));
  const cells = rows.map((row) => [row.of, number.format(row.attempts), percent(asr(row)), acd(row) === null ? "–" : talk(acd(row)), percent(ner(row))]);
  redraw($("countries").tBodies[0], cells, () => cells.map(([country, ...figures]) => element("tr", {},
    element("td", {}, country === "ZZ" ? "unknown" : visible(country)), ...figures.map((each) => element("td", { class: "n" }, each)))));
  const less = found.countries.length - rows.length;
  text($("countries-note"), less ? `${number.format(less)} more had fewer attempts.` : "");
}

// -- export of what is shown

// A text that a spreadsheet would take for a formula is none in it.
const cell = (value) => (/^[=+@\t\r]|[",\n]/.test(value) ? `"${value.replace(/^[=+@\t\r]/, "'$&").replaceAll('"', '""')}"` : value);

function csv() {
  const currencies = [...new Set(found.slots.flatMap((row) => Object.keys(row.charges)))].sort();
  const lines = [["start", ...COLUMNS, "talk_seconds", "ring_seconds", "uncharged", ...currencies.map((each) => `charges_${each}`)]];
  for (const row of found.slots) {
    lines.push([new Date(row.of).toISOString(), ...COLUMNS.map((name) => row[name]), row.talk_ms / 1000, row.ring_ms / 1000,
      row.uncharged, ...currencies.map((each) => row.charges[each] ?? "")]);
  }
  return `${lines.map((line) => line.map((value) => cell(String(value))).join(",")).join("\r\n")}\r\n`;
}

$("export").addEventListener("click", () => {
  if (!found) return;
  const link = element("a", { download: "kpis.csv", href: URL.createObjectURL(new Blob([csv()], { type: "text/csv" })) });
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 1000);
});

// -- looking

async function look() {
  const answer = await request(`/kpis?${new URLSearchParams(chosen())}`, "KPIs by destination");
  if (answer.status === 200) {
    found = answer.body;
    const { problems } = found;
    banner(problems.length ? [`These are ${found.partitions.length} of ${found.of} partitions only.`, ...problems] : []);
    draw();
  }
  return answer.status;
}

const chosen = filterForm("/kpis", () => lookNow());
const lookNow = keepLooking(look, EVERY);
