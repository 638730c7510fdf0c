// The way back through a list that only knows the way on: the cursors of the pages that were
// walked, for what was chosen last. They outlast a reload, in this tab alone.
const place = "keyreeve.trail";

interface Trail { chosen: string; cursors: string[] }

function read(): Trail | null {
  try {
    return JSON.parse(sessionStorage.getItem(place) ?? "null") as Trail | null;
  } catch {
    return null;
  }
}

/** The cursors of the pages so far; the first page's is "". */
export function cursorsOf(chosen: string): string[] {
  const t = read();
  return t?.chosen === chosen ? t.cursors : [""];
}

export function remember(chosen: string, cursors: string[]): void {
  sessionStorage.setItem(place, JSON.stringify({ chosen, cursors }));
}
