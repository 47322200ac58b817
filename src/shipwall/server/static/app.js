// The console's behaviour: renew parts of the page when rows change, dialogs that act, keys. Texts from rows are only ever copied by
// morph() out of a page the server escaped, or set as textContent; nothing here builds HTML from a string of a container.
"use strict";

const body = document.body;
const token = document.querySelector("meta[name=shipwall-token]").content;
const ahead = Number(BigInt(body.dataset.now) / 1000000n) - Date.now(); // server's clock minus ours, in ms
const $ = (id) => document.getElementById(id);

function stored(key) { try { return localStorage.getItem(key); } catch { return null; } }
function store(key, value) { try { localStorage.setItem(key, value); } catch { /* storage may be forbidden */ } }

// Times

function ago(ns) {
  const seconds = (Date.now() + ahead - ns / 1e6) / 1000;
  if (!(ns > 0)) return "never";
  if (seconds < 1) return "now";
  if (seconds < 60) return `${Math.round(seconds)} s ago`;
  if (seconds < 3600) return `${Math.round(seconds / 60)} min ago`;
  if (seconds < 86400) return `${Math.round(seconds / 3600)} h ago`;
  return `${Math.round(seconds / 86400)} d ago`;
}
function tick() {
  for (const time of document.querySelectorAll("time.ago")) {
    const text = ago(Number(time.dataset.ns));
    if (time.textContent !== text) time.textContent = text;
  }
  for (const node of document.querySelectorAll("[data-seen]"))
    node.classList.toggle("silent", Date.now() + ahead - Number(node.dataset.seen) / 1e6 > 10000);
}
setInterval(tick, 1000);

// Renewal: the page asks for itself and changes only what differs, so focus, open details and the scroll position stay.

function morph(from, to) {
  if (from.isEqualNode(to)) return;
  for (const { name, value } of to.attributes) if (from.getAttribute(name) !== value) from.setAttribute(name, value);
  for (const { name } of [...from.attributes])
    if (!to.hasAttribute(name) && !(name === "open" && from.tagName === "DETAILS")) from.removeAttribute(name);
  const keyed = new Map([...from.children].filter((child) => child.id).map((child) => [child.id, child]));
  let place = from.firstChild;
  for (const next of [...to.childNodes]) {
    let match = null;
    if (next.id) match = keyed.get(next.id) || null;
    else if (place && !place.id && place.nodeType === next.nodeType && place.nodeName === next.nodeName) match = place;
    if (!match) {
      const fresh = document.importNode(next, true);
      if (fresh.nodeType === Node.ELEMENT_NODE && fresh.id && from.childElementCount) fresh.classList.add("fresh");
      from.insertBefore(fresh, place);
      continue;
    }
    if (match === place) place = place.nextSibling;
    else from.insertBefore(match, place);
    if (match.nodeType === Node.ELEMENT_NODE) morph(match, next);
    else if (match.nodeValue !== next.nodeValue) match.nodeValue = next.nodeValue;
  }
  while (place) { const rest = place; place = place.nextSibling; rest.remove(); }
}

let paused = false;
let missed = false;
let renewing = false;
async function renew() {
  if (paused || renewing) { missed = true; return; }
  renewing = true;
  missed = false;
  try {
    const answer = await fetch(location.pathname + location.search, { headers: { "X-Shipwall-Live": "1" } });
    if (answer.redirected && new URL(answer.url).pathname === "/login") { ended(); return; }
    if (!answer.ok) throw new Error(String(answer.status));
    const page = new DOMParser().parseFromString(await answer.text(), "text/html");
    for (const part of document.querySelectorAll("[data-live]")) {
      const next = page.getElementById(part.id);
      if (next) morph(part, next);
    }
    tick();
  } catch {
    missed = true; // the stream's own end shows whether the server is there
    lost = true;
  }
  await new Promise((done) => setTimeout(done, 400)); // in a storm of alerts, twice a second is live enough
  renewing = false;
  if (missed && !lost) renew();
}

// The stream

