// A cell's film: frames of the viewer and the cursors of the plots move together.
(function () {
  "use strict";

  window.dash_clientside = window.dash_clientside || {};
  const functions = (window.dash_clientside.esr1md = window.dash_clientside.esr1md || {});
  const none = () => window.dash_clientside.no_update;
  const TIMED = ["cell-helix12", "cell-latches", "cell-convergence"];
  let playing = null;

  let viewer = null;
  /** Load the viewer's code once; resolves when it can be used. */
  functions.loadViewer = (source) => {
    if (!source) return none();
    if (window.rcsbMolstar) return true;
    viewer = viewer || new Promise((resolve) => {
      const script = document.createElement("script");
      script.src = source;
      script.onload = () => resolve(true);
      script.onerror = () => { viewer = null; resolve(false); };
      document.head.appendChild(script);
    });
    return viewer;
  };

  functions.goToCell = (ligand, variant, known) => {
    const key = known && known.keys[ligand];
    if (!key || !variant || (known.shown && known.shown[0] === variant && known.shown[1] === ligand)) return none();
    window.esr1md.go(`/cell?${new URLSearchParams({ screen: known.screen, variant, ligand: key[0], state: key[1] })}`);
    return none();
  };

  functions.prepareFilm = (film) => (film ? [film.times.length - 1, false, 0] : [1, true, 0]);

  /** A line in every plot of time where the film is. */
  function mark(time) {
    for (const id of TIMED) {
      const plot = document.querySelector(`#${id} .js-plotly-plot`);
      if (!plot || !plot.layout || !window.Plotly) continue;
      const kept = (plot.layout.shapes || []).filter((shape) => shape.name !== "now");
      const axes = Object.keys(plot._fullLayout || {}).filter((name) => /^xaxis\d*$/.test(name));
      const now = axes.map((name) => ({
        name: "now", type: "line", xref: name.replace("axis", ""), yref: `y${name.replace("xaxis", "")} domain`,
        x0: time, x1: time, y0: 0, y1: 1, line: { color: "#cc79a7", width: 1.5 },
      }));
      window.Plotly.relayout(plot, { shapes: kept.concat(now) });
    }
  }

  functions.showFrame = (frame, film) => {
    if (!film || frame === null || frame === undefined) return [none(), none()];
    const time = film.times[frame];
    mark(time);
    if (document.getElementById("cell-viewer")) window.dash_clientside.set_props("cell-viewer", { frame });
    return [frame, `${frame + 1} of ${film.times.length}, ${Number(time.toPrecision(4))} ps`];
  };

  functions.frameAt = (...given) => {
    const film = given.pop();
    const triggered = window.dash_clientside.callback_context.triggered[0];
    const point = triggered && triggered.value && triggered.value.points && triggered.value.points[0];
    if (!film || !point) return none();
    let best = 0;
    film.times.forEach((time, i) => { if (Math.abs(time - point.x) < Math.abs(film.times[best] - point.x)) best = i; });
    return best;
  };

  /** The dashes of key contacts, once the viewer has loaded what they join. */
  function dash(film) {
    const waiting = setInterval(() => {
      const stage = document.getElementById("cell-stage");
      if (!stage || window.esr1md.shown !== film) { clearInterval(waiting); return; }
      if (!/Model \d+ \/ \d+/.test(stage.innerText)) return;
      clearInterval(waiting);
      window.dash_clientside.set_props("cell-viewer", { measurement: film.contacts });
    }, 500);
  }

  document.addEventListener("click", (event) => {
    const button = event.target.closest && event.target.closest("#cell-play");
    if (!button) return;
    if (playing) { clearInterval(playing); playing = null; button.textContent = "\u25b6"; return; }
    button.textContent = "\u23f8";
    playing = setInterval(() => {
      const slider = document.getElementById("cell-frame"), shown = document.getElementById("cell-play");
      if (!slider || !shown) { clearInterval(playing); playing = null; return; }
      const film = window.esr1md.film || 0;
      window.esr1md.frame = ((window.esr1md.frame || 0) + 1) % Math.max(1, film);
      window.dash_clientside.set_props("cell-frame", { value: window.esr1md.frame });
    }, 250);
  });

  const prepare = functions.prepareFilm, show = functions.showFrame;
  functions.prepareFilm = (film) => { window.esr1md.film = film ? film.times.length : 0; window.esr1md.frame = 0; window.esr1md.shown = film; if (film) dash(film); return prepare(film); };
  functions.showFrame = (frame, film) => { window.esr1md.frame = frame; return show(frame, film); };
})();

(function () {
  "use strict";

  window.dash_clientside.esr1md.goToCells = (cells, shown) => {
    if (shown && JSON.stringify(cells) !== JSON.stringify(shown.cells))
      window.esr1md.go(`/compare?${new URLSearchParams({ screen: shown.screen, cells: (cells || []).join("~") })}`);
    return window.dash_clientside.no_update;
  };
})();
