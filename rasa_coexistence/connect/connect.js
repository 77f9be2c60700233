// The page on which an owner connects the number of a phone: Meta's window, then our own steps.
"use strict";

const settings = JSON.parse(document.getElementById("settings").textContent);
const texts = settings.texts;
const SDK = `https://connect.facebook.net/${{ es: "es_LA", pt: "pt_BR" }[settings.language] || "en_US"}/sdk.js`;
const FEATURE = "whatsapp_business_app_onboarding";
const SECTIONS = ["start", "meta", "choose", "work", "problem"];
// Troubles that its owner can only show to somebody: the words for them are shown as well.
const FOR_INSTALLER = new Set([
  "exchange_refused", "token_invalid", "token_of_another_app", "scopes_missing", "no_token", "second_number", "refused",
  "signup_is_off",
]);
let attempt = null;
let signup = null; // what is posted, kept while the owner chooses a number
let stream = null;
let poll = null;

const at = (id) => document.getElementById(id);
const text = (key, values = {}) =>
  (texts[key] || "").replace(/\{(\w+)\}/g, (whole, name) => (name in values ? values[name] : whole));

function show(section) {
  for (const name of SECTIONS) at(name).hidden = name !== section;
  at("known").hidden = section !== "start" || at("known").dataset.empty !== "";
  const title = at(section).querySelector("h2");
  if (section !== "start") title.focus();
}

function fail(key, details = "", values = {}) {
  at("problem-text").textContent = text(key, values) || text("problem.other");
  at("problem-details").textContent = details;
  stop();
  show("problem");
}

function stop() {
  clearTimeout(poll);
  if (stream) stream.close();
  stream = null;
}

// ---- Meta's window --------------------------------------------------------------------------------------

function loadSdk() {
  const local = ["localhost", "127.0.0.1", "[::1]"].includes(location.hostname);
  if (location.protocol !== "https:" && !local) return fail("problem.https");
  window.fbAsyncInit = () => {
    FB.init({ appId: settings.app_id, version: settings.graph_version, autoLogAppEvents: false, xfbml: false });
    at("connect").disabled = false;
  };
  const script = document.createElement("script");
  script.src = SDK;
  script.async = true;
  script.crossOrigin = "anonymous";
  script.onerror = () => fail("problem.blocked");
  document.head.append(script);
}

// A v4 configuration makes the window v4 by itself; ?version=v3 asks a v3 one for its version by name.
function extras() {
  const wanted = new URLSearchParams(location.search).get("version");
  const known = { setup: {}, featureType: FEATURE, sessionInfoVersion: "3" };
  return /^v\d[\w-]*$/.test(wanted || "") ? { ...known, version: wanted } : known;
}

function openMeta() {
  attempt = new Attempt(settle);
  show("meta");
  const mine = attempt;
  try {
    FB.login((answer) => mine.loggedIn(answer), {
      config_id: settings.config_id,
      response_type: "code",
      override_default_response_type: true,
      extras: extras(),
    });
  } catch (error) {
    mine.end({ kind: "problem", text: "blocked" });
  }
}

function settle(outcome, ended) {
  if (ended !== attempt) return;
  if (outcome.kind === "post") {
    const finish = ended.finish || {};
    signup = { code: ended.code, waba_id: finish.wabaId, phone_number_id: finish.phoneNumberId };
    post(finish.name);
  } else if (outcome.kind === "cancel") {
    const step = `cancel.${outcome.step}`;
    fail(step in texts ? step : "cancel.other", outcome.step && `(${outcome.step})`);
  } else if (outcome.kind === "error") {
    const session = outcome.session ? text("problem.session", { session: outcome.session }) : "";
    fail("problem.meta", [outcome.details, session].filter(Boolean).join("\n"));
  } else {
    fail(`problem.${outcome.text}`);
  }
}

// ---- our steps ------------------------------------------------------------------------------------------

async function call(path, body) {
  const options = body && {
    method: "POST",
    headers: { "Content-Type": "application/json" },
    body: JSON.stringify(body),
  };
  const answer = await fetch(path, { credentials: "same-origin", ...options });
  if (answer.status === 401) location.reload(); // the session ended: log in again
  return { status: answer.status, body: await answer.json() };
}

async function post(finishedAs) {
  mark("account", "busy", "");
  show("work");
  try {
    handle(await call("api/onboarding", signup), finishedAs);
  } catch (error) {
    fail("problem.server");
  }
}

