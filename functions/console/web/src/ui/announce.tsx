// What only screen readers need to be told, since everybody else sees it.
import { useEffect, useState } from "preact/hooks";

let say: (text: string) => void = () => {};

/** Tells screen readers alone. */
export const announce = (text: string) => say(text);

export function Announcer() {
  const [text, set] = useState("");
  useEffect(() => {
    say = (t) => {
      set("");
      setTimeout(() => set(t), 50); // the same text twice is two announcements
    };
  }, []);
  return <div class="hidden" role="status" aria-live="polite">{text}</div>;
}
