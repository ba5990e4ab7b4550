// The grid of ligands: how its cells are drawn, which rows are shown, what an export asks for.
(function () {
  "use strict";

  const e = (...args) => window.React.createElement(...args);
  const WORDS = { r: "retained", w: "weakened", l: "lost", c: "cannot tell", p: "predicted, not simulated" };
  const SIGNS = { r: "\u2713", w: "\u25bc", l: "\u2715", c: "?", p: "\u25c7", "-": "" };
  const OVERALL = { r: 0, w: 1, c: 2, l: 3, p: 4, "-": 5 };

  const components = (window.dashAgGridComponentFunctions = window.dashAgGridComponentFunctions || {});
  const helpers = (window.dashAgGridFunctions = window.dashAgGridFunctions || {});

  // -- cells ----------------------------------------------------------------------------------------------

  components.Rank = ({ data }) =>
    data.rank === null
      ? e("span", { className: "muted" }, "\u2013")
      : e("span", { className: "rank", title: `rank ${data.rank}, 95 % interval ${data.rank_low} to ${data.rank_high}` },
          e("b", null, data.rank), e("small", null, `${data.rank_low}\u2013${data.rank_high}`));

  components.Ligand = ({ data, screen, theme, version, variant }) => {
    const source = new URLSearchParams({ screen, ligand: data.ligand, theme, v: version });
    const to = new URLSearchParams({ screen, variant, ligand: data.ligand, state: data.state });
    return e("span", { className: "ligand" },
      data.drawn ? e("img", { src: `/structure.svg?${source}`, alt: "", loading: "lazy", width: 140, height: 84 }) : null,
      e("span", null,
        e("a", { href: `/cell?${to}`, "data-inside": "" }, data.ligand),
        e("small", null, data.state === "antagonist" ? "" : `from the ${data.state} state`),
        data.best ? e("small", null, `best: ${data.best}`) : null));
  };

  /** A score as its number, its interval in words, and both drawn on the axis of its starting state. */
  components.Score = ({ data, name, unit }) => {
    const value = data[name];
    if (value === null || value === undefined) return e("span", { className: "muted" }, "\u2013");
    const axis = data.axes[name], low = data[`${name}_l`], high = data[`${name}_h`], width = 172;
    const x = (v) => ((v - axis[0]) / (axis[1] - axis[0])) * width;
    const parts = [];
    if (axis[0] < 0 && axis[1] > 0) parts.push(e("line", { key: "z", className: "zero", x1: x(0), x2: x(0), y1: 0, y2: 18 }));
    if (low !== undefined) {
      parts.push(e("line", { key: "b", className: "bar", x1: x(low), x2: x(high), y1: 9, y2: 9 }));
      for (const end of [low, high]) parts.push(e("line", { key: `c${end}`, className: "bar", x1: x(end), x2: x(end), y1: 5, y2: 13 }));
    }
    parts.push(e("circle", { key: "p", className: data.origin === "predicted" ? "predicted" : "", cx: x(value), cy: 9, r: 3.6 }));
    const said = data[`${name}_i`] || "too few replicas for an interval";
    return e("span", { className: "score", title: `${data[`${name}_t`]} ${unit}, 95 % interval ${said}` },
      e("span", null, e("b", null, data[`${name}_t`]), e("small", null, said)),
      e("svg", { width, height: 18, "aria-hidden": true }, parts),
      name === "worst" && data.worst_variant ? e("small", null, data.worst_variant) : null);
  };

  components.Weighted = ({ data }) => {
    if (!data.shown_weighted) return e("span", { className: "muted" }, "\u2013");
    const moved = data.weighted ? data.weighted - data.shown_weighted : 0;
    const arrow = moved > 0 ? `\u25b2 ${moved}` : moved < 0 ? `\u25bc ${-moved}` : "";
    return e("span", { className: "rank" }, e("b", null, data.shown_weighted),
      e("small", null, `${data.shown_low}\u2013${data.shown_high}`),
      arrow ? e("span", { className: "moved", title: "against the screen's own weights" }, arrow) : null);
  };

  components.Verdicts = (params) => {
    const letters = params.value || "--";
    const marks = ["binding", "helix 12"].map((what, i) => {
      const letter = letters[i];
      const said = letter === "-" ? `${what}: not compared` : `${what}: ${WORDS[letter]}`;
      return e("span", { key: what, className: `mark ${(WORDS[letter] || "none").split(",")[0].replace(" ", "-")}`, title: said,
                         role: "img", "aria-label": said }, SIGNS[letter]);
    });
    if (!params.variant || letters === "--") return e("span", { className: "marks" }, marks);
    const to = new URLSearchParams({ screen: params.screen, variant: params.variant, ligand: params.data.ligand, state: params.data.state });
    return e("a", { className: "marks", href: `/cell?${to}`, "data-inside": "", title: `open ${params.variant}` }, marks);
  };

  components.Reviewed = ({ data, screen }) => {
    if (!data.review) return null;
    const to = new URLSearchParams({ screen, ligand: data.ligand });
    return e("a", { className: `chip ${data.review.replaceAll(" ", "-")}`, href: `/review?${to}`, "data-inside": "" }, data.review);
  };

  helpers.gridTheme = (theme) =>
    theme.themeQuartz.withParams({
      backgroundColor: "var(--page)", foregroundColor: "var(--ink)", borderColor: "var(--line)",
      headerBackgroundColor: "var(--soft)", rowHoverColor: "var(--soft)", accentColor: "var(--accent)",
      fontFamily: "inherit", fontSize: 14, headerFontSize: 13, wrapperBorderRadius: 8, cellHorizontalPadding: 10,
      oddRowBackgroundColor: "var(--page)", menuBackgroundColor: "var(--page)", chromeBackgroundColor: "var(--soft)",
    });

  /** Rows without a value come last, however a column is sorted. */
  helpers.emptyLast = (a, b, isDescending) => {
    const none = [a, b].map((value) => value === null || value === undefined);
    if (none[0] || none[1]) return none[0] === none[1] ? 0 : (none[0] ? 1 : -1) * (isDescending ? -1 : 1);
    return a - b;
  };

  /** Rows of one group stay together, in the order in which the first of each comes. */
  helpers.together = ({ nodes }) => {
    if (!nodes.length || !nodes[0].data.group) return;
    const groups = new Map();
    for (const node of nodes) {
      if (!groups.has(node.data.group)) groups.set(node.data.group, []);
      groups.get(node.data.group).push(node);
    }
    nodes.splice(0, nodes.length, ...[].concat(...groups.values()));
  };

  // -- paper ----------------------------------------------------------------------------------------------

  /** More rows than these are not laid out for paper: the browser would stand still. */
  const PRINTED = 1000;

  /** On a screen a grid draws the rows and columns in sight, on paper all of them. */
  function layOut(kind) {
    for (const grid of document.querySelectorAll(".grid [id]")) {
      const api = grid.querySelector(".ag-root-wrapper") && window.dash_ag_grid.getApi(grid.id);
      if (api && api.getDisplayedRowCount() <= PRINTED) api.setGridOption("domLayout", kind);
    }
  }
  window.addEventListener("afterprint", () => layOut("normal"));

  /** Cells are drawn a moment after they are laid out, so the browser's own command would print them empty. */
  function print() {
    layOut("print");
    setTimeout(() => window.print(), 700);
  }
  document.addEventListener("keydown", (event) => {
    if (!(event.ctrlKey || event.metaKey) || event.shiftKey || event.altKey || event.key !== "p") return;
    event.preventDefault();
    print();
  });
  document.addEventListener("click", (event) => {
    if (event.target.closest && event.target.closest("#print")) print();
  });

  // -- rows -----------------------------------------------------------------------------------------------

  window.dash_clientside = window.dash_clientside || {};
  const functions = (window.dash_clientside.esr1md = window.dash_clientside.esr1md || {});

  const verdictWords = (letters) =>
    letters === "--" ? "not compared" : `${WORDS[letters[0]] || "not compared"} / ${WORDS[letters[1]] || "not compared"}`;

  /** One axis for each score and starting state, from all rows: states are far apart, filters must not move it. */
  function axesOf(rows) {
    const axes = {};
    for (const row of rows) {
      const mine = (axes[row.state] = axes[row.state] || {});
      for (const name of ["binding", "helix12", "worst"])
        for (const end of [row[name], row[`${name}_l`], row[`${name}_h`]])
          if (Number.isFinite(end)) {
            const axis = (mine[name] = mine[name] || [end, end]);
            axis[0] = Math.min(axis[0], end);
            axis[1] = Math.max(axis[1], end);
          }
    }
    for (const mine of Object.values(axes))
      for (const name of Object.keys(mine)) {
        const [low, high] = mine[name], pad = 0.06 * (high - low) || 1;
        mine[name] = [low - pad, high + pad];
      }
    return axes;
  }

  functions.fetchRows = (source) =>
    source ? fetch(source).then((answer) => (answer.ok ? answer.json() : [])) : [];

  functions.arrange = (rows, find, classes, verdicts, place, hits, origins, group, weighted, reviews, columns) => {
    const wanted = (find || "").trim().toLowerCase();
    const held = hits ? new Set(hits) : null;
    const ranks = weighted && weighted.ranks;
    const axes = axesOf(rows || []);
    const shown = (rows || []).filter((row) =>
      (!wanted || `${row.ligand} ${row.class} ${row.approval} ${row.notes}`.toLowerCase().includes(wanted)) &&
      (!classes || !classes.length || classes.includes(row.class)) &&
      (!origins || !origins.length || origins.includes(row.origin)) &&
      (!held || held.has(row.ligand)) &&
      (!verdicts || !verdicts.length || verdicts.some((v) => row[place || "overall"][+v[0]] === v[1]))
    ).map((row) => {
      const own = [row.weighted, row.weighted_low, row.weighted_high];
      const [rank, low, high] = ranks ? ranks[row.id] || [null, null, null] : own;
      return { ...row, axes: axes[row.state], review: (reviews || {})[row.ligand] || "", shown_weighted: rank, shown_low: low, shown_high: high,
               group: group ? (group === "overall" ? verdictWords(row.overall) : row[group]) : "" };
    });
    const state = (columns || []).map((column) => {
      if (column.colId === "group") return { ...column, hide: !group };
      if (ranks && column.colId === "shown_weighted") return { ...column, sort: "asc", sortIndex: 0 };
      return ranks ? { ...column, sort: null, sortIndex: null } : column;
    });
    if (!rows) return [[], window.dash_clientside.no_update, "reading ..."];
    const all = rows.length;
    const count = shown.length === all ? `${all} ligands` : `${shown.length} of ${all} ligands`;
    return [shown, state.length ? state : window.dash_clientside.no_update, count];
  };

  functions.wanted = (...given) => {
    const weighted = given.pop(), columns = given.pop(), rows = given.pop();
    const triggered = window.dash_clientside.callback_context.triggered[0];
    if (!triggered || !triggered.value || !rows) return window.dash_clientside.no_update;
    const kind = triggered.prop_id.split(".")[0].replace("ranking-", "");
    const visible = (columns || []).filter((c) => !c.hide).map((c) => (c.colId === "shown_weighted" ? "weighted" : c.colId));
    return { kind, rows: rows.map((row) => row.id), columns: visible, ranks: (weighted && weighted.ranks) || null, at: Date.now() };
  };
})();

