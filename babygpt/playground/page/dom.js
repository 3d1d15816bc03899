// Elements of the page. Text from a model or a prompt only ever becomes text: nothing here reads HTML.

/** An element with attributes and children. A function as an attribute is an event listener; false leaves one out. */
export function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (typeof value === "function") element.addEventListener(name, value);
    else if (value !== false && value !== undefined) element.setAttribute(name, value === true ? "" : value);
  }
  element.append(...children);
  return element;
}

export const find = (id) => document.getElementById(id);

/** A character as it can be seen: blanks and line breaks get a sign. */
export function visible(text) {
  return text.replaceAll(" ", "␣").replaceAll("\n", "⏎").replaceAll("\t", "⇥") || "▯";
}

/** A character as it is read aloud. */
export function spoken(text) {
  const names = { " ": "space", "\n": "line break", "\t": "tab", "": "part of a character" };
  return Object.hasOwn(names, text) ? names[text] : text; // a token can be called "constructor"
}

/** A share of 1 in percent, never rounded to 0 or 100 unless it is that. */
export function percent(share) {
  if (share > 0 && share < 0.0005) return "<0.1%";
  if (share < 1 && share >= 0.9995) return ">99.9%";
  const digits = share > 0 && share < 1 && (share < 0.0995 || share >= 0.995) ? 1 : 0;
  return `${(100 * share).toFixed(digits)}%`;
}

export const mean = (numbers) => numbers.reduce((sum, number) => sum + number, 0) / numbers.length;
