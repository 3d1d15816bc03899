// The form at the top: what it says, and how the state gets into it.

import { find } from "dom";

const SLIDERS = ["temperature", "topK", "topP"];

/** Where the sliders are now. The text may have been written with other settings. */
export const sliders = () => Object.fromEntries(SLIDERS.map((name) => [name, Number(find(name).value)]));

/** Whether the text was written as the sliders are now. */
export const asWritten = (state) => SLIDERS.every((name) => state[name] === sliders()[name]);

/** Put the state into the form. */
export function fillControls(state) {
  find("topK").max = Math.max(65, state.topK);
  for (const name of ["prompt", "model", "count", "seed"]) find(name).value = state[name];
  find("free").checked = state.free;
  setSliders(state);
}

export function setSliders(values) {
  for (const name of SLIDERS) find(name).value = values[name];
  showSliders();
}

/** What the form says, as a part of the state. A new seed is drawn if that is asked for. */
export function readControls() {
  if (find("free").checked) find("seed").value = Math.floor(Math.random() * 1e6);
  return {
    ...sliders(),
    prompt: find("prompt").value,
    free: find("free").checked,
    seed: within("seed", find("seed").value),
    count: within("count", find("count").value),
  };
}

/** Call a function whenever a slider moves. */
export function onSlide(act) {
  for (const name of SLIDERS) {
    find(name).addEventListener("input", () => {
      showSliders();
      act();
    });
  }
}

function showSliders() {
  const { temperature, topK, topP } = sliders();
  find("temperature-value").textContent = temperature.toFixed(2);
  find("topK-value").textContent = topK || "all";
  find("topP-value").textContent = topP.toFixed(2);
}

/** The whole number closest to a value that a field allows. */
export function within(id, value) {
  const { min, max } = find(id);
  return Math.min(max, Math.max(min, Math.round(value) || min));
}
