// Where the heads look, and what the model is worth without some of them.

import { make, mean, percent, visible } from "dom";
import { ask, stream } from "server";
import { plain } from "text";

const UNIT = 10_000; // the weights arrive in ten thousandths
const NAMED = 4; // tokens that are named in the sentence below the heads

/** The panel of the view. `app` holds the state, the text and what the panel may do. */
export async function showAttention(app) {
  const { state, model, text } = app;
  if (!model.heads.length) {
    return [make("p", {}, "This model has no heads to show: " + (model.name === "v1" ? "each character is predicted from the one before it alone." : "the playground can show those of versions 2 to 10 and of GPT-2."))];
  }
  const ids = text.tokens.slice(0, state.at < 0 ? undefined : state.at + 1).map((token) => token.id);
  if (!ids.length) return [];
  const { start, weights } = await ask("/attention", { models: [model.name], ids, off: state.off }, app.looking.signal);
  const [layer, head] = clampHead(state.head, model.heads);
  state.head = [layer, head];
  const says = make("p", { id: "says" });
  app.pointAt = (position) => point(app, says, weights[layer][head], start, position);
  app.pointAt(-1);
  text.dimBefore(start);
  const without = make("div", { class: "without" });
  if (state.off.length) compare(app, without);
  return [says, grid(app, weights), without];
}

/** A head that exists, also when the address names one that another model had. */
function clampHead([layer, head], heads) {
  const row = Math.min(Math.max(0, layer), heads.length - 1);
  return [row, Math.min(Math.max(0, head), heads[row] - 1)];
}

function grid(app, weights) {
  const { state, model } = app;
  const rows = weights.map((heads, layer) =>
    make("div", { class: "heads", role: "group", "aria-label": `Layer ${layer + 1}` },
      make("span", { class: "layer" }, `Layer ${layer + 1}`),
      ...heads.map((rows, head) => headButton(app, rows, layer, head)),
    ),
  );
  const hint = model.canSwitch
    ? `Each picture is a head: a row for each ${model.unit}, bright where it looks. Click one to see it in the text; click it again to switch it off.` +
      (state.off.length ? " The pictures show the model without the heads that are off." : "")
    : "This version has no heads. It takes the average of all characters that it sees, which is shown here like a head.";
  return make("div", {}, make("p", { class: "hint" }, hint), ...rows,
    state.off.length ? make("button", { type: "button", click: () => app.change({ off: [] }) }, "Switch all heads on") : "");
}

function headButton(app, rows, layer, head) {
  const { state, model } = app;
  const isOff = state.off.some(([l, h]) => l === layer && h === head);
  const shown = state.head[0] === layer && state.head[1] === head;
  const button = make(
    "button",
    {
      type: "button",
      class: "head",
      id: `head-${layer}-${head}`,
      "aria-current": shown && "true",
      "aria-label": `Layer ${layer + 1}, head ${head + 1}${isOff ? ", switched off" : ""}${shown ? ", shown in the text" : ""}`,
      click: () => {
        if (!shown || !model.canSwitch) return app.change({ head: [layer, head] });
        const others = state.off.filter(([l, h]) => l !== layer || h !== head);
        return app.change({ off: isOff ? others : [...others, [layer, head]] });
      },
    },
    picture(rows),
    make("span", { class: "name" }, `${head + 1}${isOff ? " off" : ""}`),
  );
  button.classList.toggle("off", isOff);
  return button;
}

/** The weights of a head as a picture, a pixel for each pair of positions. */
function picture(rows) {
  const canvas = make("canvas", { width: rows.length, height: rows.length, "aria-hidden": "true" });
  const context = canvas.getContext("2d");
  const pixels = context.createImageData(rows.length, rows.length);
  rows.forEach((row, t) => {
    for (let i = 0; i < rows.length; i++) {
      const share = i <= t ? row[i] / UNIT : 0;
      const dark = i <= t ? [20, 40, 70] : [70, 80, 95];
      const at = 4 * (t * rows.length + i);
      const strength = Math.sqrt(share); // small weights can be seen, too
      dark.forEach((value, n) => (pixels.data[at + n] = value + strength * ([255, 225, 120][n] - value)));
      pixels.data[at + 3] = 255;
    }
  });
  context.putImageData(pixels, 0, 0);
  return canvas;
}

/** Tint the text by where the head looks from a position, and say so. */
function point(app, says, rows, start, position) {
  const { text, state, model } = app;
  const last = start + rows.length - 1;
  const from = position >= start && position <= last ? position : last;
  const row = rows[from - start];
  const shares = new Map(row.map((weight, i) => [start + i, weight / UNIT]));
  text.tint(shares, from);
  const most = [...shares].sort((one, other) => other[1] - one[1]).slice(0, NAMED).filter(([, share]) => share >= 0.005);
  const [layer, head] = state.head;
  const who = model.canSwitch ? `Layer ${layer + 1}, head ${head + 1}` : "The average";
  const list = most.map(([i, share]) => `${percent(share)} from “${visible(text.tokens[i].text)}”${back(from - i)}`);
  says.textContent =
    `${who}, at “${visible(text.tokens[from].text)}”: to find out what comes next, it takes ${list.join(", ")}.`;
}

const back = (steps) => (steps === 0 ? " itself" : steps === 1 ? " just before" : ` ${steps} back`);

/** The loss of the same text without the heads, and the text that the model writes without them. */
async function compare(app, box) {
  const { state, model, text } = app;
  const tokens = [...text.tokens];
  const count = state.off.length === 1 ? "one head" : `${state.off.length} heads`;
  const { signal } = app.looking;
  app.busy(true, signal);
  app.say(`Writing with ${count} off ...`);
  try {
    const ids = tokens.map((token) => token.id);
    const { surprises } = await ask("/score", { models: [model.name], ids, off: state.off }, signal);
    const [before, after] = [tokens.map((token) => token.surprise), surprises].map((list) => mean(list.slice(1)));
    box.append(make("p", { class: "verdict" }, `The loss of this text is ${before.toFixed(3)}, and with ${count} off ${after.toFixed(3)}.`));
    const written = make("div", { class: "text small" });
    const heading = make("p", {}, `With ${count} off, the same random numbers write:`);
    box.append(heading, written);
    const lines = [];
    await stream(app.question({ off: state.off }), (line) => {
      lines.push(line);
      written.replaceChildren(...plain(lines, tokens));
    }, signal);
    app.say(`Done: ${model.name} has written again, with ${count} off.`);
  } catch (error) {
    app.complain(error);
  } finally {
    app.busy(false, signal);
  }
}
