// The logit lens: what each layer would have said, if the model ended there.

import { make, percent, spoken, visible } from "dom";
import { ask } from "server";

const COLUMNS = 32; // positions that are shown

/** The panel of the view. */
export async function showLayers(app) {
  const { state, model, text } = app;
  if (!model.layers.length) {
    return [make("p", {}, "This version has no blocks: there is nothing to read between the embedding and the end. Versions 8 to 10 have three each.")];
  }
  const all = text.tokens.length;
  const end = state.at < 0 ? all : Math.min(all, Math.max(1, state.at));
  const before = text.tokens.slice(0, end);
  if (!before.length) return [];
  const ids = before.map((token) => token.id);
  const { start, layers } = await ask("/lens", { models: [model.name], ids, off: [] }, app.looking.signal);
  const first = Math.max(start, end - COLUMNS);
  const positions = Array.from({ length: end - first }, (_, n) => first + n);
  const head = make("tr", {}, make("th", { scope: "col" }, "read so far"),
    ...positions.map((position) => make("th", { scope: "col" }, visible(text.tokens[position].text))));
  const rows = model.layers.map((name, layer) =>
    make("tr", {}, make("th", { scope: "row" }, name),
      ...positions.map((position) => cell(layers[layer][position - start], text.tokens[position + 1])))).reverse();
  const next = make("tr", { class: "next" }, make("th", { scope: "row" }, "what came"),
    ...positions.map((position) => make("td", {}, visible(text.tokens[position + 1]?.text ?? " "))));
  return [
    make("p", { class: "hint" }, `Each row is a layer, read as if the model ended there: its likeliest next ${model.unit}, darker where it is surer. The top layer is the model itself. Outlined: what did come next. Choose a ${model.unit} above to move along the text.`),
    make("div", { class: "scroll", tabindex: "0", role: "region", "aria-label": "What each layer would have said" },
      make("table", { class: "lens" }, make("thead", {}, head), make("tbody", {}, ...rows, next))),
    summary(model, layers, text.tokens[end], end - 1 - start),
  ];
}

function cell(guesses, came) {
  const [best] = guesses;
  const said = guesses.map((guess) => `${spoken(guess.text)} ${percent(guess.p)}`).join(", ");
  const right = came?.id === best.id;
  const made = make("td", { class: right ? "right" : "", title: said }, visible(best.text));
  made.style.setProperty("--share", best.p);
  return made;
}

/** The guesses of all layers at the last position, in words. */
function summary(model, layers, came, position) {
  const items = model.layers.map((name, layer) =>
    make("li", {}, make("b", {}, name), ": ",
      layers[layer][position].map((guess) => `“${visible(guess.text)}” ${percent(guess.p)}`).join(", ")));
  const title = came ? `At the last column, before “${visible(came.text)}”:` : "At the end of the text:";
  return make("div", {}, make("p", {}, title), make("ul", { class: "guesses" }, ...items.reverse()));
}
