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
  return names[text] ?? text;
}

export const percent = (share) =>
  share >= 0.0995 ? `${Math.round(100 * share)}%` : share >= 0.0005 ? `${(100 * share).toFixed(1)}%` : share ? "<0.1%" : "0%";

export const mean = (numbers) => numbers.reduce((sum, number) => sum + number, 0) / numbers.length;
