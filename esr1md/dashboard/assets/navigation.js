// Addresses, titles and the theme: what is chosen on a page is kept in its address, links stay inside the application.
(function () {
  "use strict";

  const BETWEEN = "~";

  function setTheme(dark, seconds) {
    const name = dark ? "dark" : "light";
    document.cookie = `esr1md_theme=${name}; path=/; SameSite=Strict${seconds ? `; max-age=${seconds}` : ""}`;
    document.documentElement.dataset.theme = document.documentElement.dataset.agThemeMode = name;
  }

  if (!/(^|; )esr1md_theme=/.test(document.cookie)) setTheme(matchMedia("(prefers-color-scheme: dark)").matches, 0);

  /** Go to another address of the dashboard without loading it anew. */
  function go(href) {
    history.pushState({}, "", href);
    window.dash_clientside.set_props("address", { data: here() });
    window.scrollTo(0, 0);
    const page = document.getElementById("page");
    if (page) page.focus({ preventScroll: true });
  }

  const here = () => location.pathname + location.search;

  window.addEventListener("popstate", () => window.dash_clientside.set_props("address", { data: here() }));

  document.addEventListener("click", (event) => {
    const link = event.target.closest && event.target.closest("a[data-inside]");
    if (!link || event.ctrlKey || event.metaKey || event.shiftKey || event.button) return;
    event.preventDefault();
    go(link.getAttribute("href"));
  });

  document.addEventListener("click", (event) => {
    if (!event.target.closest || !event.target.closest("#theme")) return;
    setTheme(document.documentElement.dataset.theme !== "dark", 31536000);
    location.reload();
  });

  window.esr1md = { go };
  window.dash_clientside = window.dash_clientside || {};
  const functions = (window.dash_clientside.esr1md = window.dash_clientside.esr1md || {});

  functions.entitle = (title) => {
    document.title = title || "esr1md";
    return "";
  };

  functions.arrive = () => here();

  functions.chooseScreen = (name, shown) => {
    if (name && name !== shown) go(`${location.pathname === "/cell" ? "/" : location.pathname}?screen=${encodeURIComponent(name)}`);
    return window.dash_clientside.no_update;
  };

  functions.goToCells = (cells, shown) => {
    if (shown && JSON.stringify(cells) !== JSON.stringify(shown.cells))
      go(`/compare?${new URLSearchParams({ screen: shown.screen, cells: (cells || []).join(BETWEEN) })}`);
    return window.dash_clientside.no_update;
  };

  /** Write the values of a page's controls into its address; what is empty is left out. */
  functions.remember = (...given) => {
    const names = given.pop();
    const address = new URLSearchParams(location.search);
    names.forEach((name, i) => {
      const value = Array.isArray(given[i]) ? given[i].join(BETWEEN) : given[i];
      if (value === null || value === undefined || value === "") address.delete(name);
      else address.set(name, value);
    });
    history.replaceState(history.state, "", `${location.pathname}?${address}`);
    return window.dash_clientside.no_update;
  };
})();
