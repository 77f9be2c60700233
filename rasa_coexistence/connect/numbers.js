// The numbers that are known already: how each stands, what its owner should mind, and the way to its sync.
"use strict";

const LIVELY = ["requested", "syncing"];
const time = (at) => new Intl.DateTimeFormat(settings.language, { dateStyle: "medium", timeStyle: "short" }).format(new Date(at * 1000));

async function showNumbers() {
  const { status, body } = await call("api/numbers");
  if (status !== 200) return;
  at("known-list").replaceChildren(...body.numbers.map(line));
  at("known").dataset.empty = body.numbers.length ? "" : "yes";
  at("known").hidden = at("start").hidden || !body.numbers.length;
}

function line(number) {
  const item = document.createElement("li");
  const concerns = [...number.warnings.map(warning), trouble(number)].filter(Boolean);
  item.dataset.state = number.state === "connected" && !concerns.length ? "done" : "failed";
  const name = Object.assign(document.createElement("strong"), { textContent: shownNumber(number) });
  item.append(name, standing(number), ...concerns);
  if (number.onboarding && number.state !== "removed" && number.state !== "deleted") item.append(look(number));
  return item;
}

function standing(number) {
  const until = number.state_until ? text("state.until", { time: time(number.state_until) }) : "";
  const sync = LIVELY.includes(number.sync.sync_status) ? "state.syncing" : `state.${number.state}`;
  return words(text(number.state === "connected" ? sync : `state.${number.state}`, { until, progress: number.sync.history.progress }));
}

function warning(given) {
  const key = `warn.${given.code}${given.days === 0 ? "_now" : ""}`;
  const values = { days: given.days, time: given.at && time(given.at) };
  return words(text(key, values) || given.message, "warn");
}

// What keeps an onboarding from its end, unless it is a passing hiccup.
function trouble({ onboarding }) {
  const known = onboarding && onboarding.state === "failed" && text(`error.${onboarding.trouble}`);
  return known ? words(known, "warn") : null;
}

function look(number) {
  const button = Object.assign(document.createElement("button"), { type: "button", className: "link", textContent: text("known.look") });
  button.addEventListener("click", async () => {
    mark("account", "done", text("work.number", { number: shownNumber(number) }));
    show("work");
    follow(number.phone_number_id, number.sync);
    try { handle(await call(`api/onboarding/${number.onboarding.id}`), ""); } catch { fail("problem.server"); }
  });
  return button;
}

function words(told, kind = "") {
  return Object.assign(document.createElement("span"), { textContent: told, className: kind });
}
