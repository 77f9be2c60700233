// Stands in for Meta's JavaScript SDK: FB.init notes what it is given, FB.login opens a window of Meta's.
"use strict";
window.FB = {
  init(options) { window.initialised = options; },
  login(callback, options) {
    window.asked = options;
    const popup = window.open("https://www.facebook.com/stand_in_dialog", `meta${Date.now()}`, "width=500,height=600");
    const origins = ["https://www.facebook.com", "https://web.facebook.com"];
    window.addEventListener("message", (message) => {
      if (origins.includes(message.origin) && message.data && message.data.stand_in_login) callback(message.data.stand_in_login);
    });
    window.metaWindow = popup;
  },
};
if (window.fbAsyncInit) window.fbAsyncInit();
