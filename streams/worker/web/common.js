// What the pages have in common: making nodes, saying times, and asking the worker with the token.

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

function sentence(said) {
  const line = visible(said);
  return `${line.charAt(0).toUpperCase()}${line.slice(1)}${/[.!?]$/.test(line) ? "" : "."}`;
}

const PIECES = 5; // of a topic are read before somebody has to ask for more

// Look on for a while: take each piece, until it says that it is enough or everything has been read.
export async function lookOn(from, next, take) {
  let answer = null;
  for (let piece = 0; piece < PIECES; piece += 1) {
    const cursor = answer?.body.next ?? next;
    answer = await ask(from + (cursor ? `${from.includes("?") ? "&" : "?"}before=${cursor}` : ""));
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

// -- finding a call

export function findCalls() {
  $("find").addEventListener("submit", (event) => {
    event.preventDefault();
    const id = $("find-id").value.trim();
    if (id) location.assign(`/calls/${encodeURIComponent(id.toWellFormed?.() ?? id)}`);
  });
}