const lamp = $("live");
function show(state, text) { lamp.dataset.state = state; lamp.querySelector(".text").textContent = text; }
function trouble(text) {
  $("banner").hidden = !text;
  $("banner").querySelector("span").textContent = text;
}
let stream = null;
let beat = 0;
let over = false;
let lost = false;
function ended() {
  over = true;
  if (stream) stream.close();
  show("off", "session ended");
  trouble("The session ended; what you see is old. Get a new link: shipwall console link");
}
function listen() {
  if (stream) stream.close();
  stream = new EventSource("/api/v1/stream");
  beat = Date.now();
  stream.addEventListener("beat", (event) => {
    beat = Date.now();
    const why = JSON.parse(event.data).trouble;
    trouble(why ? `New rows are not being kept: ${why}` : "");
    show(paused ? "paused" : "on", paused ? "paused" : "live");
    if (lost || missed) { lost = false; renew(); }
  });
  stream.addEventListener("changed", (event) => {
    beat = Date.now();
    const kinds = JSON.parse(event.data).kinds;
    const wanted = body.dataset.kinds.split(" ");
    if (kinds.some((kind) => wanted.includes(kind) || kind === "alerts" || kind === "containers")) renew();
  });
  stream.addEventListener("ended", ended);
  stream.addEventListener("error", () => { lost = true; });
}
setInterval(() => {
  if (over || document.hidden) return;
  if (Date.now() - beat > 12000) {
    show("off", "no connection");
    trouble("The server does not answer; what you see may be old. Trying again.");
    lost = true;
    listen();
  }
}, 2000);
// A browser allows few connections to one host: hidden pages give theirs back.
document.addEventListener("visibilitychange", () => {
  if (over) return;
  if (document.hidden) { stream.close(); lost = true; } else listen();
});
addEventListener("pagehide", () => stream.close());
addEventListener("pageshow", (event) => { if (event.persisted) { lost = true; listen(); } });
listen();

// Deeds

function toast(text, kind) {
  const note = document.createElement("p");
  note.className = `toast ${kind}`;
  note.textContent = text;
  $("toasts").append(note);
  setTimeout(() => note.remove(), 8000);
}
async function post(path, value) {
  let answer;
  try {
    answer = await fetch(path, {
      method: "POST", headers: { "Content-Type": "application/json", "X-Shipwall-Token": token }, body: JSON.stringify(value),
    });
  } catch {
    throw new Error("The server does not answer.");
  }
  const said = answer.status === 204 ? {} : await answer.json().catch(() => ({}));
  if (answer.status === 401) ended();
  if (!answer.ok) throw new Error(said.line || said.detail || `refused (${answer.status})`);
  return said;
}

const DEEDS = {
  approve: ["Approve", "Its steps are carried out at once: the container is frozen, and what the plan names follows."],
  reject: ["Reject", "Nothing is done to the container for this alert."],
  freeze: ["Freeze", "Its processes stop at once and keep their memory; it answers nobody until it is thawed or destroyed."],
  thaw: ["Thaw", "Its processes go on where they stopped, an intruder's too."],
  destroy: ["Destroy", "It is removed with everything in it that evidence does not hold. This cannot be undone."],
};
let doing = null;
let muting = null;

async function submit(dialog, button, wrong, act) {
  wrong.hidden = true;
  button.disabled = true;
  try {
    await act();
    dialog.close();
  } catch (error) {
    wrong.textContent = error.message;
    wrong.hidden = false;
  } finally {
    button.disabled = false;
  }
}

function askDeed(button) {
  const { deed, target, plan, name } = button.dataset;
  const [title, text] = DEEDS[deed];
  doing = { deed, target, plan, name };
  $("deed-title").textContent = `${title} ${name}?`;
  $("deed-text").textContent = text;
  $("deed-do").textContent = title;
  $("deed-do").classList.toggle("danger", deed === "destroy");
  $("deed-name-label").hidden = deed !== "destroy";
  $("deed-name").required = deed === "destroy";
  $("deed-name").value = "";
  $("deed-reason").value = "";
  $("deed-wrong").hidden = true;
  $("deed").showModal();
  (deed === "destroy" ? $("deed-name") : $("deed-reason")).focus();
}
$("deed").querySelector("form").addEventListener("submit", (event) => {
  event.preventDefault();
  submit($("deed"), $("deed-do"), $("deed-wrong"), async () => {
    if (doing.deed === "destroy" && $("deed-name").value !== doing.name) throw new Error("That is not its name.");
    const [kind, id] = doing.plan ? ["responses", doing.plan] : ["containers", doing.target];
    const path = `/api/v1/${kind}/${encodeURIComponent(id)}/${doing.deed}`;
    const result = await post(path, { reason: $("deed-reason").value });
    toast(`${doing.name}: ${result.detail || "done"}`, "ok");
    renew();
  });
});

