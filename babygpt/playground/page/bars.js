// What else could have come at a position: ten bars that follow the sliders, each of which can be chosen.

import { make, percent, spoken, visible } from "dom";

/** The probabilities that tokens are drawn from, likeliest first, as `parts` in writing.py computes them. */
export function parts(logs, { temperature, topK, topP }) {
  let shares = temperature
    ? logs.map((log) => Math.exp((log - logs[0]) / temperature))
    : logs.map((_, rank) => (rank === 0 ? 1 : 0));
  if (topK) shares = shares.map((share, rank) => (rank < topK ? share : 0));
  shares = toSum1(shares);
  let before = 0;
  const kept = shares.map((share) => {
    const keep = before < topP ? share : 0;
    before += share;
    return keep;
  });
  return toSum1(kept);
}

function toSum1(numbers) {
  const sum = numbers.reduce((total, number) => total + number, 0);
  return numbers.map((number) => number / sum);
}

/** The rank of the token in whose part a number from 0 to 1 falls. */
export function rankAt(shares, number) {
  let sum = 0;
  for (let rank = 0; rank < shares.length; rank++) {
    sum += shares[rank];
    if (number < sum) return rank;
  }
  return shares.findLastIndex((share) => share > 0);
}

/** The panel of a position. `onTake` gets the token that somebody wants instead. */
export function bars(answer, token, how, onTake) {
  const shares = parts(answer.logs, how);
  const raw = parts(answer.logs, { temperature: 1, topK: 0, topP: 1 });
  const fallsAt = token.number === undefined ? -1 : rankAt(shares, token.number);
  const rows = answer.tokens.map((other, rank) => {
    const row = make(
      "button",
      {
        type: "button",
        class: "bar",
        "aria-label": `${spoken(other.text)}, ${percent(shares[rank])}${other.id === token.id ? ", in the text" : ""}`,
        click: () => onTake(other),
      },
      make("span", { class: "name" }, visible(other.text)),
      make("span", { class: "track" }, make("span", { class: "raw" }), make("span", { class: "share" })),
      make("span", { class: "number" }, percent(shares[rank])),
      make("span", { class: "remark" }, remark(other.id === token.id, rank === fallsAt)),
    );
    row.style.setProperty("--share", shares[rank]);
    row.style.setProperty("--raw", raw[rank]);
    return make("li", {}, row);
  });
  return [make("ol", { class: "bars" }, ...rows), ...(fallsAt < 0 ? [] : strip(answer, shares, token.number, fallsAt))];
}

function remark(inText, falls) {
  if (inText && falls) return "◀ in the text, drawn";
  return inText ? "◀ in the text" : falls ? "◀ would be drawn now" : "";
}

/** All probabilities next to each other, and where the random number falls. */
function strip(answer, shares, number, fallsAt) {
  const pieces = shares.slice(0, 30).map((share, rank) => {
    const piece = make("span", { class: rank === fallsAt ? "piece here" : "piece" }, share > 0.04 ? visible(answer.tokens[rank]?.text ?? " ") : "");
    piece.style.setProperty("--share", share);
    return piece;
  });
  const line = make("div", { class: "strip", "aria-hidden": "true" }, ...pieces, make("span", { class: "needle" }));
  line.style.setProperty("--number", number);
  const drawn = answer.tokens[fallsAt]?.text;
  const which = drawn === undefined ? "a token below the ten" : `“${visible(drawn)}”`;
  return [
    line,
    make("p", {}, `The random number at this position is ${number.toFixed(3)}. Laid end to end, the bars put it at ${which}.`),
  ];
}
