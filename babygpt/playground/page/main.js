// The page: its controls, the text, and the panel of each view below it.

import { showAttention } from "attention";
import { bars } from "bars";
import { find, make, mean, percent, visible } from "dom";
import { showLayers } from "lens";
import { asOneFile, download } from "save";
import { ask, everything, forget, isRecording, models as readModels, NOT_RECORDED, savedHash, stream } from "server";
import { readState, VIEWS, writeState } from "state";
import { Text } from "text";
import { showVersions } from "versions";

const STOPPED = "stopped", REPLACED = "replaced";
const SLIDERS = ["temperature", "topK", "topP"];

const app = {
  state: readState(isRecording ? savedHash : location.hash),
  models: [],
  model: null,
  text: new Text(find("text"), { onChoose: choose, onPoint: (position) => app.pointAt(position) }),
  pointAt() {},
  writing: new AbortController(), // what stops the text
  looking: new AbortController(), // what stops the texts of the panel

  /** The question that writes the text as the state says. */
  question(more) {
    const { prompt, count, seed, temperature, topK, topP, choices } = app.state;
    return { models: [app.model.name], prompt, count, seed, temperature, topK, topP, choices, ...more };
  },

  /** Change the state, and show it. */
  async change(more) {
    Object.assign(app.state, more);
    await draw();
  },

  say(sentence) {
    find("status").textContent = sentence;
  },

  /** Show what went wrong. Stopping is not wrong. */
  complain(error) {
    if (error.name === "AbortError") {
      if (error.message === STOPPED) app.say("Stopped.");
      return;
    }
    const trouble = find("trouble");
    trouble.textContent = error.message;
    trouble.hidden = false;
  },

  /** Whether there is something to stop. A text that has made way for another one has no say in it. */
  busy(isBusy, signal) {
    if (signal.reason?.message !== REPLACED) find("stop").disabled = !isBusy;
  },
};

// Writing

/** Write the text from its prompt, or go on after the tokens that are given. */
async function write(kept = []) {
  stop(REPLACED);
  find("trouble").hidden = true;
  app.pointAt = () => {};
  const { text } = app, { signal } = app.writing;
  const more = kept.length
    ? { ids: kept.map((token) => token.id), count: app.state.count - kept.filter((token) => token.written).length }
    : {};
  forget();
  text.reset(kept);
  if (app.state.view === "versions") return draw();
  app.busy(true, signal);
  app.say("Writing ...");
  find("panel").replaceChildren();
  try {
    let arrived = 0;
    await stream(app.question(more), (line) => {
      if (arrived++ >= kept.length) text.add(line);
    }, signal);
    app.say(`Done: ${text.tokens.length} ${app.model.unit}s.`);
  } catch (error) {
    app.say("");
    app.complain(error);
  } finally {
    app.busy(false, signal);
  }
  if (signal.reason?.message !== REPLACED) await draw();
}

/** End what is being written. */
function stop(why) {
  for (const name of ["writing", "looking"]) {
    app[name].abort(new DOMException(why, "AbortError"));
    app[name] = new AbortController();
  }
}

/** Take another token at the chosen position, and let the text go on from there. */
function take(position, other) {
  if (isRecording) return app.complain(new Error(NOT_RECORDED));
  const { state, text } = app;
  const before = text.tokens.slice(0, position);
  const given = text.tokens.filter((token) => !token.written).length;
  if (position < given) {
    Object.assign(state, { prompt: before.map((token) => token.text).join("") + other.text, choices: [], at: -1 });
    return write();
  }
  // What stays was written with the settings of then. If the sliders have moved, every token of it becomes a choice.
  const moved = SLIDERS.some((name) => state[name] !== sliders()[name]);
  const choices = moved
    ? before.slice(given).map((token, n) => [given + n, token.id])
    : state.choices.filter(([at]) => at < position);
  Object.assign(state, sliders(), { choices: [...choices, [position, other.id]], at: position });
  state.count = Math.max(state.count, position - given + 41);
  return write([...before, { id: other.id, text: other.text, surprise: other.surprise, number: text.tokens[position].number, written: true }]);
}

// The panel

function choose(position) {
  find("trouble").hidden = true;
  app.state.at = position;
  draw();
}

/** Show the state: the controls, the address and the panel of the view. */
async function draw() {
  const { state, text } = app;
  app.looking.abort(new DOMException(REPLACED, "AbortError"));
  app.looking = new AbortController();
  const { signal } = app.looking;
  showControls();
  if (!isRecording) history.replaceState(null, "", `#${writeState(state)}`);
  text.mark(state.at);
  find("text-part").hidden = state.view === "versions";
  document.body.classList.toggle("looking", state.view === "attention");
  document.body.classList.toggle("side", ["write", "attention"].includes(state.view));
  app.pointAt = () => {};
  text.tint(new Map());
  text.dimBefore(0);
  find("about").textContent = aboutText();
  const views = { write: showBars, attention: showAttention, layers: showLayers, versions: showVersions };
  const focused = document.activeElement?.id;
  try {
    const panel = await views[state.view](app);
    if (signal.aborted) return;
    find("panel").replaceChildren(...panel);
    if (focused && document.activeElement === document.body) find(focused)?.focus();
  } catch (error) {
    if (!signal.aborted) {
      find("panel").replaceChildren();
      app.complain(error);
    }
  }
}

