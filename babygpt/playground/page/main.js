// The page: the text, and the panel of each view. `app` is what the views get to know.

import { showAttention } from "attention";
import { showBars } from "bars";
import { asWritten, fillControls, onSlide, readControls, setSliders, sliders, within } from "controls";
import { find, make, mean } from "dom";
import { showLayers } from "lens";
import { asOneFile, download } from "save";
import { everything, forget, models as readModels, NOT_RECORDED, recording, stream } from "server";
import { readState, VIEWS, writeState } from "state";
import { Text } from "text";
import { showVersions } from "versions";

const PANELS = { write: showBars, attention: showAttention, layers: showLayers, versions: showVersions };
const STOPPED = "stopped", REPLACED = "replaced";
const ONWARD = 40; // tokens that follow a chosen one, at least, if the text may be that long
const PARTIAL = "A prompt can't hold a part of a character: choose another token or another position.";

const app = {
  state: readState(recording ? recording.hash : location.hash),
  models: [],
  model: null,
  text: new Text(find("text"), { onChoose: choose, onPoint: (position) => app.pointAt(position) }),
  writing: new AbortController(), // what stops the text
  looking: new AbortController(), // what stops the texts of the panel
  take,

  /** What a panel does when the mouse is over a position of the text, and when a slider moves. */
  pointAt() {},
  slide() {},

  /** The question that writes the text as the state says. */
  question(more) {
    const { prompt, count, seed, temperature, topK, topP, choices } = app.state;
    return { models: [app.model.name], prompt, count, seed, temperature, topK, topP, choices, ...more };
  },

  /** Change the state, and show it. */
  async change(more) {
    Object.assign(app.state, more);
    find("trouble").hidden = true;
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

// The text

/** Write the text from its prompt, or go on after the tokens that are kept. */
async function write(kept = []) {
  stop(REPLACED);
  forget();
  find("trouble").hidden = true;
  app.text.reset(kept);
  if (app.state.view === "versions") return draw(); // they write by themselves
  find("panel").replaceChildren();
  const { signal } = app.writing;
  const more = kept.length
    ? { ids: kept.map((token) => token.id), count: app.state.count - kept.filter((token) => token.written).length }
    : {};
  app.busy(true, signal);
  app.say("Writing ...");
  try {
    let arrived = 0;
    await stream(app.question(more), (token) => {
      if (arrived++ >= kept.length) app.text.add(token);
    }, signal);
    app.say(`Done: ${app.text.tokens.length} ${app.model.unit}s.`);
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

function choose(position) {
  app.change({ at: position });
}

/** Take another token at a position, and let the text go on from there. */
function take(position, other) {
  if (recording) return app.complain(new Error(NOT_RECORDED));
  const { state, text } = app;
  const before = text.tokens.slice(0, position);
  const given = text.tokens.filter((token) => !token.written).length;
  if (position < given) {
    if (!other.whole || before.at(-1).text === "") return app.complain(new Error(PARTIAL));
    const prompt = before.map((token) => token.text).join("") + other.text;
    Object.assign(state, sliders(), { prompt, choices: [], at: -1 });
    fillControls(state);
    text.box.focus(); // the bar that had it makes way
    return write();
  }
  // What stays was written with the settings of then. If the sliders have moved, every token of it becomes a choice.
  const earlier = asWritten(state)
    ? state.choices.filter(([at]) => at < position)
    : before.slice(given).map((token, n) => [given + n, token.id]);
  Object.assign(state, sliders(), { choices: [...earlier, [position, other.id]], at: position });
  state.count = within("count", Math.max(state.count, position - given + 1 + ONWARD));
  fillControls(state);
  text.box.focus();
  return write(before);
}

// What is shown

/** Show the state: the address, the text and the panel of the view. */
async function draw() {
  const { state, text } = app;
  app.looking.abort(new DOMException(REPLACED, "AbortError"));
  app.looking = new AbortController();
  const { signal } = app.looking;
  if (!recording) history.replaceState(null, "", `#${writeState(state)}`);
  showFrame();
  text.mark(state.at);
  text.tint(new Map());
  text.dimBefore(0);
  app.pointAt = app.slide = () => {};
  const focused = document.activeElement?.id;
  let panel = [];
  try {
    panel = await PANELS[state.view](app);
  } catch (error) {
    if (!signal.aborted) app.complain(error);
  }
  if (signal.aborted) return; // another one is on its way
  find("panel").replaceChildren(...panel);
  if (focused && document.activeElement === document.body) find(focused)?.focus();
}

/** What is around the text: the views, the controls, and the line below the text. */
function showFrame() {
  const { state } = app;
  find("controls").hidden = state.bare;
  find("hide").textContent = state.bare ? "Show controls" : "Hide controls";
  find("text").classList.toggle("tokens", app.model.unit === "token");
  find("text-part").hidden = state.view === "versions";
  document.body.classList.toggle("looking", state.view === "attention");
  document.body.classList.toggle("side", ["write", "attention"].includes(state.view));
  find("about").textContent = aboutText();
  for (const view of Object.keys(VIEWS)) {
    if (view === state.view) find(`view-${view}`).setAttribute("aria-current", "page");
    else find(`view-${view}`).removeAttribute("aria-current");
  }
}

function aboutText() {
  const { model, text } = app;
  if (text.tokens.length < 2) return "";
  const surprise = mean(text.tokens.slice(1).map((token) => token.surprise)).toFixed(2);
  const val = model.val === null ? "" : ` ${model.name} wrote part of it itself, so don’t compare this with its loss on text that it has not been trained on, ${model.val.toFixed(2)}.`;
  const sees = `${model.name} sees ${model.sees} ${model.unit}${model.sees > 1 ? "s" : ""} at a time.`;
  return `The mean surprise of this text is ${surprise} nats.${val} ${sees}`;
}

function look(view) {
  const leaving = app.state.view;
  app.state.view = view;
  if (leaving === "versions" || view === "versions" || !app.text.tokens.length) return write();
  return app.change({});
}

/** Take what the controls say, and write. */
function submit(event) {
  event.preventDefault();
  if (recording) return undefined;
  Object.assign(app.state, readControls(), { choices: [], at: -1 });
  if (find("model").value !== app.model.name) Object.assign(app.state, { off: [], head: [0, 0] });
  pickModel(find("model").value);
  fillControls(app.state);
  return write();
}

const limits = () => ({ maxPrompt: find("prompt").maxLength, maxCount: find("count").max });

/** Choose a model: the one of that name, or else the first run of one's own, or else the largest version. */
function pickModel(name) {
  const find = (wanted) => app.models.find((model) => model.name === wanted);
  app.model = find(name) ?? (app.models[0].name === "v1" ? find("v10") : app.models[0]);
  app.state.model = app.model.name;
}

async function save() {
  try {
    const { state, text, models } = app;
    const written = [JSON.stringify(["/write", app.question({})]), text.tokens];
    const answers = state.view === "versions" ? everything() : [...everything(), written];
    const saved = { hash: writeState(state), sliders: sliders(), models: { models, ...limits() }, answers };
    download(`playground-${state.view}.html`, await asOneFile(saved));
    app.say(`Saved as playground-${state.view}.html.`);
  } catch (error) {
    app.complain(error);
  }
}

async function start() {
  for (const [view, name] of Object.entries(VIEWS)) {
    find("views").append(make("button", { type: "button", id: `view-${view}`, click: () => look(view) }, name));
  }
  try {
    const { models, maxPrompt, maxCount } = await readModels();
    app.models = models;
    find("prompt").maxLength = maxPrompt;
    find("count").max = maxCount;
  } catch (error) {
    app.complain(error);
    return;
  }
  find("model").append(...app.models.map((model) => make("option", { value: model.name }, `${model.name}: ${model.title}`)));
  pickModel(app.state.model);
  fillControls(app.state);
  find("controls").addEventListener("submit", submit);
  find("model").addEventListener("change", submit);
  find("stop").addEventListener("click", () => stop(STOPPED));
  find("hide").addEventListener("click", () => app.change({ bare: !app.state.bare }));
  find("save").addEventListener("click", save);
  onSlide(() => app.slide());
  window.addEventListener("hashchange", () => location.reload());
  if (recording) {
    setSliders(recording.sliders);
    ["write", "stop", "save", "model", "prompt"].forEach((id) => (find(id).disabled = true));
  }
  showFrame();
  await write();
}

start();
