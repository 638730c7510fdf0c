// The keys that a run has been given, and looking for pieces of them where none may be:
// pages, logs, and what a failed test is about to print.

/** So many characters of a key's secret part nobody may see. */
const pieceLength = 12;
const secretLength = 32;

export class Secrets {
  #pieces = new Set();

  add(key) {
    const secret = key.slice(-secretLength);
    for (let i = 0; i + pieceLength <= secret.length; i++) this.#pieces.add(secret.slice(i, i + pieceLength));
    return key;
  }

  /** Whether a piece of any of them is in text. */
  in(text) {
    for (let i = 0; i + pieceLength <= text.length; i++) if (this.#pieces.has(text.slice(i, i + pieceLength))) return true;
    return false;
  }

  /** text with stars in place of every piece, and of whatever else looks like a key. */
  redact(text) {
    const hidden = new Set();
    for (let i = 0; i + pieceLength <= text.length; i++) {
      if (this.#pieces.has(text.slice(i, i + pieceLength))) for (let j = i; j < i + pieceLength; j++) hidden.add(j);
    }
    return Array.from({ length: text.length }, (_, i) => (hidden.has(i) ? "*" : text[i])).join("")
      .replace(/\b([a-z][a-z0-9_]*_[0-9A-Za-z]{8})_[0-9A-Za-z*]{12,}/g, "$1_***");
  }
}