/** The panel of the first view: what else could have come at the chosen position. */
async function showBars() {
  const { state, text, model } = app;
  const token = text.tokens[state.at];
  if (!token) return [make("p", { class: "hint" }, text.tokens.length ? `Choose a ${model.unit} to see what else could have come.` : "")];
  if (state.at === 0) return [make("p", {}, "Nothing comes before the first one, so there is nothing to predict it from.")];
  const ids = text.tokens.slice(0, state.at).map((before) => before.id);
  const answer = await ask("/alternatives", { models: [model.name], ids });
  const probability = percent(Math.exp(-token.surprise));
  const title = `“${visible(token.text)}” had a probability of ${probability}: a surprise of ${token.surprise.toFixed(2)}.`;
  const place = make("div", {});
  const asWritten = () => SLIDERS.every((name) => state[name] === sliders()[name]);
  const reminder = "The text was written with other settings. To use these for all of it, press Write.";
  app.drawBars = () => place.replaceChildren(asWritten() ? "" : make("p", { class: "hint" }, reminder), ...bars(answer, token, sliders(), (other) =>
    take(app.state.at, { ...other, surprise: -answer.logs[answer.tokens.indexOf(other)] })));
  app.drawBars();
  return [make("h2", {}, title), make("p", { class: "hint" }, "The ten likeliest, as the sliders make them; the thin line is the model’s own probability. Choose one, and the text goes on from there."), place];
}

function aboutText() {
  const { model, text } = app;
  if (!model || text.tokens.length < 2) return "";
  const loss = mean(text.tokens.slice(1).map((token) => token.surprise));
  const val = model.val === null ? "" : ` On text that it has not been trained on, its loss is ${model.val.toFixed(2)}.`;
  return `The mean surprise of this text, its loss, is ${loss.toFixed(2)} nats.${val} ${model.name} sees ${model.sees} ${model.unit}${model.sees > 1 ? "s" : ""} at a time.`;
}

// The controls

const sliders = () => Object.fromEntries(SLIDERS.map((name) => [name, Number(find(name).value)]));

function showControls() {
  const { state } = app;
  find("controls").hidden = state.bare;
  document.body.classList.toggle("bare", state.bare);
  find("hide").textContent = state.bare ? "Show controls" : "Hide controls";
  find("views").replaceChildren(...Object.entries(VIEWS).map(([view, name]) =>
    make("button", { type: "button", id: `view-${view}`, "aria-current": view === state.view && "page", click: () => look(view) }, name)));
}

function look(view) {
  const leaving = app.state.view;
  app.state.view = view;
  find("trouble").hidden = true;
  if (view === "versions") {
    stop(REPLACED);
    draw();
  } else if (leaving === "versions" || !app.text.tokens.length) {
    write();
  } else {
    draw();
  }
  find(`view-${view}`).focus();
}

/** Put the state into the controls. */
function fillControls() {
  const { state, model } = app;
  for (const name of ["prompt", "model", "count", "seed", ...SLIDERS]) find(name).value = state[name];
  find("topK").max = Math.max(65, state.topK);
  find("free").checked = state.free;
  find("model").value = model.name;
  showSliders();
}

function showSliders() {
  const { temperature, topK, topP } = sliders();
  find("temperature-value").textContent = temperature.toFixed(2);
  find("topK-value").textContent = topK || "all";
  find("topP-value").textContent = topP.toFixed(2);
}

/** Take what the controls say, and write. */
function submit(event) {
  event.preventDefault();
  if (isRecording) return undefined;
  const { state } = app;
  const number = (id, least, most) => Math.min(most, Math.max(least, Math.round(Number(find(id).value)) || least));
  if (find("free").checked) find("seed").value = Math.floor(Math.random() * 1e6);
  Object.assign(state, sliders(), {
    prompt: find("prompt").value, free: find("free").checked, seed: number("seed", 0, 2 ** 31 - 1),
    count: number("count", 1, 1000), choices: [], at: -1,
  });
  pickModel(find("model").value);
  fillControls();
  return write();
}

function pickModel(name) {
  app.model = app.models.find((model) => model.name === name) ?? app.models.find((model) => model.name === "v10") ?? app.models[0];
  if (app.model.name !== app.state.model) Object.assign(app.state, { off: [], head: [0, 0] });
  app.state.model = app.model.name;
}

async function save() {
  try {
    const hash = writeState({ ...app.state, ...sliders() });
    const text = app.state.view === "versions" ? [] : [[JSON.stringify(["/write", app.question({})]), app.text.tokens]];
    const recording = { hash, models: { models: app.models }, answers: [...everything(), ...text] };
    download(`playground-${app.state.view}.html`, await asOneFile(recording));
  } catch (error) {
    app.complain(error);
  }
}

async function start() {
  try {
    const found = await readModels();
    app.models = found.models;
    find("prompt").maxLength = found.maxPrompt;
  } catch (error) {
    app.complain(error);
    return;
  }
  find("model").append(...app.models.map((model) => make("option", { value: model.name }, `${model.name}: ${model.title}`)));
  const { off, head } = app.state;
  const wanted = app.state.model || app.models[0].name;
  pickModel(wanted === "v1" && !app.state.model ? "v10" : wanted);
  Object.assign(app.state, { off, head });
  fillControls();
  find("controls").addEventListener("submit", submit);
  find("model").addEventListener("change", submit);
  find("stop").addEventListener("click", () => stop(STOPPED));
  find("hide").addEventListener("click", () => app.change({ bare: !app.state.bare }));
  find("save").addEventListener("click", save);
  SLIDERS.forEach((name) => find(name).addEventListener("input", () => { showSliders(); app.drawBars?.(); }));
  window.addEventListener("hashchange", () => location.reload());
  if (isRecording) ["write", "stop", "save", "model", "prompt"].forEach((id) => (find(id).disabled = true));
  showControls();
  await write();
}

start();
