// The panel of a model of pictures: draw or choose one, and see the answer and why.

import { Refused, ask, newest } from "./api.js";
import { centred, drawable, scaled } from "./drawing.js";
import { element, paint, paintSigned, percent, say, showBars } from "./show.js";

// Of the picture's side: the longer side of a digit, and the width of its strokes. The bundled digits of 8 x 8
// pixels nearly fill their pictures; MNIST's leave a margin.
const MNIST = { longest: 20 / 28, thick: 2.4 / 28 };
const SMALL = { longest: 0.95, thick: 1.7 / 8 };

/** Fill the panel. `failed` shows an error. */
export async function showPictures(panel, model, failed) {
  const { height, width, channels, background, highest = 255 } = model.input;
  panel.append(document.getElementById("picture").content.cloneNode(true));
  const find = (id) => panel.querySelector(`#${id}`);
  const byHand = channels === 1;
  const ofDigits = byHand && height === width && model.classes.map(String).join() === "0,1,2,3,4,5,6,7,8,9";
  find("seen-about").textContent = ofDigits ? "Cropped, scaled and centred as MNIST’s digits are" : "Scaled";
  if (!byHand) {
    find("draw-title").textContent = "Choose a picture";
    find("canvas").hidden = true;
    find("keys").hidden = true;
    find("clear").hidden = true;
    panel.querySelector(".paper").hidden = true;
  }

  function show(found, pixels) {
    const { prediction, probabilities } = found.predictions[0];
    const share = Math.max(...Object.values(probabilities));
    find("answer").replaceChildren(String(prediction), element("small", "", percent(share)));
    showBars(find("bars"), probabilities);
    paint(find("seen"), pixels, highest);
    if (found.explanation) {
      paintSigned(find("why"), found.explanation.contributions);
      find("method").textContent = found.explanation.method;
    } else wipe("why"); // of the drawing a moment ago
    say(`${prediction}, ${percent(share)}`);
  }

  function wipe(id) {
    const canvas = find(id);
    canvas.getContext("2d").clearRect(0, 0, canvas.width, canvas.height);
  }

  function empty() {
    find("answer").textContent = "–";
    const classes = Object.fromEntries(model.classes.map((name) => [name, 0]));
    showBars(find("bars"), classes);
    wipe("seen");
    wipe("why");
    find("method").textContent = "";
    say("");
  }

  const answer = newest(panel, async ({ pixels, explain }) => {
    try {
      if (!pixels) return empty();
      show(await ask("predict", { rows: [pixels.flat(2)], explain }), pixels);
      failed(null);
    } catch (error) {
      failed(error);
    }
  });

  function seen(strokes) {
    const { longest, thick } = height > 10 ? MNIST : SMALL;
    const found = ofDigits
      ? centred(strokes, height, longest * height, thick * height)
      : scaled(strokes, height, width);
    const shade = (share) => Math.round((background === "light" ? 1 - share : share) * highest * 100) / 100;
    return found && found.map((row) => row.map(shade));
  }

  let frame = 0;
  function drawn(ended) {
    choose(null);
    cancelAnimationFrame(frame);
    const offer = () => answer({ pixels: seen(drawing.strokes()), explain: ended });
    if (ended) offer();
    else frame = requestAnimationFrame(offer);
  }

  const drawing = drawable(find("canvas"), drawn, (down) => {
    find("pen").textContent = `The pen is ${down ? "down" : "up"}.`;
  });
  find("clear").addEventListener("click", () => drawing.clear());

  /** Mark a sample as chosen, and say what it shows; null marks none. */
  function choose(button, { label, right } = {}) {
    find("truth").hidden = !button;
    const verdict = right ? "right" : "wrong";
    find("truth").textContent = button ? `The true class is ${label}. The network is ${verdict}.` : "";
    for (const other of panel.querySelectorAll(".samples button")) {
      other.setAttribute("aria-pressed", String(other === button));
    }
  }

  find("upload").addEventListener("change", async (event) => {
    const [file] = event.target.files;
    event.target.value = "";
    if (!file) return;
    try {
      const kind = ["image/png", "image/jpeg"].includes(file.type) ? file.type : "image/png";
      const { pixels } = await ask("predict", file, kind);
      drawing.clear();
      answer({ pixels, explain: true });
    } catch (error) {
      failed(error);
    }
  });

  empty();
  if (model.samples) await showSamples();

  async function showSamples() {
    let found;
    find("samples-part").hidden = false;
    try {
      found = await ask("samples");
    } catch (error) {
      if (!(error instanceof Refused)) throw error;
      panel.querySelector("#samples-part .hint").textContent = error.message; // the data may have moved
      return;
    }
    find("samples").replaceChildren(
      ...found.samples.map((sample) => {
        const { pixels, label, prediction, right } = sample;
        const button = element("button", right ? "" : "is-wrong");
        button.type = "button";
        button.setAttribute("aria-pressed", "false");
        button.setAttribute("aria-label", right ? label : `${label}, read as ${prediction}`);
        button.title = button.getAttribute("aria-label");
        const canvas = element("canvas");
        canvas.setAttribute("aria-hidden", "true");
        paint(canvas, pixels, highest);
        button.append(canvas);
        button.addEventListener("click", () => {
          drawing.clear();
          choose(button, sample);
          answer({ pixels, explain: true });
        });
        const item = element("li");
        item.append(button);
        return item;
      }),
    );
    find("samples-part").hidden = found.samples.length === 0; // a run may hold out no rows
  }
}
