"use strict";
(() => {
  const FILTERED_FROM = 9;

  // A number as the tables write it: 1,200 or 38.6%; NaN for anything else.
  const numberOf = (text) => (/^[+-]?[\d,]*\.?\d+(e[+-]?\d+)?%?$/i.test(text) ? Number(text.replace(/[,%]/g, "")) : NaN);
  const textOf = (row, column) => row.cells[column].textContent.trim();

  function sortable(table) {
    const body = table.tBodies[0];
    [...table.tHead.rows[0].cells].forEach((header, column) => {
      const known = [...body.rows].map((row) => textOf(row, column)).filter((text) => text !== "-");
      const isNumeric = known.length > 0 && known.every((text) => !Number.isNaN(numberOf(text)));
      if (isNumeric) {
        for (const row of table.rows) row.cells[column].classList.add("number");
      }
      const button = document.createElement("button");
      button.type = "button";
      button.className = "sort";
      button.append(...header.childNodes);
      header.append(button);
      button.addEventListener("click", () => {
        const down = header.getAttribute("aria-sort") === "ascending";
        for (const other of table.tHead.rows[0].cells) other.removeAttribute("aria-sort");
        header.setAttribute("aria-sort", down ? "descending" : "ascending");
        const compare = (one, two) => {
          const [a, b] = [textOf(one, column), textOf(two, column)];
          if (a === "-" || b === "-") return (a === "-") - (b === "-");
          const order = isNumeric ? numberOf(a) - numberOf(b) : a < b ? -1 : a > b ? 1 : 0;
          return down ? -order : order;
        };
        body.append(...[...body.rows].sort(compare));
      });
    });
  }

  function filterable(table, place) {
    const rows = [...table.tBodies[0].rows];
    if (rows.length < FILTERED_FROM) return;
    const tools = document.createElement("div");
    tools.className = "tools";
    const input = document.createElement("input");
    input.type = "search";
    input.className = "filter";
    input.placeholder = "filter rows";
    input.setAttribute("aria-label", `Filter the rows of: ${table.caption.textContent.trim()}`);
    const shown = document.createElement("output");
    shown.className = "rows";
    const tell = () => {
      const wanted = input.value.trim().toLowerCase();
      const holds = (cell) => cell.textContent.toLowerCase().includes(wanted);
      for (const row of rows) row.hidden = ![...row.cells].some(holds);
      shown.textContent = `${rows.filter((row) => !row.hidden).length} of ${rows.length} rows`;
    };
    input.addEventListener("input", tell);
    tools.append(input, shown);
    place.before(tools);
    tell();
  }

  // A group is lit wherever it is drawn or listed, while it is pointed at or has the focus.
  function lightable(figure) {
    const about = figure.querySelector(".about");
    const hint = "Point at a group, or tab to its name: its layers light up in every picture and table.";
    about.hidden = false;
    about.textContent = hint;
    const items = [...figure.querySelectorAll(".groups li")];
    for (const item of items) {
      const button = document.createElement("button");
      button.type = "button";
      button.className = "group";
      button.append(...item.childNodes);
      item.append(button);
    }
    const keys = new Map(items.map((item) => [item.dataset.group, item.dataset.about]));
    const dark = () => {
      document.body.classList.remove("lighting");
      for (const part of document.querySelectorAll(".lit")) part.classList.remove("lit");
      about.textContent = hint;
    };
    const light = (key) => {
      dark();
      document.body.classList.add("lighting");
      for (const part of document.querySelectorAll(`[data-group="${key}"]`)) part.classList.add("lit");
      about.textContent = keys.get(key);
    };
    const keyOf = (event) => event.target.closest?.("[data-group]")?.dataset.group;
    for (const [on, off] of [["mouseover", "mouseout"], ["focusin", "focusout"]]) {
      document.addEventListener(on, (event) => keys.has(keyOf(event)) && light(keyOf(event)));
      document.addEventListener(off, (event) => {
        if (!keys.has(keyOf(event))) return;
        dark();
        // The mouse has left, and the keyboard may still be on a group.
        const focused = on === "mouseover" && document.activeElement.closest("[data-group]");
        if (focused && keys.has(focused.dataset.group)) light(focused.dataset.group);
      });
    }
    document.addEventListener("keydown", (event) => event.key === "Escape" && dark());
  }

  // What is linked to may be folded away.
  function unfold() {
    let target = null;
    try {
      target = document.getElementById(decodeURIComponent(location.hash.slice(1)));
    } catch {
      // Nobody's link: a hash that is no encoded text.
    }
    const fold = target?.querySelector(":scope > details");
    for (let part = fold ?? target; part; part = part.parentElement) {
      if (part.tagName === "DETAILS") part.open = true;
    }
    if (target) target.scrollIntoView();
  }

  // Paper cannot be unfolded.
  const folded = new Set();
  window.addEventListener("beforeprint", () => {
    for (const one of document.querySelectorAll("details:not([open])")) {
      folded.add(one);
      one.open = true;
    }
  });
  window.addEventListener("afterprint", () => {
    for (const one of folded) one.open = false;
    folded.clear();
  });

  for (const table of document.querySelectorAll("table.data")) {
    sortable(table);
    filterable(table, table.closest(".scroll"));
  }
  document.querySelectorAll("figure.graph").forEach(lightable);
  // A link to where one is already changes no hash.
  document.addEventListener("click", (event) => {
    if (event.target.closest?.("a[href^='#']")?.hash === location.hash) unfold();
  });
  window.addEventListener("hashchange", unfold);
  unfold();
})();
