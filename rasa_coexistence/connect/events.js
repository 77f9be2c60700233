// What Meta's window tells the page. Two things come in any order: messages, and the answer of FB.login.
"use strict";

const META_ORIGINS = new Set(["https://www.facebook.com", "https://web.facebook.com"]);
const FINISHED = new Set([
  "FINISH", "FINISH_WHATSAPP_BUSINESS_APP_ONBOARDING", "FINISH_ONLY_WABA", "FINISH_OBO_MIGRATION",
  "FINISH_GRANT_ONLY_API_ACCESS",
]);

// Read a message of Meta's window; null for everything else that may reach the page.
function readSignupEvent(message) {
  if (!META_ORIGINS.has(message.origin)) return null;
  let told = message.data;
  if (typeof told === "string") {
    try { told = JSON.parse(told); } catch { return null; }
  }
  if (!told || typeof told !== "object" || told.type !== "WA_EMBEDDED_SIGNUP") return null;
  const name = String(told.event || "").toUpperCase();
  const data = told.data && typeof told.data === "object" ? told.data : {};
  if (FINISHED.has(name)) return { kind: "finish", name, ...idsOf(data) };
  if (name === "CANCEL" || name === "ERROR") return readEnd(name, data);
  return { kind: "unknown", name };
}

// Every id may be missing: the server asks Meta for what is not there.
function idsOf(data) {
  const id = (value) => (value === undefined || value === null || value === "" ? undefined : String(value));
  const several = Array.isArray(data.waba_ids) && data.waba_ids.length === 1 ? data.waba_ids[0] : undefined;
  return { wabaId: id(data.waba_id) || id(several), phoneNumberId: id(data.phone_number_id) };
}

// CANCEL means two things: the window was closed at a step, or its owner reported an error.
function readEnd(name, data) {
  const message = data.error_message || data.error || data.message;
  if (name === "ERROR" || message || data.error_code || data.error_id) {
    const details = [data.error_code || data.error_id, message && String(message)].filter(Boolean).join(": ");
    return { kind: "error", details, session: data.session_id ? String(data.session_id) : "" };
  }
  return { kind: "cancel", step: String(data.current_step || "") };
}

// Wait for both signals of one attempt; `settle` is called once, with what to do.
class Attempt {
  constructor(settle, patience = { event: 8000, code: 20000, closed: 1500 }) {
    this.settle = settle;
    this.patience = patience; // milliseconds; a code lives 30 seconds
    this.finish = this.code = null;
    this.timer = null;
    this.isOver = false;
  }

  heard(event) {
    if (event.kind === "finish") {
      this.finish = event;
      if (this.code) this.end({ kind: "post" });
      else this.waitFor("code", { kind: "problem", text: "no_code" });
    } else if (event.kind === "error" || event.kind === "cancel") {
      this.end(event);
    }
  }

  loggedIn(answer) {
    const code = answer && answer.authResponse && answer.authResponse.code;
    if (code) {
      this.code = String(code);
      if (this.finish) this.end({ kind: "post" });
      else this.waitFor("event", { kind: "post" });
    } else if (!this.finish) {
      this.waitFor("closed", { kind: "cancel", step: "" });
    }
  }

  waitFor(what, otherwise) {
    clearTimeout(this.timer);
    this.timer = setTimeout(() => this.end(otherwise), this.patience[what]);
  }

  end(outcome) {
    if (this.isOver) return;
    this.isOver = true;
    clearTimeout(this.timer);
    this.settle(outcome, this);
  }
}
