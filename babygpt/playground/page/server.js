// Questions to the server, and what it has answered. A page that was saved as one file has the answers with it.

/** What a page that was saved as one file holds in place of a server: its state, the models, and all answers. */
export const recording = JSON.parse(document.getElementById("recording")?.textContent ?? "null");

const answers = new Map(recording?.answers ?? []);
const KEPT = 60; // answers

const GONE = "The server has stopped. Start it again with: python -m babygpt.playground";
const BROKEN = "Something went wrong in the server, so the text ends here. Its terminal says what.";
export const NOT_RECORDED = "This page is a recording. It holds only what had been looked at when it was saved.";

/** The answer to a question. The same question is asked once. An answer that comes after the signal is kept for later. */
export async function ask(path, question, signal) {
  const key = JSON.stringify([path, question]);
  try {
    if (answers.has(key)) return answers.get(key);
    if (recording) throw new Error(NOT_RECORDED);
    const response = await post(path, question);
    const answer = await response.json();
    keep(key, answer);
    return answer;
  } finally {
    signal.throwIfAborted(); // whoever asked has been replaced, and must not touch the page
  }
}

/** Call `onLine` with each token that the server sends, until it is done or the signal stops it. A text is sent once. */
export async function stream(question, onLine, signal) {
  const key = JSON.stringify(["/write", question]);
  if (answers.has(key)) {
    answers.get(key).forEach(onLine);
    return;
  }
  if (recording) throw new Error(NOT_RECORDED);
  const lines = [];
  const response = await post("/write", question, signal);
  let rest = "", done = false;
  try {
    const reader = response.body.pipeThrough(new TextDecoderStream()).getReader();
    for (;;) {
      const chunk = await reader.read();
      if (chunk.done) break;
      const parts = (rest + chunk.value).split("\n");
      rest = parts.pop();
      for (const line of parts.map((part) => JSON.parse(part))) {
        if (line.done) done = true;
        else {
          lines.push(line);
          onLine(line);
        }
      }
    }
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Error(GONE);
  }
  if (!done) throw new Error(BROKEN);
  keep(key, lines);
}

/** Which models there are, and what may be asked. */
export async function models() {
  if (recording) return recording.models;
  const response = await fetch("/models").catch(() => null);
  if (!response?.ok) throw new Error(GONE);
  return response.json();
}

/** All answers so far, as pairs of a question and an answer. */
export const everything = () => [...answers];

/** Forget the answers about an older text. */
export function forget() {
  if (!recording) answers.clear();
}

async function post(path, question, signal) {
  let response;
  try {
    response = await fetch(path, { method: "POST", body: JSON.stringify(question), signal });
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Error(GONE);
  }
  if (!response.ok) {
    const answer = await response.json().catch(() => ({}));
    throw new Error(sentence(answer.error ?? "the server cannot answer this"));
  }
  return response;
}

function keep(key, answer) {
  answers.delete(key);
  answers.set(key, answer);
  if (answers.size > KEPT) answers.delete(answers.keys().next().value);
}

const sentence = (text) => text.charAt(0).toUpperCase() + text.slice(1) + (/[.!?]$/.test(text) ? "" : ".");
