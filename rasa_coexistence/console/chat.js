// One conversation: what was said, what did not leave, and who has it.
"use strict";

const MESSAGES = 50;
const NOT_SHOWN = new Set(["edit", "revoke"]); // the message they are about tells
const BAD = new Set(["held_back", "failed", "undeliverable", "unknown", "error"]);
const REASONS = { "the customer has not written for 24 hours": "reason.window" };
const TAKEOVER = /^takeover: (\w+)$/;
let chat = null; // { id, pages, about }

function openChat(id) {
  chat = id === null ? null : { id, pages: new Pages((limit, before) => messagesOf(id, limit, before), MESSAGES), about: null };
  at("messages").replaceChildren();
  at("older").hidden = true;
  at("chat").hidden = at("nobody").hidden = true;
  at(chat ? "chat" : "nobody").hidden = false;
  at("chat").setAttribute("aria-busy", "true");
  document.body.classList.toggle("has-chat", chat !== null);
  for (const name of ["chat-name", "chat-ids", "chat-has"]) show(at(name), "");
  if (chat && listed(id)) showAbout(listed(id));
}

async function messagesOf(id, limit, before) {
  const from = before === null ? "" : `&before=${encodeURIComponent(before)}`;
  const page = await call(`api/conversations/${encodeURIComponent(id)}/messages?limit=${limit}${from}`);
  if (chat && chat.id === id) chat.about = page.conversation;
  return { items: page.messages, next: page.next };
}

async function refreshChat() {
  const mine = chat;
  if (!mine) return;
  try {
    await mine.pages.refresh();
  } catch (error) {
    if (error.status !== 404) throw error;
    if (mine === chat) location.hash = ""; // forgotten meanwhile
    return;
  }
  if (mine === chat) showChat();
}

async function showOlder() {
  const mine = chat;
  const log = at("log");
  await mine.pages.more();
  if (mine !== chat) return;
  const below = log.scrollHeight - log.scrollTop;
  showMessages();
  log.scrollTop = log.scrollHeight - below;
}

function showChat() {
  const log = at("log");
  const isNew = !at("messages").firstChild;
  const atEnd = isNew || log.scrollHeight - log.scrollTop - log.clientHeight < 60;
  showAbout(chat.about);
  showMessages();
  if (atEnd) log.scrollTop = log.scrollHeight;
  at("chat").removeAttribute("aria-busy");
}

function showAbout(about) {
  const { takeover } = about;
  show(at("chat-name"), nameOf(about));
  show(at("chat-ids"), [secondName(about), numbersKnown() > 1 && numberOf(about.phone_number_id)].filter(Boolean).join(" · "));
  show(at("chat-has"), [who(about), why(about)].filter(Boolean).join(" · "));
  at("chat-has").dataset.mode = about.wants_person ? "calls" : takeover.mode;
  const numberIsOff = takeover.reason === "number" && takeover.mode !== "bot";
  at("actions").hidden = numberIsOff;
  at("number-is-off").hidden = !numberIsOff;
  at("give-back").hidden = takeover.mode === "bot" && !about.wants_person;
  show(at("give-back"), text(takeover.mode === "bot" ? "give_back.seen" : "give_back.bot"));
}

function showMessages() {
  const said = [...chat.pages.items].reverse();
  const reactions = reactionsTo(said);
  const present = new Set(said.map((one) => one.wamid));
  const lines = [];
  let before = "";
  for (const one of said) {
    if (NOT_SHOWN.has(one.type) || (one.type === "reaction" && present.has(one.target))) continue;
    const today = weekday(one.timestamp);
    if (today !== before) lines.push({ id: `day ${date(one.timestamp).toDateString()} ${one.id}`, day: today });
    before = today;
    lines.push({ ...one, reactions: reactions.get(one.wamid) || "" });
  }
  fill(at("messages"), lines, (line) => line.id, (line) => (line.day ? make("li", "day", line.day) : bubble(line)));
  at("older").hidden = chat.pages.next === null;
}

// The last reaction of each side counts; one without an emoji takes it away.
function reactionsTo(said) {
  const found = new Map();
  for (const one of said.filter(({ type, target }) => type === "reaction" && target)) {
    found.set(one.target, { ...found.get(one.target), [one.role]: one.emoji || "" });
  }
  return new Map([...found].map(([target, sides]) => [target, Object.values(sides).join("")]));
}

function bubble(one) {
  const isBad = BAD.has(one.status);
  const item = make("li", `said ${isBad ? "unsent" : ""}`, "");
  item.dataset.role = one.role;
  const kind = one.revoked ? "" : kindOf(one);
  const words = one.revoked ? text("chat.revoked") : shownWords(one);
  item.append(
    make("span", one.role === "customer" ? "by unseen" : "by", text(`role.${one.role}`)),
    one.context && one.context.id ? quote(one.quoted) : "",
    kind ? make("span", "kind", kind) : "",
    words ? make("span", one.revoked ? "words quiet" : "words", words) : "",
    one.edited_from && !one.revoked ? make("span", "quiet", text("chat.edited", { before: one.edited_from })) : "",
    make("span", "foot", [clock(one.timestamp), text(`status.${one.status}`)].filter(Boolean).join(" · ")),
    isBad && one.reason ? make("span", "reason", reason(one)) : "",
    one.reactions ? make("span", "reactions", one.reactions) : "",
  );
  return item;
}

function quote(quoted) {
  const words = quoted ? `${text(`role.${quoted.role}`)}: ${spokenWords(quoted)}` : text("chat.quoted");
  return make("blockquote", "", words);
}

function reason({ reason: told, code }) {
  const [, cause] = TAKEOVER.exec(told) || [];
  const known = (cause && text(`why.${cause}`)) || text(REASONS[told]);
  return known || (code ? `${told} (Meta: ${code})` : told);
}

// ---- what a message says --------------------------------------------------------------------------------

const isBracketed = (words) => /^\[.*\]$/s.test(words || "");

// In one line: "Image", "Image: caption", "Hello".
function spokenWords(one) {
  const kind = kindOf(one);
  const words = shownWords(one);
  return kind && words ? `${kind}: ${words}` : kind || words || `[${one.type}]`;
}

function shownWords({ type, text: words, label, emoji }) {
  if (type === "reaction") return emoji || "–";
  if (label) return label; // of the pressed button: its text is the payload
  return type !== "text" && isBracketed(words) && text(`kind.${type}`) ? "" : words || "";
}

function kindOf({ type, fields = {} }) {
  const kind = text(`kind.${type}`);
  if (!kind) return "";
  const { media = {}, location: place, contacts = [] } = fields;
  const cards = contacts.map((card) => (card.name && card.name.formatted_name) || "");
  const where = place && [place.name, place.address, place.name || place.address ? "" : `${place.latitude}, ${place.longitude}`];
  const more = [media.filename, ...(where || []), ...cards].filter(Boolean).map(String).join(", ");
  return more ? `${kind}: ${more}` : kind;
}
