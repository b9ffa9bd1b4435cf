// The page: what model it is, two tabs, and the panel that fits the model.

import { ask, hasToken, setToken } from "./api.js";
import { showPictures } from "./picture.js";
import { figure } from "./show.js";
import { showTable } from "./table.js";

const find = (id) => document.getElementById(id);

/** Show an error above the panels; null takes it away. */
function failed(error) {
  find("notice").hidden = !error;
  find("notice").textContent = error ? error.message : "";
}

const ROWS = { test: "test rows", valid: "validation rows", fold: "rows that a fold left out" };

/** Return in plain words what the model does, what it was trained on, and how well it does. */
function about({ input, classes, targets, members, layers, metrics, provenance }) {
  const units = layers.join("\u2060–\u2060"); // no line ends within
  const by = members > 1 ? `${members} networks of ${units} units` : `a network of ${units} units`;
  const on = provenance.dataset ? `, trained on ${provenance.dataset}` : "";
  const sentences = [`${does(input, classes, targets)}, by ${by}${on}.`];
  const part = Object.keys(ROWS).find((of) => `${of}_accuracy` in metrics || `${of}_rmse` in metrics);
  const [right, error] = [metrics[`${part}_accuracy`], metrics[`${part}_rmse`]];
  if (right !== undefined && targets.length > 1) {
    sentences.push(`A target is right for ${(100 * right).toFixed(1)}\u00a0% of the ${ROWS[part]}, on average.`);
  } else if (right !== undefined) sentences.push(`It is right for ${(100 * right).toFixed(1)}\u00a0% of the ${ROWS[part]}.`);
  else if (part) sentences.push(`The error (RMSE) on the ${ROWS[part]} is ${figure(error)}.`);
  return sentences.join(" ");
}

function does(input, classes, targets) {
  if (input.kind === "picture") {
    return `Tells which of ${classes.length} classes a picture of ${input.height} × ${input.width} pixels shows`;
  }
  const from = input.kind === "table" ? [input.columns.length, "column"] : [input.features, "number"];
  if (!Array.isArray(classes)) {
    const each = Object.entries(classes).map(([name, own]) => `“${name}” (${own.length} classes)`);
    return `Predicts ${each.join(" and ")} from ${from.join(" ")}${from[0] === 1 ? "" : "s"}`;
  }
  const names = targets.filter(Boolean).map((name) => `“${name}”`);
  const name = names.length ? names.join(" and ") : classes.length ? "the class" : "a value";
  const goal = classes.length ? `${name}, one of ${classes.length} classes,` : name;
  return `Predicts ${goal} from ${from.join(" ")}${from[0] === 1 ? "" : "s"}`;
}

function showTabs(model) {
  const tabs = [...document.querySelectorAll("[role=tab]")];
  function select(tab) {
    for (const other of tabs) {
      other.setAttribute("aria-selected", String(other === tab));
      other.tabIndex = other === tab ? 0 : -1;
      find(other.getAttribute("aria-controls")).hidden = other !== tab;
    }
    if (tab.id === "tab-run") showReport(model);
  }
  for (const tab of tabs) tab.addEventListener("click", () => select(tab));
  find("tabs").addEventListener("keydown", (event) => {
    const move = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
    if (!move) return;
    const next = tabs[(tabs.indexOf(document.activeElement) + move + tabs.length) % tabs.length];
    select(next);
    next.focus();
  });
}

/** Show the report of the run in a frame, which is loaded when it is first looked at. */
async function showReport(model) {
  const panel = find("panel-run");
  if (panel.hasChildNodes()) return;
  if (!model.report || hasToken()) {
    panel.append(
      model.report
        ? "The report cannot be shown here while the service asks for a token. Run mlpax report where the run is."
        : "There is no report, because the service was started with a model file or with --no-report.",
    );
    return;
  }
  const wait = document.createElement("p");
  wait.textContent = "Making the report may take half a minute…";
  panel.append(wait);
  try {
    await ask("report");
    const frame = document.createElement("iframe");
    Object.assign(frame, { title: "Report of the run", src: "report" }); // which has been made by now
    frame.sandbox = "allow-same-origin"; // no scripts
    frame.addEventListener("load", () => fit(frame));
    panel.replaceChildren(frame);
  } catch (error) {
    wait.textContent = error.message;
  }
}

/** Make a frame as high as its document, so that only the page scrolls. */
function fit(frame) {
  const whole = frame.contentDocument.documentElement;
  const resize = () => {
    frame.style.height = `${whole.getBoundingClientRect().height + 4}px`;
  };
  new ResizeObserver(resize).observe(whole);
}

async function start() {
  let model;
  try {
    model = await ask("model");
  } catch (error) {
    if (error.status !== 401) return failed(error);
    find("token").hidden = false;
    find("docs").hidden = true; // a link cannot send the token
    find("about").textContent = "";
    return failed(hasToken() ? error : null); // the token was wrong
  }
  find("token").hidden = true;
  find("name").textContent = document.title = model.name;
  find("about").textContent = about(model);
  failed(null);
  showTabs(model);
  const show = model.input.kind === "picture" ? showPictures : showTable;
  return show(find("panel-try"), model, failed);
}

find("token").addEventListener("submit", async (event) => {
  event.preventDefault();
  const button = find("token").querySelector("button");
  if (button.disabled) return;
  button.disabled = true;
  setToken(find("token-text").value);
  await start();
  button.disabled = false;
});
start();
