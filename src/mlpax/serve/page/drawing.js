// A canvas to draw on, by hand or by keyboard, and the strokes as a small picture like those of MNIST.
// A stroke is a list of places, [x, y], in pixels of the canvas.

const SIDE = 280; // pixels of the canvas
const BRUSH = 20;
const STEP = 10; // pixels that an arrow key moves the pen; with Shift a fifth of it
const FINE = 8; // a pixel of the small picture is the mean of 8 x 8 finer ones
const LEAST = 14; // size of a drawing that is not enlarged further, so that a dot stays one

/**
 * Make a canvas drawable.
 *
 * @param {HTMLCanvasElement} canvas
 * @param {(ended: boolean) => void} changed - Called after each change. `ended` is false during a stroke.
 * @param {(down: boolean) => void} moved - Called when a key has put the pen down or lifted it.
 * @returns {{clear: () => void, strokes: () => number[][][]}}
 */
export function drawable(canvas, changed, moved) {
  const context = canvas.getContext("2d");
  const pen = { x: SIDE / 2, y: SIDE / 2, down: false };
  let strokes = [];
  let byHand = false; // whether a stroke is under way

  function refresh() {
    const style = getComputedStyle(document.documentElement);
    context.clearRect(0, 0, SIDE, SIDE);
    trace(context, strokes, BRUSH, style.getPropertyValue("--ink"));
    if (document.activeElement !== canvas || !canvas.matches(":focus-visible")) return;
    context.strokeStyle = style.getPropertyValue("--accent");
    context.lineWidth = pen.down ? 5 : 2;
    context.beginPath();
    context.arc(pen.x, pen.y, BRUSH / 2, 0, 7);
    context.stroke();
  }

  function place(event) {
    const box = canvas.getBoundingClientRect();
    return [((event.clientX - box.left) / box.width) * SIDE, ((event.clientY - box.top) / box.height) * SIDE];
  }

  canvas.addEventListener("pointerdown", (event) => {
    if (event.button !== 0 || !event.isPrimary) return;
    event.preventDefault();
    canvas.setPointerCapture(event.pointerId);
    byHand = true;
    strokes.push([place(event)]);
    refresh();
    changed(false);
  });
  canvas.addEventListener("pointermove", (event) => {
    if (!byHand || !event.isPrimary) return;
    const all = event.getCoalescedEvents?.() ?? [];
    strokes.at(-1).push(...(all.length ? all : [event]).map(place));
    refresh();
    changed(false);
  });
  for (const end of ["pointerup", "pointercancel"]) {
    canvas.addEventListener(end, () => {
      if (byHand) changed(true);
      byHand = false;
    });
  }

  const moves = { ArrowLeft: [-1, 0], ArrowRight: [1, 0], ArrowUp: [0, -1], ArrowDown: [0, 1] };
  canvas.addEventListener("keydown", (event) => {
    const move = moves[event.key];
    if (event.key === "Escape") return clear();
    if (!move && event.key !== " ") return undefined;
    event.preventDefault(); // the page would scroll
    if (move) {
      const step = event.shiftKey ? STEP / 5 : STEP;
      const inside = (at) => Math.min(SIDE, Math.max(0, at));
      [pen.x, pen.y] = [inside(pen.x + step * move[0]), inside(pen.y + step * move[1])];
      if (pen.down) strokes.at(-1).push([pen.x, pen.y]);
    } else {
      pen.down = !pen.down;
      moved(pen.down);
      if (pen.down) strokes.push([[pen.x, pen.y]]);
    }
    refresh();
    if (pen.down) changed(true);
    return undefined;
  });
  canvas.addEventListener("focus", refresh);
  canvas.addEventListener("blur", refresh);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", refresh);

  function clear() {
    if (pen.down) moved(false);
    pen.down = byHand = false;
    strokes = [];
    refresh();
    changed(true);
  }

  refresh();
  return { clear, strokes: () => strokes };
}

function trace(context, strokes, brush, colour) {
  Object.assign(context, { lineWidth: brush, lineCap: "round", lineJoin: "round", strokeStyle: colour });
  for (const [first, ...others] of strokes) {
    context.beginPath();
    context.moveTo(...first);
    context.lineTo(first[0] + 0.01, first[1]); // a line of no length would leave no dot
    for (const place of others) context.lineTo(...place);
    context.stroke();
  }
}

/**
 * Return a drawing as MNIST's pictures were made: scaled to a size, and placed so that the centre of mass is in the
 * middle (LeCun et al. 1998). The strokes are equally thick in a small drawing and in a large one.
 *
 * @param {number[][][]} strokes
 * @param {number} side - Of the picture.
 * @param {number} longest - Pixels of the longer side of the drawing in the picture.
 * @param {number} thick - Pixels of a stroke's width in the picture.
 * @returns {number[][] | null} 0 to 1 for each pixel; null if nothing is drawn.
 */
export function centred(strokes, side, longest, thick) {
  if (!strokes.length) return null;
  const [width, x] = extent(strokes, 0);
  const [height, y] = extent(strokes, 1);
  const scale = (longest - thick) / Math.max(width, height, LEAST);
  const middleAt = (toX, toY) =>
    rendered(strokes, side, side, [scale, 0, 0, scale, toX - scale * x, toY - scale * y], thick / scale);
  const [massX, massY] = centreOfMass(middleAt(side / 2, side / 2));
  const within = (at, size) => {
    const half = (scale * size + thick) / 2; // no ink leaves the picture
    return Math.min(side - half, Math.max(half, at));
  };
  return middleAt(within(side - massX, width), within(side - massY, height));
}

/** Return the whole canvas as a picture, 0 to 1 for each pixel; null if nothing is drawn. */
export function scaled(strokes, height, width) {
  if (!strokes.length) return null;
  return rendered(strokes, height, width, [width / SIDE, 0, 0, height / SIDE, 0, 0], BRUSH);
}

/** Return the size and the middle of a drawing in one direction, 0 for x and 1 for y. */
function extent(strokes, axis) {
  let [low, high] = [Infinity, -Infinity];
  for (const place of strokes.flat()) [low, high] = [Math.min(low, place[axis]), Math.max(high, place[axis])];
  return [high - low, (low + high) / 2];
}

/** Return strokes as a picture: drawn finer under a transform, then averaged. */
function rendered(strokes, height, width, transform, brush) {
  const fine = new OffscreenCanvas(FINE * width, FINE * height).getContext("2d", { willReadFrequently: true });
  fine.setTransform(...transform.map((part) => FINE * part));
  trace(fine, strokes, brush, "#000");
  const { data } = fine.getImageData(0, 0, FINE * width, FINE * height);
  const picture = Array.from({ length: height }, () => Array(width).fill(0));
  for (let i = 3; i < data.length; i += 4) {
    const [row, column] = [Math.floor(i / 4 / (FINE * width)), Math.floor(i / 4) % (FINE * width)];
    picture[Math.floor(row / FINE)][Math.floor(column / FINE)] += data[i] / (255 * FINE * FINE);
  }
  return picture;
}

function centreOfMass(picture) {
  let [mass, x, y] = [0, 0, 0];
  picture.forEach((row, i) =>
    row.forEach((value, k) => {
      mass += value;
      x += value * (k + 0.5);
      y += value * (i + 0.5);
    }),
  );
  return [x / mass, y / mass];
}
