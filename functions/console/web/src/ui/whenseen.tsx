import type { ComponentChildren } from "preact";
import { useEffect, useRef, useState } from "preact/hooks";
import { Section } from "./page";
import { Loading } from "./states";

/** A part far down a page: it is made, and reads what it needs, when somebody comes near. */
export function WhenSeen({ title, children }: { title: string; children: ComponentChildren }) {
  const [seen, see] = useState(false);
  const ref = useRef<HTMLDivElement>(null);
  useEffect(() => {
    const watcher = new IntersectionObserver((list) => list.some((e) => e.isIntersecting) && see(true), { rootMargin: "300px" });
    if (ref.current) watcher.observe(ref.current);
    return () => watcher.disconnect();
  }, []);
  if (seen) return <>{children}</>;
  return (
    <div ref={ref}>
      <Section title={title}><div class="reserve"><Loading what={title.toLowerCase()} /></div></Section>
    </div>
  );
}
