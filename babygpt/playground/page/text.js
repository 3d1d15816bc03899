// A text whose characters (or tokens) are shaded by surprise, and can be chosen with the mouse or the arrow keys.

import { make, spoken, visible } from "dom";

const HOTTEST = 6; // nats: this surprise and more gets the darkest shade

/** The text in an element with the role listbox. `onChoose` and `onPoint` get the position of a token. */
export class Text {
  constructor(box, { onChoose, onPoint }) {
    this.box = box;
    this.onChoose = onChoose;
    this.tokens = [];
    this.chosen = -1;
    box.addEventListener("click", (event) => this.choose(this.position(event.target)));
    box.addEventListener("keydown", (event) => this.key(event));
    box.addEventListener("pointerover", (event) => onPoint(this.position(event.target)));
    box.addEventListener("pointerleave", () => onPoint(-1));
  }

  /** Start again with these tokens. */
  reset(tokens = []) {
    this.tokens = [];
    this.chosen = -1;
    this.box.removeAttribute("aria-activedescendant");
    this.box.replaceChildren();
    tokens.forEach((token) => this.add(token));
  }

  add(token) {
    const position = this.tokens.length;
    const option = make("span", { role: "option", id: `token-${position}`, "aria-selected": "false" });
    this.tokens.push(token);
    this.box.append(option);
    show(option, token);
    this.shade(position, token.surprise);
  }

  /** Shade a token by a surprise, which may be another than its own. */
  shade(position, surprise) {
    const option = this.box.children[position];
    option.style.setProperty("--heat", heat(surprise));
    option.setAttribute("aria-label", label(this.tokens[position], surprise));
  }

  /** Mark one token as chosen; -1 marks none. */
  mark(position) {
    this.box.children[this.chosen]?.setAttribute("aria-selected", "false");
    this.chosen = position < this.tokens.length ? position : -1;
    const option = this.box.children[this.chosen];
    option?.setAttribute("aria-selected", "true");
    if (option) this.box.setAttribute("aria-activedescendant", option.id);
    else this.box.removeAttribute("aria-activedescendant");
  }

  /** Tint tokens by how much a head takes from each of them: pairs of a position and a share. */
  tint(shares, from = -1) {
    [...this.box.children].forEach((option, position) => {
      option.style.setProperty("--look", shares.get(position) ?? 0);
      option.classList.toggle("from", position === from);
    });
  }

  /** Gray out what lies before a position. */
  dimBefore(start) {
    [...this.box.children].forEach((option, position) => option.classList.toggle("dim", position < start));
  }

  position(element) {
    const option = element.closest?.("[role=option]");
    return option ? [...this.box.children].indexOf(option) : -1;
  }

  choose(position) {
    if (position < 0 || position >= this.tokens.length) return;
    this.mark(position);
    this.onChoose(position);
  }

  key(event) {
    const last = this.tokens.length - 1;
    const moves = { ArrowLeft: this.chosen - 1, ArrowRight: this.chosen + 1, Home: 0, End: last };
    if (!(event.key in moves) || last < 0) return;
    event.preventDefault();
    this.choose(Math.min(last, Math.max(0, moves[event.key])));
    this.box.children[this.chosen].scrollIntoView({ block: "nearest" });
  }
}

/** The same text without anything to choose, and with a mark where it first differs from another one. */
export function plain(tokens, other) {
  const first = other ? firstDifference(tokens, other) : -1;
  return tokens.map((token, position) => {
    const element = make(position === first ? "mark" : "span", { class: token.written ? "" : "given" });
    show(element, token);
    element.style.setProperty("--heat", heat(token.surprise));
    return element;
  });
}

/** The first position at which two texts differ; -1 if one is how the other begins. */
export function firstDifference(one, other) {
  const shorter = Math.min(one.length, other.length);
  for (let n = 0; n < shorter; n++) if (one[n].id !== other[n].id) return n;
  return -1;
}

function show(element, token) {
  element.classList.toggle("given", !token.written);
  element.classList.toggle("part", token.text === "");
  const lines = token.text.split("\n");
  lines.forEach((line, n) => {
    if (n) element.append(make("span", { class: "sign", "aria-hidden": "true" }, "⏎"), "\n");
    element.append(line);
  });
  if (token.text === "") element.append(visible(""));
}

const heat = (surprise) => (surprise === null ? 0 : Math.min(1, surprise / HOTTEST).toFixed(3));

const label = (token, surprise) =>
  spoken(token.text) + (surprise === null ? "" : `, surprise ${surprise.toFixed(1)}`);
