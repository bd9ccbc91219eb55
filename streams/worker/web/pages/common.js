// What the pages have in common: making nodes, saying times, charts, filters, and asking the worker with the token.

export const $ = (id) => document.getElementById(id);
export const number = new Intl.NumberFormat("en", { maximumFractionDigits: 0 });
export const share = (part, whole) => (whole ? part / whole : null);
export const clock = (ms) => new Date(ms).toISOString().slice(11, 19);

export function duration(seconds) {
  const s = Math.max(0, seconds);
  if (s < 10) return `${s.toFixed(1)} s`;
  if (s < 60) return `${Math.round(s)} s`;
  if (s < 3600) return `${Math.floor(s / 60)} min ${Math.round(s % 60)} s`;
  if (s < 86400) return `${Math.floor(s / 3600)} h ${Math.floor((s % 3600) / 60)} min`;
  return `${Math.floor(s / 86400)} d ${Math.floor((s % 86400) / 3600)} h`;
}

// As a telephone bill has it: 43 s, 1:43 min, 1:02:03 h.
export function talk(seconds) {
  if (seconds < 59.5) return `${Math.round(seconds)} s`;
  const moment = new Date(1000 * Math.round(seconds)).toISOString();
  return seconds < 3599.5 ? `${moment.slice(14, 19).replace(/^0/, "")} min` : `${moment.slice(11, 19).replace(/^0/, "")} h`;
}

export const moment = (said) => said.replace("T", " ").replace(/\.000Z$|Z$/, "");

export function text(node, value) {
  if (node.textContent !== value) node.textContent = value;
}

