"use strict";
(() => {
  const figures = JSON.parse(document.getElementById("figures").textContent);
  const config = {responsive: true, displayModeBar: false};
  const hidden = new Set();

  // Figures are drawn when they come near the window: a screen of forty ligands has eighty of them.
  const drawn = new Set();
  function draw(element) {
    if (drawn.has(element)) return;
    drawn.add(element);
    const figure = figures[element.dataset.figure];
    for (const trace of figure.data) if (hidden.has(trace.meta)) trace.visible = false;
    Plotly.newPlot(element, figure.data, figure.layout, config);
  }
  const plots = [...document.querySelectorAll(".plot")];
  const observer = new IntersectionObserver(entries => {
    for (const entry of entries) if (entry.isIntersecting) { observer.unobserve(entry.target); draw(entry.target); }
  }, {rootMargin: "600px"});
  for (const plot of plots) {
    const {height, meta} = figures[plot.dataset.figure].layout;
    if (height) plot.style.minHeight = height + "px";
    if (meta && meta.least_width) plot.style.minWidth = meta.least_width + "px";
    observer.observe(plot);
  }
  window.addEventListener("beforeprint", () => plots.forEach(draw));

  // One set of variant boxes rules all small multiples.
  const boxes = [...document.querySelectorAll("input[data-variant]")];
  for (const box of boxes) box.addEventListener("change", () => {
    const variant = box.dataset.variant;
    if (box.checked) hidden.delete(variant); else hidden.add(variant);
    for (const other of boxes) if (other.dataset.variant === variant) other.checked = box.checked;
    for (const plot of plots) {
      if (!drawn.has(plot) || !plot.data) continue;
      const mine = plot.data.map((trace, i) => trace.meta === variant ? i : -1).filter(i => i >= 0);
      if (mine.length) Plotly.restyle(plot, {visible: box.checked}, mine);
    }
  });

  // --- 3D ---
  const holder = document.getElementById("viewer");
  if (!holder) return;
  const complexes = JSON.parse(document.getElementById("complexes-data").textContent);
  const select = document.getElementById("complex");
  const overlay = document.getElementById("overlay");
  const labels = document.getElementById("labels");
  const message = document.getElementById("viewer-message");
  const texts = new Map();
  let viewer = null, view = "pocket", request = 0, shown = false;
  const letters = {ALA: "A", ARG: "R", ASN: "N", ASP: "D", ASH: "D", CYS: "C", CYX: "C", CYM: "C", GLN: "Q", GLU: "E", GLH: "E", GLY: "G",
    HIS: "H", HID: "H", HIE: "H", HIP: "H", ILE: "I", LEU: "L", LYS: "K", LYN: "K", MET: "M", PHE: "F", PRO: "P", SER: "S", THR: "T",
    TRP: "W", TYR: "Y", VAL: "V"};
  const LIGAND = "#0b7a75", HELIX = "#d55e00", MUTATED = "#8a3ffc", KEY = "#8a94a0", WILD = "#7db5e8";

  function say(text) { message.textContent = text; message.hidden = !text; }

  async function text(index) {
    if (!texts.has(index)) {
      const bytes = Uint8Array.from(atob(complexes.list[index].pdb), c => c.charCodeAt(0));
      const stream = new Blob([bytes]).stream().pipeThrough(new DecompressionStream("gzip"));
      texts.set(index, await new Response(stream).text());
    }
    return texts.get(index);
  }

  function carbons(colour) { return {prop: "elem", map: {C: colour, N: "#2f5bd0", O: "#d0342c", S: "#c9a400", H: "#f4f4f4", F: "#3f9f5f", Cl: "#3f9f5f", CL: "#3f9f5f"}}; }

  function style(model, complex, wild) {
    const protein = {model, not: {resn: "LIG"}};
    viewer.setStyle(protein, {cartoon: {color: wild ? WILD : "#d5dbe2", opacity: wild ? 0.45 : 0.72}});
    viewer.setStyle({model, resi: complexes.helix12, not: {resn: "LIG"}}, {cartoon: {color: wild ? WILD : HELIX, opacity: wild ? 0.7 : 1}});
    viewer.setStyle({model, resn: "LIG"}, {stick: {radius: wild ? 0.1 : 0.18, colorscheme: carbons(wild ? WILD : LIGAND)}});
    const residues = new Set([...complexes.key, ...complex.mutated]);
    for (const resi of residues) {
      const colour = wild ? WILD : complex.mutated.includes(resi) ? MUTATED : KEY;
      viewer.addStyle({model, resi, not: {or: [{resn: "LIG"}, {atom: ["N", "C", "O", "H"]}]}}, {stick: {radius: wild ? 0.08 : 0.13, colorscheme: carbons(colour)}});
      if (wild || !labels.checked) continue;
      const [atom] = viewer.selectedAtoms({model, resi, atom: "CA", not: {resn: "LIG"}});
      if (!atom) continue;
      const mutated = complex.mutated.includes(resi);
      viewer.addLabel((letters[atom.resn] || atom.resn) + resi, {position: {x: atom.x, y: atom.y, z: atom.z}, fontSize: 13, inFront: true,
        fontColor: mutated ? "#5b16c9" : "#1f2933", backgroundColor: "#ffffff", backgroundOpacity: 0.82, borderColor: mutated ? MUTATED : "#aab4bf", borderThickness: 1});
    }
  }

  function aim() {
    const target = view === "all" ? {model: 0} : view === "helix12" ? {model: 0, resi: complexes.helix12}
      : {model: 0, or: [{resn: "LIG"}, {resi: [...complexes.key]}, {resi: complexes.helix12}]};
    viewer.zoomTo(viewer.selectedAtoms(target).length ? target : {model: 0}, 0);
    if (view === "helix12") viewer.zoom(0.7);
  }

  async function show(keepView) {
    const mine = ++request;
    const index = Number(select.value), complex = complexes.list[index];
    const wildIndex = complexes.list.findIndex(c => c.variant === "WT" && c.ligand === complex.ligand && c.state === complex.state);
    overlay.disabled = complex.variant === "WT" || wildIndex < 0;
    let pdb, wildPdb = null;
    try {
      pdb = await text(index);
      if (overlay.checked && !overlay.disabled) wildPdb = await text(wildIndex);
    } catch (error) {
      say("This browser cannot unpack the structure (it needs DecompressionStream, in browsers since 2023). The PDB files are in the store.");
      return;
    }
    if (mine !== request) return;  // another complex was chosen meanwhile
    const camera = keepView && shown ? viewer.getView() : null;
    viewer.removeAllModels(); viewer.removeAllLabels();
    viewer.addModel(pdb, "pdb");
    style(0, complex, false);
    if (wildPdb) { viewer.addModel(wildPdb, "pdb"); style(1, complexes.list[wildIndex], true); }
    if (camera) viewer.setView(camera); else aim();
    viewer.render();
    shown = true;
    holder.setAttribute("aria-label", "Three-dimensional view of " + complex.ligand + " in " + complex.variant + ", " + complex.state + " state");
    holder.dataset.shown = String(index);
  }

  function open() {
    if (viewer) return;
    try {
      viewer = $3Dmol.createViewer(holder, {backgroundColor: "#fbfcfd", antialias: true, disableFog: true});
    } catch (error) { viewer = null; }
    if (!viewer) { say("The 3D view needs WebGL, which this browser does not offer. The PDB files are in the store."); select.disabled = true; return; }
    say("");
    show(false);
  }
  select.addEventListener("change", () => viewer && show(true));
  overlay.addEventListener("change", () => viewer && show(true));
  labels.addEventListener("change", () => viewer && show(true));
  for (const button of document.querySelectorAll("[data-view]")) button.addEventListener("click", () => { view = button.dataset.view; if (viewer && shown) { aim(); viewer.render(); } });
  new IntersectionObserver((entries, self) => {
    if (entries.some(e => e.isIntersecting)) { self.disconnect(); open(); }
  }, {rootMargin: "300px"}).observe(holder);
})();
