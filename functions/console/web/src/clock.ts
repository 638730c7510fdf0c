// The API's clock, as far as its answers tell it: what it compares times with, whatever the
// clock of this machine says.
let ahead = 0;

const tolerated = 5000; // the answer's own time is of whole seconds, and took a while to come

/** Takes the time of an answer that was asked for at sent. */
export function observe(date: string | null, sent: number): void {
  const here = Date.now(), there = Date.parse(date ?? "") + 500;
  if (Number.isNaN(there) || here - sent > tolerated) return;
  const off = there - (sent + here) / 2;
  ahead = Math.abs(off) > tolerated ? off : 0;
}

export const now = () => Date.now() + ahead;