function handle({ status, body }, finishedAs) {
  const code = body.error && body.error.code;
  if (code === "several_numbers") return choose(body.numbers);
  if (code) {
    const shown = code === "no_coexistence_number" && `finish.${finishedAs}` in texts ? `finish.${finishedAs}` : `error.${code}`;
    return fail(shown in texts ? shown : "problem.other", shown in texts && !FOR_INSTALLER.has(code) ? "" : body.error.message);
  }
  at("waiting").textContent = body.waits_for ? waitsFor(body) : "";
  if (body.sync && (body.state === "done" || body.steps.subscribe)) {
    mark("account", "done", text("work.number", { number: shownNumber(body.sync) }));
    at("afterwards").hidden = false;
    follow(body.phone_number_id, body.sync);
  }
  if (status === 202) {
    poll = setTimeout(async () => {
      try { handle(await call(`api/onboarding/${body.onboarding}`), finishedAs); } catch { fail("problem.server"); }
    }, 2000);
  }
}

function waitsFor({ waits_for: reason, deadline_at: deadline, steps }) {
  const until = deadline && steps.history === undefined ? ` ${text("waits.until", { time: time(deadline) })}` : "";
  return (text(`waits.${reason.code}`) || reason.message) + until;
}

function choose(numbers) {
  at("list").replaceChildren(...numbers.map((number, index) => {
    const label = document.createElement("label");
    const radio = Object.assign(document.createElement("input"), { type: "radio", name: "number", value: number.phone_number_id });
    radio.required = true;
    radio.checked = index === 0;
    const words = document.createElement("div");
    const name = Object.assign(document.createElement("strong"), { textContent: number.verified_name || "" });
    const digits = Object.assign(document.createElement("span"), { textContent: number.display_phone_number || number.phone_number_id });
    words.append(name, digits);
    label.append(radio, words);
    return label;
  }));
  show("choose");
}

function follow(number, sync) {
  shownSync(sync);
  if (stream) return;
  stream = new EventSource(`api/sync/events?id=${encodeURIComponent(number)}`);
  stream.addEventListener("sync", (event) => shownSync(JSON.parse(event.data)));
}

const ENDED = ["completed", "declined", "failed"];
const LOOKS = { not_started: "", completed: "done", declined: "none", failed: "failed" };

function shownSync(sync) {
  const history = sync.history || {};
  const isOver = ENDED.includes(history.status);
  shownContacts(sync.contacts || {}, isOver);
  shownHistory(history);
  at("bar").hidden = !["requested", "syncing"].includes(history.status);
  at("bar").value = history.progress || 0;
  if (isOver) {
    at("work-title").textContent = text("work.done");
    at("reminder").textContent = text("work.close");
  }
}

function shownContacts(contacts, historyIsOver) {
  const waits = contacts.status === "requested";
  const told = waits && historyIsOver ? "none" : waits && contacts.error ? "unclear" : contacts.status;
  const words = contacts.status === "failed" ? failed("contacts", contacts) : text(`contacts.${told}`, { count: counted(contacts.received) });
  mark("contacts", told === "none" ? "none" : LOOKS[contacts.status] ?? "busy", words);
}

function shownHistory(history) {
  const values = { messages: counted(history.messages_received), chats: counted(history.conversations), progress: history.progress || 0 };
  const told = history.status === "requested" && history.error ? "unclear" : history.status;
  const words = told === "failed" ? failed("history", history) : text(`history.${told}`, values);
  mark("history", LOOKS[history.status] ?? "busy", words);
}

// Meta's code stands in brackets at the end of the reason.
function failed(kind, { error }) {
  const [, code] = /\((?:code )?(\d{1,7})\b/.exec(error || "") || [];
  return text(`${kind}.${code}`) || text(`${kind}.failed`) + (code ? ` (Meta: ${code})` : "");
}

const counted = (count) => new Intl.NumberFormat(settings.language).format(count || 0);

function mark(step, state, words) {
  const line = at(`step-${step}`);
  line.dataset.state = state;
  line.querySelector("span").textContent = words;
}

function shownNumber(sync) {
  return sync.display_phone_number ? `+${sync.display_phone_number}` : sync.phone_number_id;
}

window.addEventListener("message", (message) => {
  const event = readSignupEvent(message);
  if (event && attempt) attempt.heard(event);
});
at("connect").addEventListener("click", openMeta);
for (const name of ["again", "back", "home"]) {
  at(name).addEventListener("click", () => { attempt = null; stop(); show("start"); showNumbers(); });
}
at("numbers").addEventListener("submit", (event) => {
  event.preventDefault();
  signup.phone_number_id = new FormData(event.target).get("number");
  post("");
});
document.addEventListener("DOMContentLoaded", () => { loadSdk(); showNumbers(); });
