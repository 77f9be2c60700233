// What all parts of the console use: texts, times, requests, and lists that change without a flicker.
"use strict";

const settings = JSON.parse(document.getElementById("settings").textContent);
const texts = settings.texts;
const spoken = navigator.language.startsWith(settings.language) ? navigator.language : settings.language;

const at = (id) => document.getElementById(id);
const text = (key, values = {}) =>
  (texts[key] || "").replace(/\{(\w+)\}/g, (whole, name) => (name in values ? values[name] : whole));

// Everything that customers wrote goes through here: as text, never as HTML.
function make(tag, className, words, ...children) {
  const node = Object.assign(document.createElement(tag), { className, textContent: words ?? "" });
  node.append(...children.filter(Boolean));
  return node;
}

function show(node, words) {
  if (node.textContent !== words) node.textContent = words; // else screen readers say it again
}

// ---- times and numbers ----------------------------------------------------------------------------------

const formats = {
  clock: new Intl.DateTimeFormat(spoken, { hour: "2-digit", minute: "2-digit" }),
  day: new Intl.DateTimeFormat(spoken, { day: "numeric", month: "short" }),
  year: new Intl.DateTimeFormat(spoken, { day: "numeric", month: "short", year: "numeric" }),
  dated: new Intl.DateTimeFormat(spoken, { dateStyle: "medium", timeStyle: "short" }),
  weekday: new Intl.DateTimeFormat(spoken, { weekday: "long", day: "numeric", month: "long" }),
};
const date = (at) => new Date(at * 1000);
const isToday = (at) => date(at).toDateString() === new Date().toDateString();
const clock = (at) => formats.clock.format(date(at));
const day = (at) => (date(at).getFullYear() === new Date().getFullYear() ? formats.day : formats.year).format(date(at));
const briefly = (at) => (isToday(at) ? clock(at) : day(at));
const moment = (at) => text(isToday(at) ? "time.today" : "time.day", { day: day(at), clock: clock(at) });
const dated = (at) => formats.dated.format(date(at));
const weekday = (at) => (isToday(at) ? text("chat.today") : formats.weekday.format(date(at)));
const counted = (count) => new Intl.NumberFormat(spoken).format(count || 0);
const dialled = (digits) => (/^\d+$/.test(digits || "") ? `+${digits}` : digits || "");

// ---- requests -------------------------------------------------------------------------------------------

class Refused extends Error {
  constructor(status) {
    super(`refused with ${status}`);
    this.status = status;
  }
}

async function call(path, method = "GET", body = undefined) {
  const answer = await fetch(path, {
    method,
    credentials: "same-origin",
    headers: body && { "Content-Type": "application/json" },
    body: body && JSON.stringify(body),
  });
  if (answer.status === 401) location.reload(); // the session ended: log in again
  if (!answer.ok) throw new Refused(answer.status);
  return answer.json();
}

// ---- lists ----------------------------------------------------------------------------------------------

// A list that is read page by page: a fresh first part replaces what it covers, older parts stay.
class Pages {
  constructor(ask, size) {
    this.ask = ask; // (limit, before) -> { items, next }
    this.size = size;
    this.items = [];
    this.next = null;
  }

  async refresh() {
    const fresh = await this.ask(Math.min(200, Math.max(this.size, this.items.length)), null);
    const ids = new Set(fresh.items.map((item) => item.id));
    const last = fresh.items.length ? fresh.items[fresh.items.length - 1].id : null;
    const place = this.items.findIndex((item) => item.id === last);
    const older = place < 0 ? [] : this.items.slice(place + 1).filter((item) => !ids.has(item.id));
    this.items = [...fresh.items, ...older];
    if (!older.length) this.next = fresh.next;
  }

  async more() {
    if (this.next === null) return;
    const page = await this.ask(this.size, this.next);
    const ids = new Set(this.items.map((item) => item.id));
    this.items = [...this.items, ...page.items.filter((item) => !ids.has(item.id))];
    this.next = page.next;
  }
}

// Make the children of a list what `items` say; what did not change is left alone, with focus and selection.
function fill(list, items, keyOf, build) {
  const known = new Map([...list.children].map((node) => [node.dataset.key, node]));
  const focused = list.contains(document.activeElement) ? document.activeElement.closest("[data-key]").dataset.key : null;
  let place = list.firstElementChild;
  for (const item of items) {
    const key = keyOf(item);
    const looks = JSON.stringify(item);
    let node = known.get(key);
    known.delete(key);
    if (!node || node.looks !== looks) {
      const fresh = Object.assign(build(item), { looks });
      fresh.dataset.key = key;
      if (node) {
        if (place === node) place = fresh;
        node.replaceWith(fresh);
      }
      node = fresh;
    }
    if (node === place) place = place.nextElementSibling;
    else list.insertBefore(node, place);
  }
  for (const gone of known.values()) gone.remove();
  if (focused !== null && !list.contains(document.activeElement)) focusIn(list, focused);
}

function focusIn(list, key) {
  const node = [...list.children].find((child) => child.dataset.key === key);
  const target = node && (node.querySelector("a, button") || node);
  if (target) target.focus({ preventScroll: true });
}
