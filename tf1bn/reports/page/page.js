"use strict";
// The table of layers: filters, order, and details on demand. Without this script all layers are there, details open.
(() => {
  const table = document.getElementById("layers");
  if (!table) return;
  const get = (id) => document.getElementById(id);
  const byName = get("by-name"), byCause = get("by-cause"), sortedBy = get("sorted-by"), shown = get("shown");
  const severities = [...document.querySelectorAll("input[name=severity]")];
  const headings = [...table.tHead.rows[0].cells];
  const inOrder = new Intl.Collator("en", { numeric: true, sensitivity: "base" });
  const start = headings.findIndex((heading) => heading.hasAttribute("aria-sort"));
  let column = start, direction = headings[start].dataset.first;

  const layers = [...table.tBodies].map((body, rank) => {
    const [row, details] = body.rows;
    const keys = [...row.cells].map((cell) => cell.dataset.sort ?? cell.textContent.trim());
    const layer = { body, row, details, rank, keys, name: keys[1], causes: [...row.querySelectorAll(".id")].map((a) => a.textContent) };
    const text = row.querySelector(".toggle");
    layer.toggle = document.createElement("button");
    layer.toggle.type = "button";
    layer.toggle.className = text.className;
    layer.toggle.setAttribute("aria-label", text.textContent);
    layer.toggle.append(...text.childNodes);
    layer.toggle.setAttribute("aria-controls", details.id);
    text.replaceWith(layer.toggle);
    return layer;
  });
  const layerOf = (element) => layers.find((layer) => layer.body === element.closest("tbody.layer"));

  const open = (layer, wanted) => {
    layer.details.hidden = !wanted;
    layer.toggle.setAttribute("aria-expanded", String(wanted));
  };

  // Names that hold a text; with * in it, names that are as the pattern says.
  const matcher = (text) => {
    const parts = text.trim().toLowerCase().split("*").map((part) => part.replace(/[.*+?^${}()|[\]\\]/g, "\\$&"));
    if (parts.length === 1) return (name) => name.toLowerCase().includes(text.trim().toLowerCase());
    const pattern = new RegExp(`^${parts.join(".*")}$`, "s");
    return (name) => pattern.test(name.toLowerCase());
  };

  const announce = () => {
    const count = layers.filter((layer) => !layer.body.hidden).length;
    if (layers.length === 1) return;
    const which = count === layers.length ? `${count}` : `${count} of ${layers.length}`;
    const order = column === start && direction === headings[start].dataset.first
      ? "the most severe first" : `sorted by ${headings[column].dataset.long}, ${direction}`;
    shown.textContent = `${which} layer${layers.length === 1 ? "" : "s"}, ${order}`;
  };

  const filter = () => {
    const matches = matcher(byName.value), cause = byCause.value;
    const wanted = new Set(severities.filter((box) => box.checked).map((box) => box.value));
    for (const layer of layers) {
      layer.body.hidden = !(matches(layer.name) && wanted.has(layer.body.dataset.severity)
        && (!cause || layer.causes.includes(cause)));
    }
    announce();
  };

  const compare = (a, b, numbers, sign) => {
    if (a === "" || b === "") return (a === "") - (b === "");
    return sign * (numbers ? Number(a) - Number(b) : inOrder.compare(a, b));
  };

  const sort = (chosen, wanted) => {
    column = chosen;
    direction = wanted;
    const numbers = headings[column].dataset.sorts === "numbers", sign = direction === "ascending" ? 1 : -1;
    layers.sort((a, b) => compare(a.keys[column], b.keys[column], numbers, sign) || a.rank - b.rank);
    table.append(...layers.map((layer) => layer.body));
    headings.forEach((heading, i) => {
      if (i === column) heading.setAttribute("aria-sort", direction);
      else heading.removeAttribute("aria-sort");
    });
    sortedBy.value = String(column);
    announce();
  };
  const opposite = () => (direction === "ascending" ? "descending" : "ascending");

  const reset = () => {
    byName.value = "";
    byCause.value = "";
    for (const box of severities) box.checked = true;
    filter();
    sort(start, headings[start].dataset.first);
  };

  // The layer that a link leads to, with its details, whatever the filters are.
  const reveal = () => {
    const layer = layers.find((one) => `#${one.body.id}` === location.hash || `#${one.details.id}` === location.hash);
    if (!layer) return;
    if (layer.body.hidden) reset();
    open(layer, true);
    layer.row.scrollIntoView({ block: "start" });
    layer.toggle.focus({ preventScroll: true });
  };

  headings.forEach((heading, i) => {
    const button = document.createElement("button");
    button.type = "button";
    button.append(...heading.childNodes);
    heading.append(button);
    button.addEventListener("click", () => sort(i, i === column ? opposite() : heading.dataset.first));
    sortedBy.add(new Option(heading.dataset.long, String(i)));
  });
  byName.addEventListener("input", filter);
  byCause.addEventListener("change", filter);
  for (const box of severities) box.addEventListener("change", filter);
  sortedBy.addEventListener("change", () => sort(Number(sortedBy.value), headings[sortedBy.value].dataset.first));
  get("reverse").addEventListener("click", () => sort(column, opposite()));
  get("reset").addEventListener("click", reset);
  get("open-all").addEventListener("click", () => layers.forEach((layer) => layer.body.hidden || open(layer, true)));
  get("close-all").addEventListener("click", () => layers.forEach((layer) => open(layer, false)));
  for (const button of document.querySelectorAll("button.only")) {
    button.hidden = false;
    button.addEventListener("click", () => {
      reset();
      byCause.value = button.dataset.cause ?? "";
      if (button.dataset.severity) for (const box of severities) box.checked = box.value === button.dataset.severity;
      filter();
      get("all").scrollIntoView();
      layers.find((layer) => !layer.body.hidden)?.toggle.focus({ preventScroll: true });
    });
  }

  table.addEventListener("click", (event) => {
    const row = event.target.closest(".row");
    const onSomething = event.target.closest("a") || (event.target.closest("button") && !event.target.closest(".toggle"));
    if (!row || onSomething || String(getSelection())) return;
    const layer = layerOf(row);
    open(layer, layer.details.hidden);
  });
  table.addEventListener("keydown", (event) => {
    if (!event.target.matches(".toggle") || event.ctrlKey || event.altKey || event.metaKey) return;
    const seen = layers.filter((layer) => !layer.body.hidden), at = seen.indexOf(layerOf(event.target));
    const to = { ArrowDown: at + 1, ArrowUp: at - 1, Home: 0, End: seen.length - 1 }[event.key];
    if (to === undefined || !seen[to]) return;
    event.preventDefault();
    seen[to].toggle.focus();
  });
  document.addEventListener("keydown", (event) => {
    if (event.key === "/" && !event.target.matches("input, select, textarea")) {
      event.preventDefault();
      byName.focus();
      byName.select();
    }
  });
  document.addEventListener("click", (event) => {
    // A second click on the same link changes no address.
    const link = event.target.closest("a[href^='#layer-']");
    if (link && link.hash === location.hash) reveal();
  });
  addEventListener("hashchange", reveal);

  layers.forEach((layer) => open(layer, layers.length === 1));
  get("tools").hidden = layers.length === 1;
  sortedBy.value = String(column);
  filter();
  reveal();
})();
