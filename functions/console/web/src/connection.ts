// Whether the API answers, for the bar that says so.
import { useEffect, useState } from "preact/hooks";

let answers = true;
const watchers = new Set<(a: boolean) => void>();

export function reachable(a: boolean): void {
  if (a === answers) return;
  answers = a;
  watchers.forEach((w) => w(a));
}

export function useReachable(): boolean {
  const [a, set] = useState(answers);
  useEffect(() => {
    watchers.add(set);
    return () => void watchers.delete(set);
  }, []);
  return a;
}
