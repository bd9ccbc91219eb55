// One rejected record: why, where it lay, and what is in it.

import {
  $, number, moment, text, element, visible, redriveCommand, request, useToken, banner,
} from "/common.js";

const place = location.pathname.slice("/dead/".length);
text($("place"), place);

async function look() {
  const answer = await request(`/dead/${place}`, "Rejected records");
  if (answer.status === 200) {
    banner([]);
    show(answer.body);
  } else {
    text($("reason"), "Not shown");
  }
  return answer.status;
}

function show(found) {
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
  if (!found.gone && !found.too_large) redriveCommand(["--origin", `${found.origin.partition}:${found.origin.offset}`]);
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
    text($("value-note"), found.gone ? `${size} that did not fit into the dead letter, and are gone from their place in the topic: they cannot be shown or sent back.`
      : found.too_large ? `${size}: the record takes more than the 16 MiB that are read of one. It cannot be shown or sent back; its producer has to send less.`
        : "It has no value.");
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

while (await look() === 401) await useToken();