// The matrix: its table, and a click on a square of its map.
(function () {
  "use strict";

  const e = (...args) => window.React.createElement(...args);

  window.dashAgGridComponentFunctions.Square = ({ data, screen, variant, text }) => {
    if (!data[text]) return null;
    const to = new URLSearchParams({ screen, variant, ligand: data.ligand, state: data.state });
    return e("a", { href: `/cell?${to}`, "data-inside": "" }, data[text]);
  };

  window.dash_clientside.esr1md.openSquare = (clicked, keys) => {
    const point = clicked && clicked.points && clicked.points[0];
    if (!point || !keys) return window.dash_clientside.no_update;
    const [ligand, state] = keys.rows[Math.round(point.y)] || [];
    const variant = keys.columns[Math.round(point.x)];
    if (ligand && variant && point.text)
      window.esr1md.go(`/cell?${new URLSearchParams({ screen: keys.screen, variant, ligand, state })}`);
    return window.dash_clientside.no_update;
  };
})();

// The library: compounds with their pictures, predictions as text.
(function () {
  "use strict";

  const e = (...args) => window.React.createElement(...args);
  const components = window.dashAgGridComponentFunctions;

  components.Compound = ({ data, library, theme }) => {
    const source = new URLSearchParams({ library, row: data.id, theme });
    return e("span", { className: "ligand" },
      e("img", { src: `/compound.svg?${source}`, alt: "", loading: "lazy", width: 140, height: 84 }),
      e("span", null, e("b", null, data.name)));
  };

  components.Predicted = ({ data }) => {
    if (typeof data.value !== "number") return e("span", { className: "muted" }, "\u2013");
    const between = typeof data.low === "number" && typeof data.high === "number"
      ? `${data.low.toFixed(1)} to ${data.high.toFixed(1)}` : "no interval";
    return e("span", { className: "score" }, e("span", null, e("b", null, data.value.toFixed(1)), e("small", null, between)));
  };
})();
