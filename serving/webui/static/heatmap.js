// The attention heatmap of a word: the grid covers the upright image and is resized smoothly.
// Interpolation (bicubic, a = -0.5) and colours are those of captioner/outputs/heatmap.py.

const OVERLAY = [255, 150, 30];

/** Bicubic interpolation of `cells` values to `size`: of each the first of its four cells, and their weights. */
function interpolation(cells, size) {
  const cubic = (x) => {
    x = Math.abs(x);
    if (x < 1) return (1.5 * x - 2.5) * x * x + 1;
    return x < 2 ? ((-0.5 * x + 2.5) * x - 4) * x + 2 : 0;
  };
  const starts = new Int32Array(size);
  const weights = new Float32Array(4 * size);
  for (let index = 0; index < size; index++) {
    const centre = ((index + 0.5) * cells) / size - 0.5;
    const start = (starts[index] = Math.floor(centre) - 1);
    let sum = 0;
    for (let i = 0; i < 4; i++) {
      const isInside = start + i >= 0 && start + i < cells;
      sum += weights[4 * index + i] = isInside ? cubic(centre - start - i) : 0;
    }
    for (let i = 0; i < 4; i++) weights[4 * index + i] /= sum;
  }
  return { starts, weights };
}

/** Rows of numbers, each resized to `size` numbers. */
function resizeRows(rows, size) {
  const { starts, weights } = interpolation(rows[0].length, size);
  return rows.map((row) => Float32Array.from({ length: size }, (_, index) => {
    let value = 0;
    for (let i = 0; i < 4; i++) value += weights[4 * index + i] * (row[starts[index] + i] ?? 0);
    return value;
  }));
}

/** A grid of rows of numbers, resized to `size` x `size` and scaled to [0, 1]. */
export function resized(grid, size) {
  const wide = resizeRows(grid, size);
  const { starts, weights } = interpolation(grid.length, size);
  const values = new Float32Array(size * size);
  let maximum = 1e-12;
  for (let y = 0; y < size; y++) {
    for (let i = 0; i < 4; i++) {
      const [row, weight] = [wide[starts[y] + i], weights[4 * y + i]];
      if (row) for (let x = 0; x < size; x++) values[y * size + x] += weight * row[x];
    }
    for (let x = y * size; x < (y + 1) * size; x++) maximum = Math.max(maximum, values[x]);
  }
  for (let i = 0; i < values.length; i++) values[i] = Math.max(0, values[i]) / maximum;
  return values;
}

// For 256 levels: image * kept + overlay * 0.35 * level, as a colour and its alpha.
const COLOURS = Uint8ClampedArray.from({ length: 4 * 256 }, (_, i) => {
  const level = (i >> 2) / 255;
  const kept = (0.3 + 0.7 * level) * (1 - 0.35 * level);
  return i % 4 === 3 ? 255 * (1 - kept) : (OVERLAY[i % 4] * 0.35 * level) / (1 - kept);
});

/** Draws a grid on the canvas over the image: dark where attention is low, orange where it is high. */
export function draw(canvas, grid) {
  const size = canvas.width;
  const image = new ImageData(size, size);
  const levels = resized(grid, size);
  for (let i = 0; i < levels.length; i++) {
    const entry = 4 * Math.round(255 * levels[i]);
    for (let channel = 0; channel < 4; channel++) image.data[4 * i + channel] = COLOURS[entry + channel];
  }
  canvas.getContext("2d").putImageData(image, 0, 0);
}

/** The region with the most attention, in words, such as "mostly at the upper left". */
export function region(grid) {
  const sums = Array(9).fill(0);
  grid.forEach((row, y) => row.forEach((value, x) => {
    const third = (index, count) => Math.min(2, Math.floor(((index + 0.5) * 3) / count));
    sums[3 * third(y, grid.length) + third(x, row.length)] += value;
  }));
  const total = sums.reduce((sum, value) => sum + value, 0);
  const best = sums.indexOf(Math.max(...sums));
  if (!total || sums[best] < 0.2 * total) return "all over the photo";
  const places = ["at the upper left", "at the top", "at the upper right", "at the left", "in the middle", "at the right",
    "at the lower left", "at the bottom", "at the lower right"];
  return `mostly ${places[best]}`;
}