function askMute(button) {
  muting = { rule: button.dataset.mute, container: button.dataset.container };
  $("mute-rule").textContent = muting.rule;
  $("mute-container").textContent = muting.container;
  const [here, everywhere] = $("mute").querySelectorAll("input[name=scope]");
  here.disabled = !muting.container;
  here.checked = Boolean(muting.container);
  everywhere.checked = !muting.container;
  $("mute-reason").value = "";
  $("mute-wrong").hidden = true;
  $("mute").showModal();
  $("mute-reason").focus();
}
$("mute").querySelector("form").addEventListener("submit", (event) => {
  event.preventDefault();
  submit($("mute"), $("mute-do"), $("mute-wrong"), async () => {
    const here = $("mute").querySelector("input[name=scope]:checked").value === "container";
    const silence = await post("/api/v1/silences", {
      rule: muting.rule, container_name: here ? muting.container : "", reason: $("mute-reason").value,
      minutes: Number($("mute-minutes").value),
    });
    toast(`${silence.rule} is silenced until ${new Date(silence.until_ns / 1e6).toLocaleString()}`, "ok");
    renew();
  });
});

document.addEventListener("click", async (event) => {
  const button = event.target.closest("button");
  if (!button) return;
  if (button.dataset.deed) askDeed(button);
  else if (button.dataset.mute !== undefined) askMute(button);
  else if (button.dataset.unmute) {
    button.disabled = true;
    try {
      await post(`/api/v1/silences/${encodeURIComponent(button.dataset.unmute)}/end`, {});
      toast("The silence ended.", "ok");
      renew();
    } catch (error) {
      toast(error.message, "danger");
    } finally {
      button.disabled = false;
    }
  } else if (button.dataset.copy) {
    try {
      await navigator.clipboard.writeText(button.dataset.copy);
      toast("Copied.", "ok");
    } catch {
      toast("The browser does not allow copying here.", "danger");
    }
  } else if (button.hasAttribute("data-close")) button.closest("dialog").close();
});

// Buttons of the side bar

function setPaused(on) {
  paused = on;
  $("pause").setAttribute("aria-pressed", String(on));
  show(on ? "paused" : "on", on ? "paused" : "live");
  if (!on && missed) renew();
}
function turnTheme() {
  const root = document.documentElement;
  const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  root.dataset.theme = dark ? "light" : "dark";
  store("shipwall-theme", root.dataset.theme);
}
$("pause").addEventListener("click", () => setPaused(!paused));
$("theme").addEventListener("click", turnTheme);
$("keys").addEventListener("click", () => $("help").showModal());
$("logout").addEventListener("click", async () => {
  try { await post("/api/v1/logout", {}); } catch { /* logged out already */ }
  location.replace("/login");
});

// Keys

$("keys-on").checked = stored("shipwall-keys") !== "off";
$("keys-on").addEventListener("change", () => store("shipwall-keys", $("keys-on").checked ? "on" : "off"));
function step(by) {
  const rows = [...document.querySelectorAll("[data-row]")];
  if (!rows.length) return;
  const here = rows.findIndex((row) => row.contains(document.activeElement));
  const next = here < 0 ? (by > 0 ? 0 : rows.length - 1) : Math.min(rows.length - 1, Math.max(0, here + by));
  rows[next].focus();
  rows[next].scrollIntoView({ block: "nearest" });
}
let going = 0;
document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.altKey || event.metaKey || !$("keys-on").checked) return;
  if (event.target.closest("input, textarea, select, dialog")) return;
  if (Date.now() - going < 1500) {
    going = 0;
    const link = document.querySelector(`[data-go="${CSS.escape(event.key)}"]`);
    if (link) { event.preventDefault(); link.click(); }
    return;
  }
  const deeds = {
    g: () => { going = Date.now(); },
    j: () => step(1),
    k: () => step(-1),
    p: () => setPaused(!paused),
    t: turnTheme,
    "?": () => $("help").showModal(),
    "/": () => { if ($("filter")) $("filter").focus(); },
  };
  if (Object.hasOwn(deeds, event.key)) { event.preventDefault(); deeds[event.key](); }
});

// A link to one alert opens it.
function openLinked() {
  const linked = location.hash.length > 1 ? document.getElementById(decodeURIComponent(location.hash.slice(1))) : null;
  if (linked && linked.tagName === "DETAILS") { linked.open = true; linked.scrollIntoView({ block: "start" }); }
}
addEventListener("hashchange", openLinked);
openLinked();
tick();
