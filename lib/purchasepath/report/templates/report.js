"use strict";
(() => {
  const narrow = matchMedia("(max-width: 640px)");
  const dark = matchMedia("(prefers-color-scheme: dark)");

  const isObject = (value) => value !== null && typeof value === "object" && !Array.isArray(value);

  // a copy of `base` with the values of `more` laid over it
  const merge = (base, more) => {
    const merged = { ...base };
    for (const [key, value] of Object.entries(more)) {
      merged[key] = isObject(value) && isObject(merged[key]) ? merge(merged[key], value) : value;
    }
    return merged;
  };

  // Plotly draws with plain colours: look up each var(--name) in the page's palette
  const resolve = (value, palette) => {
    if (Array.isArray(value)) return value.map((part) => resolve(part, palette));
    if (isObject(value)) return Object.fromEntries(Object.entries(value).map(([k, v]) => [k, resolve(v, palette)]));
    const variable = typeof value === "string" && /^var\((--[a-z0-9-]+)\)$/.exec(value);
    return variable ? palette.getPropertyValue(variable[1]).trim() : value;
  };

  const axis = {
    gridcolor: "var(--line)", zerolinecolor: "var(--line)", linecolor: "var(--line)", tickfont: { color: "var(--muted)" },
    title: { font: { color: "var(--muted)", size: 12 }, standoff: 8 }, fixedrange: true, automargin: true,
  };

  const page = () => ({
    paper_bgcolor: "rgba(0,0,0,0)", plot_bgcolor: "rgba(0,0,0,0)",
    font: { family: getComputedStyle(document.body).fontFamily, size: narrow.matches ? 11 : 13, color: "var(--ink)" },
    margin: narrow.matches ? { l: 8, r: 14, t: 20, b: 8 } : { l: 12, r: 24, t: 24, b: 12 },
    legend: { orientation: "h", x: 0, y: 1.02, xanchor: "left", yanchor: "bottom", bgcolor: "rgba(0,0,0,0)" },
    hoverlabel: { bgcolor: "var(--card)", bordercolor: "var(--line)", font: { color: "var(--ink)" } },
    modebar: { remove: ["all"] },
  });

  const draw = (place, figure) => {
    const palette = getComputedStyle(document.documentElement);
    const narrowed = narrow.matches ? figure.narrow : {};
    let layout = merge(page(), figure.layout);
    for (const name of Object.keys(figure.layout).filter((key) => /^[xy]axis\d*$/.test(key))) {
      layout[name] = merge(axis, figure.layout[name]);
    }
    layout = merge(layout, narrowed.layout || {});
    layout.width = place.clientWidth;
    layout.height = narrowed.height || figure.height;
    place.style.minHeight = `${layout.height}px`;
    const data = figure.data.map((trace) => merge(trace, narrowed.traces || {}));
    return Plotly.react(place, resolve(data, palette), resolve(layout, palette), { displayModeBar: false });
  };

  const figures = [...document.querySelectorAll("script[data-figure]")].map((source) => ({
    place: document.getElementById(source.dataset.figure), figure: JSON.parse(source.textContent),
  }));

  const drawAll = () => {
    for (const { place, figure } of figures) {
      Promise.resolve().then(() => draw(place, figure)).then(
        () => { place.dataset.state = "drawn"; },
        (failure) => { place.dataset.state = "failed"; place.textContent = `This figure could not be drawn: ${failure}`; },
      );
    }
  };

  // Plotly's own `responsive` hears of the window only; a figure's card can change its width by itself
  const sizes = new ResizeObserver((changes) => {
    for (const { target, contentRect } of changes) {
      if (target.dataset.state === "drawn" && Math.round(contentRect.width) !== target.layout.width) {
        Plotly.relayout(target, { width: Math.round(contentRect.width) });
      }
    }
  });

  drawAll();
  figures.forEach(({ place }) => sizes.observe(place));
  narrow.addEventListener("change", drawAll);
  dark.addEventListener("change", drawAll);

  // mark the section being read in the table of contents
  const links = new Map([...document.querySelectorAll("nav a")].map((link) => [link.hash.slice(1), link]));
  const watcher = new IntersectionObserver((seen) => {
    for (const { isIntersecting, target } of seen) {
      if (!isIntersecting) continue;
      links.forEach((link) => link.classList.remove("here"));
      links.get(target.id)?.classList.add("here");
    }
  }, { rootMargin: "-10% 0px -80% 0px" });
  document.querySelectorAll("main > section").forEach((section) => watcher.observe(section));
})();