export function element(name, attributes = {}, ...children) {
  const made = document.createElement(name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  made.append(...children);
  return made;
}

// What has not changed is left alone, so that a selection or a focus in it stays.
const drawn = new WeakMap();
export function redraw(node, value, draw) {
  const seen = JSON.stringify(value);
  if (drawn.get(node) === seen) return;
  drawn.set(node, seen);
  node.replaceChildren(...draw(value));
}

export const sentence = (said) => {
  const line = visible(said);
  return `${line.charAt(0).toUpperCase()}${line.slice(1)}${/[.!?]$/.test(line) ? "" : "."}`;
};

export function banner(lines, kind = "warn") {
  $("banner").className = kind;
  $("banner").hidden = !lines.length;
  redraw($("banner"), lines, () => lines.map((line) => element("p", {}, sentence(line))));
}

// Rows of a name, a count and, paler, another one.
export function bars(node, rows) {
  const most = Math.max(1, ...rows.map(([, n]) => n));
  if (node.childElementCount !== rows.length || rows.some(([name], n) => node.children[n].dataset.name !== name)) {
    node.replaceChildren(...rows.map(([name]) => {
      const row = element("li", {}, name, element("span", {}, element("i")), element("b"), element("small"));
      row.dataset.name = name;
      return row;
    }));
  }
  rows.forEach(([, n, other], index) => {
    const row = node.children[index];
    row.querySelector("i").hidden = !n;
    row.querySelector("i").style.width = `${(100 * n) / most}%`;
    text(row.querySelector("b"), number.format(n));
    text(row.querySelector("small"), other === undefined ? "" : number.format(other));
  });
}

export function shape(name, attributes, title) {
  const made = document.createElementNS("http://www.w3.org/2000/svg", name);
  for (const [key, value] of Object.entries(attributes)) made.setAttribute(key, value);
  if (title) made.append(shape("title", {}));
  if (title) made.firstChild.textContent = title;
  return made;
}

// Without control, format and lone surrogate characters, which would act on the page's text or hide in it.
export const visible = (said) => String(said).replace(/[\p{Cc}\p{Cf}\p{Cs}\p{Zl}\p{Zp}]/gu,
  (found) => `\\u{${found.codePointAt(0).toString(16)}}`);

// -- charts

// Columns, each a stack of [class, value, words]; the pointer or the arrow keys read one out below the chart. `from` is the
// first column that is known at all: the time before it is gray.
export function columns(svg, { label, stacks, top, titles, from = 0, rest = "" }) {
  const width = 10 * Math.max(1, stacks.length);
  const scale = 98 / (top || 1);
  svg.setAttribute("viewBox", `0 0 ${width} 100`);
  svg.setAttribute("preserveAspectRatio", "none");
  const drawing = stacks.flatMap((stack, n) => {
    let y = 99;
    return stack.filter(([, value]) => value).map(([kind, value]) => {
      const height = Math.max(1, Math.min(98, value * scale));
      y -= height;
      return shape("rect", { class: kind, x: 10 * n + 1, y, width: 8, height });
    });
  });
  const unknown = from > 0 ? [shape("rect", { class: "unknown", x: 0, y: 0, width: 10 * from, height: 99 })] : [];
  const cursor = shape("rect", { class: "cursor", y: 0, width: 10, height: 99, visibility: "hidden" });
  svg.replaceChildren(...unknown, cursor, shape("line", { x1: 0, x2: width, y1: 99.5, y2: 99.5 }), ...drawing);
  const words = stacks.map((stack, n) => `${titles(n)}: ${stack.filter(([, value]) => value !== null).map(([, , said]) => said).join(", ") || (n < from ? "not read" : "none")}`);
  charts.set(svg, { words, rest, cursor, at: charts.get(svg)?.at ?? null });
  for (const [name, value] of Object.entries({ role: "slider", tabindex: 0, "aria-label": label, "aria-valuemin": 0, "aria-valuemax": Math.max(0, stacks.length - 1) })) svg.setAttribute(name, value);
  if (!svg.dataset.read) readable(svg);
  point(svg, charts.get(svg).at);
}

const charts = new Map();

function point(svg, at) {
  const chart = charts.get(svg);
  chart.at = at === null || !chart.words.length ? null : Math.max(0, Math.min(chart.words.length - 1, at));
  const words = chart.at === null ? chart.rest : chart.words[chart.at];
  text($(`${svg.id}-readout`), words);
  svg.setAttribute("aria-valuenow", chart.at ?? Math.max(0, chart.words.length - 1));
  svg.setAttribute("aria-valuetext", words || "nothing");
  chart.cursor.setAttribute("visibility", chart.at === null ? "hidden" : "visible");
  chart.cursor.setAttribute("x", 10 * (chart.at ?? 0));
}

function readable(svg) {
  svg.dataset.read = "yes";
  svg.addEventListener("pointermove", (event) => {
    const box = svg.getBoundingClientRect();
    point(svg, Math.floor((charts.get(svg).words.length * (event.clientX - box.left)) / box.width));
  });
  svg.addEventListener("pointerleave", () => point(svg, null));
  svg.addEventListener("blur", () => point(svg, null));
  svg.addEventListener("keydown", (event) => {
    const { at, words } = charts.get(svg);
    const to = { ArrowLeft: (at ?? words.length) - 1, ArrowRight: (at ?? -1) + 1, Home: 0, End: words.length - 1 }[event.key];
    if (to === undefined) return;
    event.preventDefault();
    point(svg, to);
  });
}

// -- filters, whose choice stands in the address, so that it can be sent to a colleague

// Returns what asks for the choice. `changed` is called a moment after the last change.
export function filterForm(path, changed) {
  const form = $("filters");
  const chosen = () => [...new FormData(form)].map(([name, value]) => [name, value.trim()]).filter(([, value]) => value);
  fill(form);
  let typing = 0;
  form.addEventListener("input", () => {
    if (!form.checkValidity()) return;
    const query = new URLSearchParams(chosen()).toString();
    history.replaceState(null, "", query ? `${path}?${query}` : path);
    clearTimeout(typing);
    typing = setTimeout(changed, 300);
  });
  form.addEventListener("submit", (event) => event.preventDefault());
  addEventListener("popstate", () => { fill(form); changed(); });
  return chosen;
}

function fill(form) {
  const query = new URLSearchParams(location.search);
  for (const field of form.elements) {
    const given = query.getAll(field.name);
    if (field.type === "checkbox") field.checked = given.includes(field.value);
    else if (field.name && given.length) {
      if (field.tagName !== "SELECT" || [...field.options].some((each) => each.value === given[0])) [field.value] = given;
    }
  }
}

// -- the command that sends back what is shown

// What bash, zsh and ksh take for one word, whatever their locale.
function quoted(word) {
  if (/^[\w@%+:,./-][\w@%+=:,./-]*$/.test(word)) return word;
  if (visible(word) === word) return `'${word.replaceAll("'", "'\\''")}'`;
  const escaped = (each) => [...new TextEncoder().encode(each)].map((byte) => `\\x${byte.toString(16).padStart(2, "0")}`).join("");
  return `$'${[...word].map((each) => (visible(each) === each && !/['\\]/.test(each) ? each : escaped(each))).join("")}'`;
}

export function redriveCommand(words) {
  $("command-row").hidden = words.some((word) => word.includes("\0")); // which no command can be given
  text($("command"), `telefonie dead redrive ${words.map(quoted).join(" ")} --dry-run`);
  $("copy").onclick = async () => {
    getSelection().selectAllChildren($("command"));
    // Browsers let only pages of https or of this machine write to the clipboard: elsewhere it stays selected.
    try {
      await navigator.clipboard.writeText($("command").textContent);
      text($("copy"), "Copied");
    } catch {
      text($("copy"), "Selected: press Ctrl-C");
    }
    setTimeout(() => text($("copy"), "Copy"), 3000);
  };
}

// -- the token, kept for this tab only


export const getToken = () => sessionStorage.getItem("token");
export const keepToken = (token) => sessionStorage.setItem("token", token);
export const forgetToken = () => sessionStorage.removeItem("token");

// Resolves when somebody has given another token, in the form for it.
export function useToken() {
  return new Promise((resolve) => {
    $("token").addEventListener("submit", (event) => {
      event.preventDefault();
      const given = $("token-value").value.trim();
      $("token-value").value = "";
      if (given) keepToken(given);
      resolve();
    }, { once: true });
  });
}

// -- asking the worker

// The status and the document; of what failed its reason in words, and whether a token was wrong. Never throws.
export async function ask(path) {
  const token = getToken();
  const headers = { Accept: "application/json", ...(token && { Authorization: `Bearer ${token}` }) };
  try {
    const answer = await fetch(path, { headers, cache: "no-store" });
    const body = await answer.json();
    const wrong = answer.status === 401 && token !== null;
    if (wrong) forgetToken();
    return { status: answer.status, body, wrong, detail: answer.ok ? "" : sentence(body.detail ?? body.title) };
  } catch {
    return { status: 0, body: {}, wrong: false, detail: `The worker at ${location.host} does not answer.` };
  }
}

// The same, with the form for the token and the banner in step with the answer; `what` is what the token is for.
export async function request(path, what) {
  const answer = await ask(path);
  $("token").hidden = answer.status !== 401;
  if (answer.status === 401) banner([answer.wrong ? "The worker does not know that token." : `${what} are shown to those who have the API token.`]);
  else if (answer.status === 503) banner([`This cannot be said now: ${answer.detail}`]);
  else if (answer.status !== 200) banner([answer.detail]);
  return answer;
}

const wait = (ms) => new Promise((resolve) => { setTimeout(resolve, ms); });

// Look every so many ms while somebody sees the page, and once a token is given. Returns what makes it look at once.
export function keepLooking(look, every) {
  let wake = () => {};
  const loop = async () => {
    for (;;) {
      const again = new Promise((resolve) => { wake = resolve; });
      const status = document.hidden ? 0 : await look();
      if (status === 401) await useToken();
      else await Promise.race([again, wait(every)]);
    }
  };
  document.addEventListener("visibilitychange", () => wake());
  loop();
  return () => wake();
}

const PIECES = 5; // of a topic are read before somebody has to ask for more

// Look on for a while: take each piece, until it says that it is enough or everything has been read.
export async function lookOn(from, next, take, asking = ask) {
  let answer = null;
  for (let piece = 0; piece < PIECES; piece += 1) {
    const cursor = answer?.body.next ?? next;
    answer = await asking(from + (cursor ? `${from.includes("?") ? "&" : "?"}before=${cursor}` : ""));
    if (answer.status !== 200) return answer;
    if (take(answer.body) || !answer.body.next) break;
  }
  return answer;
}

export const reach = (look) => {
  const where = look.partitions.length === look.of ? look.of === 1 ? "the only partition" : `all ${look.of} partitions` : `partition ${look.partitions.join(", ")} of ${look.of}`;
  const since = look.back_to ? `, back to ${moment(look.back_to)}` : "";
  return `Looked into ${where}${look.next ? since : ", to the beginning"}.`;
};

// -- what stands on every page

{
  for (const link of document.querySelectorAll("nav a")) {
    if (link.pathname === location.pathname) link.setAttribute("aria-current", "page");
    else if (link.pathname !== "/" && location.pathname.startsWith(`${link.pathname}/`)) link.setAttribute("aria-current", "true");
  }
  $("find-id").addEventListener("focus", () => $("find-id").select());
  $("find").addEventListener("submit", (event) => {
    event.preventDefault();
    const id = $("find-id").value.trim();
    if (id) location.assign(`/calls/${encodeURIComponent(id.toWellFormed?.() ?? id)}`);
  });
}
