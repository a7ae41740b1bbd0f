// Which words of one answer the other does not have, in order.

const words = (text) => text.match(/\S+/g) ?? [];
const plain = (word) => word.toLowerCase().replace(/^[^\p{L}\p{N}]+|[^\p{L}\p{N}]+$/gu, "");

/** Character ranges [start, end) of `text` whose words are in no longest common order with `base`. */
export function differing(text, base) {
  const found = [...text.matchAll(/\S+/g)].map((match) => ({ word: plain(match[0]), start: match.index, end: match.index + match[0].length }));
  const other = words(base).map(plain);
  const rows = found.length, columns = other.length;
  const table = new Uint16Array((rows + 1) * (columns + 1));
  const at = (row, column) => row * (columns + 1) + column;
  for (let row = rows - 1; row >= 0; row -= 1) {
    for (let column = columns - 1; column >= 0; column -= 1) {
      table[at(row, column)] = found[row].word === other[column]
        ? table[at(row + 1, column + 1)] + 1
        : Math.max(table[at(row + 1, column)], table[at(row, column + 1)]);
    }
  }
  const ranges = [];
  let row = 0, column = 0;
  while (row < rows) {
    if (column < columns && found[row].word === other[column]) { row += 1; column += 1; }
    else if (column < columns && table[at(row, column + 1)] >= table[at(row + 1, column)]) column += 1;
    else { ranges.push([found[row].start, found[row].end]); row += 1; }
  }
  return ranges;
}
