// Reviews: another subject is another address; the reviewer's name is kept in the browser.
(function () {
  "use strict";

  window.dash_clientside = window.dash_clientside || {};
  const functions = (window.dash_clientside.esr1md = window.dash_clientside.esr1md || {});
  const none = () => window.dash_clientside.no_update;

  functions.goToReview = (ligand, about, shown) => {
    if (!shown || (ligand === shown.ligand && about === shown.about)) return none();
    const to = new URLSearchParams({ screen: shown.screen, ligand });
    if (ligand === shown.ligand && about !== "the ligand") {
      const [variant, state] = about.split(" from ");
      to.set("variant", variant);
      to.set("state", state);
    }
    window.esr1md.go(`/review?${to}`);
    return none();
  };

  functions.rememberName = (name, kept, fixed) => {
    if (fixed) return [none(), none()];
    const started = window.dash_clientside.callback_context.triggered.length === 0 || name === "";
    if (started && !name && kept && !window.esr1md.named) { window.esr1md.named = true; return [kept, none()]; }
    return [none(), name || none()];
  };
})();
