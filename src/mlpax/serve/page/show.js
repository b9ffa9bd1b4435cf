// Show numbers, bars and small pictures.

const MOST_BARS = 12;

/** Return an element with a class and a text. */
export function element(name, kind = "", text = "") {
  const made = document.createElement(name);
  if (kind) made.className = kind;
  made.textContent = text;
  return made;
}

export function percent(share) {
  return `${(100 * share).toFixed(share > 0.0995 || share === 0 ? 0 : 1)}\u00a0%`; // no line ends within
}

/** Return a number with four significant digits; of a large number all digits before the point. */
export function figure(value) {
  if (!Number.isFinite(value)) return String(value);
  const size = Math.abs(value);
  const digits = Math.max(0, 3 - Math.floor(Math.log10(size || 1)));
  const text =
    size !== 0 && (size < 1e-4 || size >= 1e9)
      ? value.toExponential(3)
      : Number(value.toFixed(digits)).toLocaleString("en", { maximumFractionDigits: digits });
  return text.replace(/^-/, "−");
}

/** Show the probability of each class as a bar. Of many classes show the likeliest. */
export function showBars(list, probabilities, leading = [likeliest(probabilities)]) {
  let rows = Object.entries(probabilities);
  if (rows.length > MOST_BARS) rows = rows.sort((a, b) => b[1] - a[1]).slice(0, MOST_BARS);
  list.replaceChildren(
    ...rows.map(([label, share]) => {
      const row = element("li", leading.includes(label) && share > 0 ? "first" : "");
      const track = element("span", "track");
      const fill = element("span", "fill");
      fill.style.width = `${100 * share}%`;
      track.append(fill);
      track.setAttribute("aria-hidden", "true");
      row.append(element("span", "label", label), track, element("span", "value", percent(share)));
      row.firstChild.title = label;
      return row;
    }),
  );
}

function likeliest(probabilities) {
  return Object.keys(probabilities).reduce((best, label) => (probabilities[label] > probabilities[best] ? label : best));
}

let waiting = 0;

/** Tell a screen reader a text, when a second has passed without another text. */
export function say(text) {
  clearTimeout(waiting);
  waiting = setTimeout(() => {
    document.getElementById("said").textContent = text;
  }, 1000);
}

/** Draw pixels of 0 to `highest`, rows of numbers or of [red, green, blue], on a canvas of their size. */
export function paint(canvas, pixels, highest = 255) {
  const [height, width] = [pixels.length, pixels[0].length];
  Object.assign(canvas, { width, height });
  const image = new ImageData(width, height);
  pixels.flat().forEach((pixel, i) => {
    const colour = Array.isArray(pixel) ? pixel : [pixel, pixel, pixel];
    image.data.set([...colour.map((part) => (255 * part) / highest), 255], 4 * i);
  });
  canvas.getContext("2d").putImageData(image, 0, 0);
}

/** Draw contributions of either sign: in the colours of the page, stronger where they are larger. */
export function paintSigned(canvas, values) {
  const [height, width] = [values.length, values[0].length];
  Object.assign(canvas, { width, height });
  const most = Math.max(1e-9, ...values.flat().map(Math.abs));
  const context = canvas.getContext("2d");
  const style = getComputedStyle(document.documentElement);
  const colours = ["--against", "--for"].map((name) => style.getPropertyValue(name).trim());
  context.clearRect(0, 0, width, height);
  values.forEach((row, y) =>
    row.forEach((value, x) => {
      context.globalAlpha = Math.abs(value) / most;
      context.fillStyle = colours[Number(value > 0)];
      context.fillRect(x, y, 1, 1);
    }),
  );
}
