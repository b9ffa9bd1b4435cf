// The panel of a model of a table: a form made from its columns, the answer, and what each value contributed.

import { ask, newest } from "./api.js";
import { element, figure, percent, say, showBars } from "./show.js";

const CHOICES = 30; // levels that a list to choose from may have; more are suggested while typing
const PAUSE = 150; // milliseconds without typing, before the answer
const LONGER = 500; // and before the contributions, which may take a second
const SHOWN = 15; // contributions
const COVERAGE = 0.9;
const BAD = Symbol("no number"); // of a field; the browser does not tell what was typed

/** Fill the panel. `failed` shows an error that no field is to blame for. */
export async function showTable(panel, model, failed) {
  panel.append(document.getElementById("table").content.cloneNode(true));
  const find = (id) => panel.querySelector(`#${id}`);
  const fields =
    model.input.kind === "table"
      ? model.input.columns.map((column, i) => field(column, i))
      : [rowField(model.input.features)];
  find("row").append(...fields.map((own) => own.part));
  if (model.input.kind !== "table") find("row-hint").hidden = true;
  let interval = model.intervals ? COVERAGE : null;
  let explained = true;

  const answer = newest(panel, async (explain) => {
    const bad = fields.filter((own) => own.value() === BAD);
    if (bad.length) {
      for (const own of fields) own.blame(bad.includes(own) ? "This is no number. Write one such as 12.5." : "");
      return failed(null);
    }
    const rows =
      model.input.kind === "table"
        ? { records: [Object.fromEntries(fields.map((own) => [own.name, own.value()]))] }
        : { rows: [fields[0].value()] };
    let [error, unknown] = [null, []];
    try {
      const found = await ask("predict", { ...rows, interval, explain: explain && explained });
      show(found);
      unknown = found.unknown ?? [];
    } catch (found) {
      error = found;
    }
    if (error?.field === "interval") {
      interval = null; // the folds had too few rows for this coverage
      return answer(explain);
    }
    if (error?.field === "explain") {
      explained = false; // there are too many columns
      find("why-title").textContent = "There are too many columns to say what each value contributed";
      return answer(false);
    }
    const blamed = fields.find((own) => own.isAt(error?.field));
    for (const own of fields) {
      own.blame(own === blamed ? error.message : "");
      own.note?.(unknown.some(own.isAt) ? "The model does not know this value." : "");
    }
    return failed(blamed ? null : error);
  });
  let timers = [];
  find("row").addEventListener("input", () => {
    timers.forEach(clearTimeout);
    timers = [setTimeout(answer, PAUSE, false), setTimeout(answer, LONGER, true)];
  });
  find("row").addEventListener("submit", (event) => event.preventDefault());

  function show({ predictions: [found], explanation }) {
    const { prediction, probabilities } = found;
    const several = typeof prediction === "object"; // a value for each target
    const answers = several ? Object.entries(prediction) : [[model.target, prediction]];
    const shown = answers.map(([name, value]) => {
      if (!probabilities) return [figure(value), name];
      return several ? [String(value), `${name}, ${percent(probabilities[name][value])}`] : [String(value), percent(probabilities[value])];
    });
    const lines = shown.map(([value, small]) => {
      const line = element("span", "line", value);
      line.append(element("small", "", small));
      return line;
    });
    find("answer").replaceChildren(...lines);
    const leading = answers.map(([name, value]) => `${name}: ${value}`);
    if (probabilities && several) showBars(find("bars"), besideEachOther(probabilities), leading);
    else if (probabilities) showBars(find("bars"), probabilities);
    showRange(found);
    find("contributions").parentElement.classList.toggle("old", !explanation && explained);
    if (explanation) showContributions(explanation, several ? { prediction: answers[0][1], probabilities: probabilities?.[answers[0][0]] } : found);
    if (several) find("why-title").textContent = `What each value contributed to “${answers[0][0]}”`;
    say(shown.map((pair) => pair.join(", ")).join("; "));
  }

  function showRange({ low, high, set }) {
    const range = find("range");
    const [often, kind] = [percent(COVERAGE), set ? "set" : "interval"];
    range.hidden = interval === null;
    if (set) {
      range.textContent = `${often} set: ${set.join(", ") || "no class, because the row is unlike the training rows"}`;
    } else if (interval !== null) range.textContent = `${often} interval: ${figure(low)} to ${figure(high)}`;
    range.title = `For ${often} of new rows, the ${kind} holds the true ${set ? "class" : "value"}.`;
  }

  function showContributions({ method, base, contributions }, { prediction, probabilities }) {
    const points = (size) => `${(100 * size).toFixed(1)}\u00a0pts`;
    const gets = probabilities ? `“${prediction}” with ${percent(base)}` : figure(base);
    const now = probabilities ? percent(probabilities[prediction]) : figure(prediction);
    const typical = model.input.kind === "table" ? ", with the median of each number and no known category," : "";
    const moved = `The values of this row move the answer to ${now}.`;
    find("base").textContent = `A typical row${typical} gets ${gets}. ${moved}`;
    find("method").textContent = method;
    const counting = contributions.filter((one) => one.contribution !== 0);
    const most = Math.max(...counting.map((one) => Math.abs(one.contribution)));
    find("contributions").replaceChildren(
      ...counting.slice(0, SHOWN).map(({ column, value, contribution }) => {
        const row = element("li");
        const label = element("span", "label", column);
        label.append(element("small", "", value === null ? "missing" : String(value)));
        const both = element("span", "both");
        both.setAttribute("aria-hidden", "true");
        const [less, more] = [element("span", "less"), element("span", "more")];
        (contribution < 0 ? less : more).style.width = `${(100 * Math.abs(contribution)) / most}%`;
        both.append(less, more);
        const size = Math.abs(contribution);
        const text = (contribution < 0 ? "−" : "+") + (probabilities ? points(size) : figure(size));
        row.append(label, both, element("span", "value", text));
        return row;
      }),
    );
    const others = find("others");
    const [rest, none] = [Math.max(0, counting.length - SHOWN), contributions.length - counting.length];
    others.hidden = rest + none === 0;
    const said = [rest && `${counted(rest)} contributed less.`, none && `${counted(none)} contributed nothing.`];
    others.textContent = said.filter(Boolean).join(" ");
  }

  await answer(true);
}

