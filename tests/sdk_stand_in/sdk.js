// Stands in for Meta's JavaScript SDK: FB.init notes what it is given, FB.login opens a window of Meta's.
"use strict";
window.FB = {
  init(options) { window.initialised = options; },
  login(callback, options) {
    window.asked = options;
    const popup = window.open("https://www.facebook.com/stand_in_dialog", `meta${Date.now()}`, "width=500,height=600");
    const origins = ["https://www.facebook.com", "https://web.facebook.com"];
    let isOver = false;
    const answer = (given) => { if (!isOver) { isOver = true; callback(given); } };
    window.addEventListener("message", (message) => {
      if (origins.includes(message.origin) && message.data && message.data.stand_in_login) answer(message.data.stand_in_login);
    });
    // Who closes the window before the end gets an answer without a code.
    const look = setInterval(() => {
      if (!popup || popup.closed) { clearInterval(look); answer({ authResponse: null, status: "unknown" }); }
    }, 100);
  },
};
if (window.fbAsyncInit) window.fbAsyncInit();
