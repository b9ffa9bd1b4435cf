// Requests to the service: one at a time, the newest last.

let token = "";

/** Send the token with every request from now on. */
export function setToken(text) {
  token = text;
}

export function hasToken() {
  return token !== "";
}

/** An error of the service, with the field that it names. */
export class Refused extends Error {
  constructor(status, message, field) {
    super(message);
    this.status = status;
    this.field = field;
  }
}

/** Return what the service answers at a path; raise `Refused` if it refuses. */
export async function ask(path, body, type = "application/json") {
  const headers = token ? { authorization: `Bearer ${token}` } : {};
  const options = { headers };
  if (body !== undefined) {
    options.method = "POST";
    options.body = type === "application/json" ? JSON.stringify(body) : body;
    headers["content-type"] = type;
  }
  let response;
  try {
    response = await fetch(path, options);
  } catch {
    throw new Refused(0, "The service does not answer. Is it still running?", null);
  }
  if (response.headers.get("content-type")?.startsWith("text/html")) return response.text();
  const found = await response.json();
  if (!response.ok) throw new Refused(response.status, found.error.message, found.error.field);
  return found;
}

/**
 * Return a function that calls `work` with its newest argument. While a call is under way, all but the newest
 * argument are dropped, so that a fast hand does not queue up requests. The panel is marked as busy meanwhile.
 */
export function newest(panel, work) {
  let next = null;
  return async function offer(argument) {
    next = { argument };
    if (panel.ariaBusy === "true") return;
    panel.ariaBusy = "true";
    try {
      while (next) {
        const { argument } = next;
        next = null;
        await work(argument);
      }
    } finally {
      panel.ariaBusy = "false";
    }
  };
}
