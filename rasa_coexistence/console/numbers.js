// The business's numbers: whether the bot is on, how the number stands, how far its old chats are.
"use strict";

let numbers = [];
const switching = new Set(); // numbers whose button was pressed and not answered yet

async function refreshNumbers() {
  numbers = (await call("api/numbers")).numbers;
  showNumbers();
}

function showNumbers() {
  const lines = numbers.map((number) => ({ ...number, busy: switching.has(number.phone_number_id) }));
  at("numbers").hidden = !numbers.length;
  at("numbers-off").hidden = !numbers.some(isOff);
  at("on-means").hidden = !numbers.some(isOff);
  at("off-means").hidden = numbers.every(isOff);
  fill(at("number-list"), lines, (number) => number.phone_number_id, numberLine);
}

const isOff = ({ takeover }) => takeover.mode !== "bot";
const numbersKnown = () => numbers.length;

function numberOf(id) {
  const known = numbers.find((number) => number.phone_number_id === id);
  return (known && dialled(known.display_phone_number)) || id;
}

function numberLine(number) {
  const words = make("div", "", "", make("strong", "", numberOf(number.phone_number_id)), botLine(number), ...standing(number));
  const button = make("button", isOff(number) ? "small strong" : "small", text(isOff(number) ? "numbers.on" : "numbers.off"));
  button.type = "button";
  if (number.busy) button.setAttribute("aria-disabled", "true"); // it keeps the focus
  button.setAttribute("aria-label", `${button.textContent}: ${numberOf(number.phone_number_id)}`);
  button.addEventListener("click", () => switchBot(number));
  return make("li", "", "", words, button);
}

function botLine(number) {
  const { until } = number.takeover;
  const off = until ? text("numbers.is_off_until", { time: moment(until) }) : text("numbers.is_off");
  return make("span", isOff(number) ? "chip warn" : "chip", isOff(number) ? off : text("numbers.is_on"));
}

function standing(number) {
  const until = number.state_until ? text("state.until", { time: dated(number.state_until) }) : "";
  const state = number.state === "connected" ? "" : text(`state.${number.state}`, { until });
  const concerns = number.warnings.map((one) => {
    const values = { days: one.days, time: one.at && dated(one.at) };
    return text(`warn.${one.code}${one.days === 0 ? "_now" : ""}`, values) || one.message;
  });
  return [
    make("span", "quiet", syncLine(number.sync)),
    ...[state, ...concerns].filter(Boolean).map((words) => make("span", "concern", words)),
  ];
}

function syncLine({ sync_status: status, history }) {
  const values = { progress: history.progress || 0, messages: counted(history.messages_received), chats: counted(history.conversations) };
  return text(`sync.${status}`, values);
}

async function switchBot(number) {
  const id = number.phone_number_id;
  if (switching.has(id)) return;
  switching.add(id);
  showNumbers();
  await acting(async () => {
    await call(`api/numbers/${encodeURIComponent(id)}/takeover`, isOff(number) ? "DELETE" : "POST", { by: "console" });
  });
  switching.delete(id);
  showNumbers();
}
