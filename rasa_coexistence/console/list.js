// The list of conversations: who waits for a person first, then whoever wrote last.
"use strict";

const SHOWN = 30;
const pageOf = (query) => async (limit, before) => {
  const from = before === null ? "" : `&before=${encodeURIComponent(before)}`;
  const page = await call(`api/conversations?limit=${limit}${query}${from}`);
  return { items: page.conversations, next: page.next };
};
const everybody = new Pages(pageOf(""), SHOWN);
const waiting = new Pages(pageOf("&wants_person=true"), SHOWN);
let onlyWaiting = false;

async function refreshList() {
  await Promise.all([waiting.refresh(), onlyWaiting ? null : everybody.refresh()]);
  showList();
}

function showList() {
  const first = new Set(waiting.items.map((one) => one.id));
  const others = onlyWaiting ? [] : everybody.items.filter((one) => !first.has(one.id));
  const all = [...waiting.items, ...others];
  const several = new Set(everybody.items.map((one) => one.phone_number_id)).size > 1;
  const open = openId();
  fill(at("conversations"), all.map((one) => ({ ...one, several, isOpen: one.id === open, today: new Date().toDateString() })), (one) => one.id, row);
  const count = waiting.items.length ? `${waiting.items.length}${waiting.next === null ? "" : "+"}` : "";
  show(at("waiting"), count);
  at("waiting").hidden = !count;
  document.title = count ? `(${count}) ${texts.title}` : texts.title;
  show(at("list-empty"), all.length ? "" : text(onlyWaiting ? "list.nobody_waits" : "list.empty"));
  at("list-empty").hidden = all.length > 0;
  at("more").hidden = (onlyWaiting ? waiting : everybody).next === null;
}

const listed = (id) => [...waiting.items, ...everybody.items].find((one) => one.id === id);

function row(one) {
  const link = make("a", "row", "");
  link.href = linkTo(one.id);
  if (one.isOpen) link.setAttribute("aria-current", "true");
  const head = make("span", "head", "", make("strong", "", nameOf(one)), make("time", "", briefly(one.last_activity_at)));
  const ids = [secondName(one), one.several && numberOf(one.phone_number_id)].filter(Boolean).join(" · ");
  link.append(head, ids ? make("span", "ids", ids) : "", make("span", "last", lastWords(one)), has(one));
  return make("li", one.wants_person ? "calls" : "", "", link);
}

function lastWords({ last_message: last }) {
  if (!last) return text("list.silent");
  const words = last.revoked ? text("chat.revoked") : spokenWords(last);
  return last.role === "customer" ? words : `${text(`role.${last.role}`)}: ${words}`;
}

// ---- who somebody is, and who has the conversation ------------------------------------------------------

function nameOf({ id, contact }) {
  return contact.name || (contact.username && `@${contact.username}`) || dialled(contact.wa_id) || contact.user_id || id;
}

function secondName(one) {
  const known = dialled(one.contact.wa_id) || (one.contact.username && `@${one.contact.username}`) || one.contact.user_id || "";
  return known === nameOf(one) ? "" : known;
}

function has(one) {
  const { takeover } = one;
  const kind = one.wants_person ? "bad" : takeover.mode === "bot" ? "" : "warn";
  const chip = make("span", `chip ${kind}`, who(one));
  return make("span", "has", "", chip, make("span", "why", why(one)));
}

function who({ takeover, wants_person: wants }) {
  if (wants && (takeover.mode === "bot" || takeover.reason === "handoff")) return text("has.nobody");
  if (takeover.mode === "bot") return text("has.bot");
  const key = takeover.reason === "number" ? "has.number" : "has.person";
  return takeover.until === null ? text(key) : text(`${key}_until`, { time: moment(takeover.until) });
}

function why({ takeover, wants_person: wants }) {
  if (takeover.mode === "bot") return wants ? text("why.failed") : "";
  return text(`why.${takeover.reason}`);
}
