// A cell's film: frames of the viewer and the cursors of the plots move together.
(function () {
  "use strict";

  window.dash_clientside = window.dash_clientside || {};
  const functions = (window.dash_clientside.esr1md = window.dash_clientside.esr1md || {});
  const none = () => window.dash_clientside.no_update;
  const TIMED = ["cell-helix12", "cell-latches", "cell-convergence"];
  /** The viewer's code, the timer of the film, the film that is shown and the frame that it is at. */
  let viewer = null, playing = null, shown = null, at = 0;

  /** Load the viewer's code once; resolves when it can be used. */
  functions.loadViewer = (source) => {
    if (!source) return none();
    if (window.rcsbMolstar) return true;
    mayBeLeftEarly(window.dash_molstar.MolstarViewer.prototype);
    viewer = viewer || new Promise((resolve) => {
      const script = document.createElement("script");
      script.src = source;
      script.onload = () => resolve(true);
      script.onerror = () => { viewer = null; resolve(false); };
      document.head.appendChild(script);
    });
    return viewer;
  };

  /** The viewer's component fails where it is ended while it starts or loads; so it loads nothing more and ends then. */
  function mayBeLeftEarly(component) {
    if (component.patient) return;
    component.patient = true;
    const load = component.handleDataChange, end = component.componentWillUnmount;
    component.handleDataChange = function (data) { return (this.loading = load.call(this, data)); };
    component.componentWillUnmount = function () {
      if (!this.viewer) return;
      this.state = this.props = {};
      const loaded = () => Promise.resolve(this.loading).catch(() => {});
      this.viewer._plugin.canvas3dInitialized.then(loaded).then(() => end.call(this), () => {});
    };
  }

  functions.goToCell = (ligand, variant, known) => {
    const key = known && known.keys[ligand];
    if (!key || !variant || (known.shown && known.shown[0] === variant && known.shown[1] === ligand)) return none();
    window.esr1md.go(`/cell?${new URLSearchParams({ screen: known.screen, variant, ligand: key[0], state: key[1] })}`);
    return none();
  };

  functions.prepareFilm = (film) => {
    shown = film;
    at = 0;
    if (film) dash(film);
    return film ? [film.times.length - 1, false, 0] : [1, true, 0];
  };

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
    at = frame;
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
      if (!stage || shown !== film) { clearInterval(waiting); return; }
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
      if (!document.getElementById("cell-play")) { clearInterval(playing); playing = null; return; }
      at = ((at || 0) + 1) % (shown ? shown.times.length : 1);
      window.dash_clientside.set_props("cell-frame", { value: at });
    }, 250);
  });
})();
