// "Save as one HTML file": the page with its scripts, its style and all answers that it has used. It needs no server.

/** The page as the text of one HTML file, with a recording of what it shows, for `server.js`. */
export async function asOneFile(recording) {
  const page = new DOMParser().parseFromString(await read("/"), "text/html");
  const map = JSON.parse(page.querySelector("script[type=importmap]").textContent);
  for (const [name, path] of Object.entries(map.imports)) map.imports[name] = asAddress(await read(path));
  page.querySelector("script[type=importmap]").textContent = JSON.stringify(map);
  page.querySelector("script[src]").src = asAddress(await read("/main.js"));
  const style = page.createElement("style");
  style.textContent = await read("/style.css");
  page.querySelector("link[rel=stylesheet]").replaceWith(style);
  const policy = page.createElement("meta");
  policy.httpEquiv = "Content-Security-Policy"; // the browser itself sees to it that nothing is loaded or sent
  policy.content = "default-src 'none'; script-src 'unsafe-inline' data:; style-src 'unsafe-inline'; img-src data:";
  page.head.prepend(policy);
  const script = page.createElement("script");
  script.id = "recording";
  script.type = "application/json";
  // A "<" could end the script, whatever the prompt says. In JSON this is the same character.
  script.textContent = JSON.stringify(recording).replaceAll("<", "\\u003c");
  page.body.append(script);
  return `<!doctype html>\n${page.documentElement.outerHTML}\n`;
}

/** Let the browser save a text as a file. */
export function download(name, text) {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([text], { type: "text/html" }));
  link.download = name;
  link.click();
  URL.revokeObjectURL(link.href);
}

async function read(path) {
  const response = await fetch(path);
  if (!response.ok) throw new Error("The server has stopped, so the page cannot be saved.");
  return response.text();
}

const asAddress = (script) => `data:text/javascript;charset=utf-8,${encodeURIComponent(script)}`;
