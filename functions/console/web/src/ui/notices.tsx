// What was done, said where everybody notices: a notice that stays long enough to be read,
// and the same for screen readers.
import { useEffect, useState } from "preact/hooks";
import { Button } from "./button";

let add: (text: string) => void = () => {};

/** Tells everybody. */
export const notify = (text: string) => add(text);

const shownMs = 12_000;

export function Notices() {
  const [list, set] = useState<{ id: number; text: string }[]>([]);
  useEffect(() => {
    let next = 0;
    add = (text) => {
      const id = next++;
      set((l) => [...l.slice(-2), { id, text }]);
      setTimeout(() => set((l) => l.filter((n) => n.id !== id)), shownMs);
    };
  }, []);
  return (
    <div class="notices" role="status" aria-live="polite">
      {list.map((n) => (
        <div class="notice" key={n.id}>
          <span>{n.text}</span>
          <Button variant="quiet" icon="close" aria-label="Dismiss" onClick={() => set((l) => l.filter((o) => o.id !== n.id))} />
        </div>
      ))}
    </div>
  );
}
