// Versions 1 to 10 write with the same random number at each position: the lecture's ladder as text.

import { make } from "dom";
import { stream } from "server";
import { firstDifference, plain } from "text";

/** The panel of the view: a row for each version, which is filled as the server writes. */
export async function showVersions(app) {
  const versions = app.models.filter((model) => /^v\d+$/.test(model.name));
  const texts = new Map(versions.map((version) => [version.name, []]));
  const boxes = new Map();
  const rows = versions.map((version, n) => {
    const above = versions[n - 1];
    const box = make("div", { class: "text small" });
    const remark = make("p", { class: "hint" });
    boxes.set(version.name, () => {
      const tokens = texts.get(version.name);
      box.replaceChildren(...plain(tokens, above && texts.get(above.name)));
      remark.textContent = above ? compare(tokens, texts.get(above.name), above.name) : "";
    });
    return make("section", { class: "version", "aria-label": `${version.name}, ${version.title}` },
      make("h2", {}, version.name, make("span", {}, ` ${version.title}: ${version.parameters.toLocaleString("en")} parameters, validation loss ${version.val.toFixed(2)}`)), box, remark);
  });
  fill(app, versions, texts, boxes);
  return [
    make("p", { class: "hint" }, "Every version gets the same prompt and, at each position, the same random number. Marked: where a text first differs from the one above it."),
    ...rows,
  ];
}

async function fill(app, versions, texts, boxes) {
  const { signal } = app.looking;
  try {
    app.busy(true, signal);
    app.say("Writing ...");
    const question = { ...app.question({}), models: versions.map((version) => version.name), choices: [] };
    await stream(question, (line) => {
      texts.get(line.model).push(line);
      boxes.get(line.model)();
    }, signal);
    boxes.forEach((draw) => draw());
    app.say(`All ten have written ${question.count} characters.`);
  } catch (error) {
    app.complain(error);
  } finally {
    app.busy(false, signal);
  }
}

function compare(tokens, above, name) {
  const first = firstDifference(tokens, above);
  const given = tokens.filter((token) => !token.written).length;
  if (first >= 0) return `Differs from ${name} from character ${first - given + 1} after the prompt.`;
  return tokens.length && tokens.length === above.length ? `The same text as ${name}.` : "";
}
