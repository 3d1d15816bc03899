// What is shown, and how it is kept in the address: #model=v10&prompt=ROMEO%3A&seed=7. Values that are left out are these.

const DEFAULTS = {
  view: "write", model: "", prompt: "ROMEO:", seed: 1337, free: false, temperature: 1, topK: 0, topP: 1, count: 200,
  at: -1, choices: [], off: [], head: [0, 0], bare: false,
};

const WHOLE = ["seed", "topK", "count", "at"];

export const VIEWS = { write: "Write", attention: "Attention", layers: "Layers", versions: "Versions 1 to 10" };

/** The state in the part of an address after the #. What cannot be understood is left out. */
export function readState(hash) {
  const state = structuredClone(DEFAULTS);
  for (const [name, text] of new URLSearchParams(hash.replace(/^#/, ""))) {
    const value = Object.hasOwn(DEFAULTS, name) ? read(text, DEFAULTS[name]) : undefined;
    if (value !== undefined && !(WHOLE.includes(name) && !Number.isInteger(value))) state[name] = value;
  }
  if (!Object.hasOwn(VIEWS, state.view)) state.view = DEFAULTS.view;
  if (state.head.length !== 2 || Array.isArray(state.head[0])) state.head = DEFAULTS.head;
  return state;
}

/** The part of an address after the #, for `readState`. */
export function writeState(state) {
  const found = new URLSearchParams();
  for (const [name, standard] of Object.entries(DEFAULTS)) {
    const text = write(state[name]);
    if (text !== write(standard)) found.set(name, text);
  }
  return found.toString();
}

function write(value) {
  if (typeof value === "boolean") return value ? "yes" : "no";
  if (!Array.isArray(value)) return String(value);
  return value.map((item) => (Array.isArray(item) ? item.join(".") : item)).join("_");
}

function read(text, standard) {
  if (typeof standard === "boolean") return text === "yes";
  if (typeof standard === "string") return text;
  if (typeof standard === "number") return text !== "" && Number.isFinite(Number(text)) ? Number(text) : undefined;
  const items = text.split("_").filter(Boolean).map((item) => item.split(".").map(Number));
  if (items.flat().some((number) => !Number.isInteger(number))) return undefined;
  return standard.length ? items.flat() : items.filter((item) => item.length === 2);
}
