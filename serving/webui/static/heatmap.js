// A word's map over the image: the grid covers the whole upright image, squashed, and is drawn smooth.
// Growing (cubic, a = -0.5) and colours are those of captioner/outputs/heatmap.py.

const WARM = [255, 150, 30];

/** For each of `size` places the first of the four cells that it mixes, and their shares: outside there is nothing. */
function mixture(cells, size) {
  const cubic = (x) => {
    x = Math.abs(x);
    if (x < 1) return (1.5 * x - 2.5) * x * x + 1;
    return x < 2 ? ((-0.5 * x + 2.5) * x - 4) * x + 2 : 0;
  };
  const firsts = new Int32Array(size);
  const shares = new Float32Array(4 * size);
  for (let place = 0; place < size; place++) {
    const centre = ((place + 0.5) * cells) / size - 0.5;
    const first = (firsts[place] = Math.floor(centre) - 1);
    let sum = 0;
    for (let i = 0; i < 4; i++) {
      const inside = first + i >= 0 && first + i < cells;
      sum += shares[4 * place + i] = inside ? cubic(centre - first - i) : 0;
    }
    for (let i = 0; i < 4; i++) shares[4 * place + i] /= sum;
  }
  return { firsts, shares };
}

/** Rows of numbers, each grown to `size` numbers. */
function widened(rows, size) {
  const { firsts, shares } = mixture(rows[0].length, size);
  return rows.map((row) => Float32Array.from({ length: size }, (_, place) => {
    let value = 0;
    for (let i = 0; i < 4; i++) value += shares[4 * place + i] * (row[firsts[place] + i] ?? 0);
    return value;
  }));
}

/** A grid of rows of numbers, grown to `size` x `size`: nowhere negative, 1 where it is largest. */
export function grown(grid, size) {
  const wide = widened(grid, size);
  const { firsts, shares } = mixture(grid.length, size);
  const found = new Float32Array(size * size);
  let most = 1e-12;
  for (let y = 0; y < size; y++) {
    for (let i = 0; i < 4; i++) {
      const [row, share] = [wide[firsts[y] + i], shares[4 * y + i]];
      if (row) for (let x = 0; x < size; x++) found[y * size + x] += share * row[x];
    }
    for (let x = y * size; x < (y + 1) * size; x++) most = Math.max(most, found[x]);
  }
  for (let i = 0; i < found.length; i++) found[i] = Math.max(0, found[i]) / most;
  return found;
}

// For 256 strengths: image * kept + warm * 0.35 * strength, written as a colour and how much it covers.
const COLOURS = Uint8ClampedArray.from({ length: 4 * 256 }, (_, i) => {
  const strength = (i >> 2) / 255;
  const kept = (0.3 + 0.7 * strength) * (1 - 0.35 * strength);
  return i % 4 === 3 ? 255 * (1 - kept) : (WARM[i % 4] * 0.35 * strength) / (1 - kept);
});

/** Draws a grid on a canvas that lies on the image: dark where the model did not look, warm where it did. */
export function draw(canvas, grid) {
  const size = canvas.width;
  const image = new ImageData(size, size);
  const strengths = grown(grid, size);
  for (let i = 0; i < strengths.length; i++) {
    const row = 4 * Math.round(255 * strengths[i]);
    for (let part = 0; part < 4; part++) image.data[4 * i + part] = COLOURS[row + part];
  }
  canvas.getContext("2d").putImageData(image, 0, 0);
}

/** Where a grid is highest, in words, such as "mostly at the upper left". */
export function whereabouts(grid) {
  const sums = Array(9).fill(0);
  grid.forEach((row, y) => row.forEach((value, x) => {
    const third = (place, count) => Math.min(2, Math.floor(((place + 0.5) * 3) / count));
    sums[3 * third(y, grid.length) + third(x, row.length)] += value;
  }));
  const total = sums.reduce((sum, value) => sum + value, 0);
  const best = sums.indexOf(Math.max(...sums));
  if (!total || sums[best] < 0.2 * total) return "all over the photo";
  const places = ["at the upper left", "at the top", "at the upper right", "at the left", "in the middle", "at the right",
    "at the lower left", "at the bottom", "at the lower right"];
  return `mostly ${places[best]}`;
}
