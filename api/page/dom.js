/** Helpers for elements. Text is always set as text; nothing is parsed as HTML. */

export const byId = (id) => document.getElementById(id);

/** A new element. Attributes that are null, undefined or false are left out. */
export function element(tag, attributes = {}, ...children) {
  const created = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (value !== null && value !== undefined && value !== false) created.setAttribute(name, value === true ? "" : value);
  }
  created.append(...children);
  return created;
}

/** Sets a text only when it differs, so that selections and screen readers are not disturbed. */
export function write(node, text) {
  if (node.textContent !== text) node.textContent = text;
}

/** Makes the children of `parent` match `items`. Existing children are kept in place, so that they keep the focus. */
export function reconcile(parent, items, keyOf, make, update) {
  const existing = new Map([...parent.children].map((child) => [child.dataset.key, child]));
  const wanted = items.map((item) => {
    const key = String(keyOf(item));
    const node = existing.get(key) ?? make(item);
    node.dataset.key = key;
    update(node, item);
    return node;
  });
  const keep = new Set(wanted);
  for (const child of [...parent.children]) if (!keep.has(child)) child.remove();
  wanted.forEach((node, at) => {
    if (parent.children[at] !== node) parent.insertBefore(node, parent.children[at] ?? null);
  });
}

/** Fills a table with rows of text; the first cell of a row is its heading. */
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
