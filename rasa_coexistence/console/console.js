// Keep the page true while it is looked at, and do what its buttons say.
"use strict";

const EVERY = 4000; // milliseconds
const NUMBERS_EVERY = 4; // looks
let timer = null;
let looks = 0;
let looking = null; // the look under way

// ---- the address says which conversation is open --------------------------------------------------------

const linkTo = (id) => `#c=${encodeURIComponent(id)}`;

function openId() {
  const [, id] = /^#c=(.+)$/.exec(location.hash) || [];
  try {
    return id === undefined ? null : decodeURIComponent(id);
  } catch {
    return null; // typed by hand
  }
}

async function follow() {
  const before = chat && chat.id;
  openChat(openId());
  showList();
  if (!chat) return before === null ? undefined : focusIn(at("conversations"), before);
  try {
    await refreshChat();
    answered();
  } catch {
    complain();
  }
  at("chat-name").focus({ preventScroll: true });
}

// ---- looking --------------------------------------------------------------------------------------------

async function lookAround() {
  const numbersToo = looks % NUMBERS_EVERY === 0 ? refreshNumbers() : null;
  looks += 1;
  await numbersToo;
  await Promise.all([refreshList(), refreshChat()]);
}

function look() {
  clearTimeout(timer);
  if (document.hidden) return undefined; // visibilitychange begins anew
  looking ??= lookAround().then(answered, complain).finally(() => {
    looking = null;
    clearTimeout(timer);
    timer = setTimeout(look, EVERY);
  });
  return looking;
}

// A look that is under way may show the time before.
async function lookAgain() {
  if (looking) await looking;
  looks = 0;
  return look();
}

async function acting(work) {
  told("");
  try {
    await work();
  } catch {
    return told(text("trouble.action"), "action");
  }
  return lookAgain();
}

function told(words, kind = "") {
  show(at("trouble"), words);
  at("trouble").dataset.kind = kind;
}

const complain = () => told(text("trouble.server"), "server");

// What a button could not do stands there until the next one.
function answered() {
  if (at("trouble").dataset.kind === "server") told("");
}

// ---- buttons --------------------------------------------------------------------------------------------

async function change(button, method, body) {
  const path = `api/conversations/${encodeURIComponent(chat.id)}/takeover`;
  const had = document.activeElement === button;
  at("actions").inert = true;
  await acting(() => call(path, method, { by: "console", ...body }));
  at("actions").inert = false;
  if (had) (button.hidden ? at("chat-name") : button).focus({ preventScroll: true });
}

async function loading(button, work) {
  button.disabled = true;
  try {
    await work();
  } catch {
    complain();
  }
  button.disabled = false;
}

for (const button of at("take").querySelectorAll("button")) {
  const { minutes } = button.dataset;
  button.addEventListener("click", () => change(button, "POST", minutes ? { minutes: Number(minutes) } : {}));
}
at("give-back").addEventListener("click", (event) => change(event.currentTarget, "DELETE", {}));
at("more").addEventListener("click", () => loading(at("more"), async () => {
  await (onlyWaiting ? waiting : everybody).more();
  showList();
}));
at("older").addEventListener("click", () => loading(at("older"), showOlder));
at("filter").addEventListener("click", () => {
  onlyWaiting = !onlyWaiting;
  at("filter").setAttribute("aria-pressed", String(onlyWaiting));
  showList();
  lookAgain();
});
window.addEventListener("hashchange", follow);
document.addEventListener("visibilitychange", look);
openChat(openId());
look();
