/** Elements. Text is always set as text; nothing is ever parsed as HTML. */

export const byId = (id) => document.getElementById(id);

/** A new element; attributes that are null, undefined or false are left out. */
export function element(tag, attributes = {}, ...children) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== null && value !== undefined && value !== false) made.setAttribute(name, value === true ? "" : value);
  }
  made.append(...children);
  return made;
}

/** Set a text only when it differs, so that selections and screen readers are left alone. */
export function write(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

/** Make the children of `parent` those of `items`, keeping (and not moving) what is there already: focus stays. */
export function reconcile(parent, items, keyOf, make, update) {
  const known = new Map([...parent.children].map((child) => [child.dataset.key, child]));
  const wanted = items.map((item) => {
    const key = String(keyOf(item));
    const node = known.get(key) ?? make(item);
    node.dataset.key = key;
    update(node, item);
    return node;
  });
  const kept = new Set(wanted);
  for (const child of [...parent.children]) if (!kept.has(child)) child.remove();
  wanted.forEach((node, at) => {
    if (parent.children[at] !== node) parent.insertBefore(node, parent.children[at] ?? null);
  });
}

/** The rows of a table of plain texts: an array of arrays; the first cell of a row is its heading. */
export function fillTable(body, rows) {
  body.replaceChildren(
    ...rows.map(([heading, ...cells]) =>
      element(
        "tr",
        {},
        element("th", { scope: "row" }, heading),
        ...cells.map((cell) => element("td", { class: "number" }, cell)),
      ),
    ),
  );
}