function counted(columns) {
  return columns === 1 ? "1 other column" : `${columns} other columns`;
}

/**
 * Return a field for a column: its part of the form, its value for the request, whether an error is about it, and
 * how to show the error beside it.
 */
function field(column, number) {
  const id = `field-${number}`;
  const part = element("div", column.kind === "text" ? "wide" : "");
  const label = element("label", "", column.name);
  label.htmlFor = id;
  const input = inputOf(column, id);
  input.id = id;
  const fault = element("p", "fault");
  fault.id = `${id}-fault`;
  const hint = element("p", "hint");
  part.append(label, input, fault, hint);
  if (column.kind === "category" && column.levels.length > CHOICES) part.append(listOf(column, id));

  function value() {
    if (input.validity.badInput) return BAD;
    const text = input.value.trim();
    if (text === "") return null;
    // seconds, and a number in a column that also has bounds, may be typed without more
    const plain = column.kind === "number" && (input.type === "number" || /^[-+]?\d+(\.\d+)?$/.test(text));
    return plain ? Number(text) : input.value;
  }

  const isAt = (where) => where === `records[0].${column.name}`;
  const note = (text) => {
    hint.textContent = text;
  };
  return { part, name: column.name, isAt, value, note, blame: blamer(input, fault) };
}

function blamer(input, fault) {
  return function blame(message) {
    fault.textContent = message;
    for (const [name, text] of Object.entries({ "aria-invalid": "true", "aria-describedby": fault.id })) {
      if (message) input.setAttribute(name, text);
      else input.removeAttribute(name);
    }
  };
}

function inputOf(column, id) {
  if (column.kind === "category" && column.levels.length <= CHOICES) {
    const input = element("select");
    input.append(...column.levels.map((level) => new Option(level, level)), new Option("missing", ""));
    input.value = column.default ?? "";
    return input;
  }
  if (column.kind === "text") return Object.assign(element("textarea"), { rows: 4, placeholder: "missing" });
  const input = element("input");
  Object.assign(input, { autocomplete: "off", placeholder: "missing" });
  if (column.kind === "number" && !column.text) Object.assign(input, { type: "number", step: "any" });
  if (column.text === "time") input.placeholder = "missing, or as 12:30";
  if (column.text === "bound") input.placeholder = "missing, or as 0.5 or <0.5";
  if (column.kind === "date") input.placeholder = "missing, or as 2024-12-31";
  if (column.kind === "category") input.setAttribute("list", `${id}-levels`);
  input.value = column.default ?? "";
  return input;
}

function listOf(column, id) {
  const list = element("datalist");
  list.id = `${id}-levels`;
  list.append(...column.levels.map((level) => new Option(level, level)));
  return list;
}

/** Return the field of a model that takes rows of numbers. */
function rowField(features) {
  const part = element("div", "wide");
  const label = element("label", "", `${features} numbers, with commas between them`);
  label.htmlFor = "field-0";
  const input = element("textarea");
  Object.assign(input, { id: "field-0", rows: 6, value: Array(features).fill(0).join(", ") });
  const fault = element("p", "fault");
  fault.id = "field-0-fault";
  part.append(label, input, fault);
  const value = () =>
    input.value
      .split(/[\s,;]+/)
      .filter(Boolean)
      .map((text) => (Number.isNaN(Number(text)) ? text : Number(text)));
  const isAt = (where) => Boolean(where?.startsWith("rows[0]"));
  return { part, name: "", isAt, value, blame: blamer(input, fault) };
}

/** Return the probabilities of several targets as one object: `colour: red`. */
function besideEachOther(probabilities) {
  const each = Object.entries(probabilities);
  return Object.fromEntries(
    each.flatMap(([name, own]) => Object.entries(own).map(([label, share]) => [`${name}: ${label}`, share])),
  );
}
