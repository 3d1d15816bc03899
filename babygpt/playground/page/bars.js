// What else could have come at a position: ten bars that follow the sliders, each of which can be chosen.

import { asWritten, sliders } from "controls";
import { make, percent, spoken, visible } from "dom";
import { ask } from "server";

/** The probabilities that tokens are drawn from, likeliest first, as `parts` in writing.py computes them. */
export function parts(logs, { temperature, topK, topP }) {
  let shares = temperature
    ? logs.map((log) => Math.exp((log - logs[0]) / temperature))
    : logs.map((_, rank) => (rank === 0 ? 1 : 0));
  if (topK && topK < logs.length) shares = shares.map((share, rank) => (logs[rank] >= logs[topK - 1] ? share : 0));
  shares = toSum1(shares);
  if (topP === 1) return shares;
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

/** The panel of the view: what else could have come at the chosen position. */
export async function showBars(app) {
  const { state, text, model } = app;
  const token = text.tokens[state.at];
  if (!token) return [hint(text.tokens.length ? `Choose a ${model.unit} to see what else could have come.` : "")];
  if (state.at === 0) return [hint("Nothing comes before the first one, so there is nothing to predict it from.")];
  const ids = text.tokens.slice(0, state.at).map((before) => before.id);
  const answer = await ask("/alternatives", { models: [model.name], ids }, app.looking.signal);
  const place = make("div");
  app.slide = () => place.replaceChildren(...draw(app, answer, token));
  app.slide();
  const probability = percent(Math.exp(-token.surprise));
  return [
    make("h2", {}, `By itself, the model gave “${visible(token.text)}” a probability of ${probability}: a surprise of ${token.surprise.toFixed(2)} nats.`),
    hint("The surprise is minus the natural logarithm of that probability. Below are the ten likeliest, as the sliders make them; the thin line is the model’s own probability. Choose one, and the text goes on from there."),
    place,
  ];
}

const hint = (sentence) => make("p", { class: "hint" }, sentence);

function draw(app, answer, token) {
  const shares = parts(answer.logs, sliders());
  const raw = parts(answer.logs, { temperature: 1, topK: 0, topP: 1 });
  const fallsAt = token.number === undefined ? -1 : rankAt(shares, token.number);
  const rows = answer.tokens.map((other, rank) => {
    const inText = other.id === token.id;
    const row = make(
      "button",
      {
        type: "button",
        class: "bar",
        "aria-label": `${spoken(other.text)}, ${percent(shares[rank])}${inText ? ", in the text" : ""}`,
        click: () => app.take(app.state.at, other),
      },
      make("span", { class: "name" }, visible(other.text)),
      make("span", { class: "track" }, make("span", { class: "raw" }), make("span", { class: "share" })),
      make("span", { class: "number" }, percent(shares[rank])),
      make("span", { class: "remark" }, remark(inText, rank === fallsAt)),
    );
    row.style.setProperty("--share", shares[rank]);
    row.style.setProperty("--raw", raw[rank]);
    return make("li", {}, row);
  });
  return [
    asWritten(app.state) ? "" : hint("The text was written with other settings. To use these for all of it, press Write."),
    make("ol", { class: "bars" }, ...rows),
    ...(fallsAt < 0 ? [] : strip(answer, shares, token.number, fallsAt)),
  ];
}

const remark = (inText, falls) => (inText ? "◀ in the text" : falls ? "◀ would be drawn" : "");

/** All probabilities next to each other, and where the random number falls. */
function strip(answer, shares, number, fallsAt) {
  const pieces = shares.slice(0, 30).map((share, rank) => {
    const name = share > 0.04 ? visible(answer.tokens[rank]?.text ?? " ") : "";
    const piece = make("span", { class: rank === fallsAt ? "piece here" : "piece" }, name);
    piece.style.setProperty("--share", share);
    return piece;
  });
  const line = make("div", { class: "strip", "aria-hidden": "true" }, ...pieces, make("span", { class: "needle" }));
  line.style.setProperty("--number", number);
  const drawn = answer.tokens[fallsAt]?.text;
  const which = drawn === undefined ? "a token below the ten" : `“${visible(drawn)}”`;
  const says = `The random number at this position is ${number.toFixed(3)}. Laid end to end, the bars put it at ${which}.`;
  return [line, make("p", {}, says)];
}
